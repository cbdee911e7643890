"""Everything of this package that the hub answers."""

from __future__ import annotations

from typing import Any

from workroom_hub.account import api, gateway_api, page

handlers: list[tuple[str, type[Any]]] = [*api.handlers, *gateway_api.handlers, *page.handlers]
