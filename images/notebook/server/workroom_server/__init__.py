"""What Workroom adds to the single-user server: a light start, activity, RStudio's page."""

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from .app import WorkroomSingleUser

    return [{"module": "workroom_server.app", "app": WorkroomSingleUser}]
