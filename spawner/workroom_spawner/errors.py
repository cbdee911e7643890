"""Why a server could not be had, in sentences people can act on.

Each failure has two messages: the user's, and the log's with the detail.

    SpawnProblem
    ├── NotOffered          a profile, image or field that is not on offer
    ├── ImageMissing        the image is not on the engine
    ├── EngineUnreachable   no answer from the container engine
    ├── DiskFull            no room to create the container
    ├── EngineRefused       anything else the engine said no to
    ├── Unexpected          a mistake of ours
    ├── StartTimeout        the container did not report in, or did not answer, in time
    └── ServerDied          its process ended
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import docker.errors
import requests
from jupyterhub.spawner import SpawnException


class SpawnProblem(SpawnException):  # type: ignore[misc]
    """Root of all reasons why a server could not be started or did not live."""

    reason = "workroom"

    def __init__(self, message: str, *, detail: str = "", status_code: int = 500) -> None:
        super().__init__(
            message,
            reason=self.reason,
            log_message=f"{message} {detail}".strip(),
            status_code=status_code,
        )
        # The name under which the hub's pages, progress stream and API look for the sentence.
        self.jupyterhub_message = message
        self.detail = detail


class NotOffered(SpawnProblem):
    """The form, the link or the API asked for something that is not on offer."""

    reason = "not_offered"

    def __init__(self, field: str, value: object, offered: Sequence[str]) -> None:
        asked = _short(value)
        if field not in ("profile", "image"):
            message = (
                f"'{_short(field)}' cannot be chosen (asked for: '{asked}'). "
                "Choose a profile and an image; sizes come with the profile."
            )
        elif offered:
            message = f"The {field} '{asked}' is not on offer. Choose from: {', '.join(offered)}."
        else:
            message = (
                "No profile is on offer to you. Ask your platform engineer to add you "
                "to a group that has one."
            )
        super().__init__(message, status_code=400)


class ImageMissing(SpawnProblem):
    reason = "image_missing"

    def __init__(self, image: str, detail: str = "") -> None:
        super().__init__(
            f"The image '{image}' is not on this machine. "
            "Ask your platform engineer to run `workroom build`, then try again.",
            detail=detail,
        )


class EngineUnreachable(SpawnProblem):
    reason = "engine_unreachable"

    def __init__(self, detail: str = "") -> None:
        super().__init__(
            "The container engine does not answer, so no server can be started right now. "
            "Nothing is lost; try again in a minute, and tell your platform engineer "
            "(`workroom doctor`) if it stays so.",
            detail=detail,
            status_code=503,
        )


class DiskFull(SpawnProblem):
    reason = "disk_full"

    def __init__(self, detail: str = "") -> None:
        super().__init__(
            "The machine's disk is full, so your server could not be created. "
            "Tell your platform engineer (`workroom doctor` shows the disk).",
            detail=detail,
            status_code=507,
        )


class EngineRefused(SpawnProblem):
    reason = "engine_refused"

    def __init__(self, detail: str = "") -> None:
        super().__init__(
            "The container engine refused to create your server. Try again; if it fails again, "
            "your platform engineer finds the reason with `workroom logs hub`.",
            detail=detail,
        )


class Unexpected(SpawnProblem):
    reason = "unexpected"

    def __init__(self, detail: str = "") -> None:
        super().__init__(
            "Something went wrong on Workroom's side while your server was starting. Try again; "
            "if it fails again, your platform engineer finds the reason with `workroom logs hub`.",
            detail=detail,
        )


class StartTimeout(SpawnProblem):
    reason = "timeout"

    def __init__(self, seconds: float, stage: str, detail: str = "") -> None:
        super().__init__(
            f"Your server did not get ready within {seconds:.0f} seconds "
            f"(it got as far as: {stage}). Try again; if the machine is busy, choose a smaller "
            "profile or wait for a quieter moment.",
            detail=detail,
            status_code=504,
        )


class ServerDied(SpawnProblem):
    reason = "died"

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message, detail=detail)


def _short(value: object, limit: int = 60) -> str:
    text = str(value)
    return text if len(text) <= limit else text[:limit] + "…"


def from_engine(error: Exception, image: str) -> SpawnProblem:
    """Turn what the Docker SDK raised while creating or starting into a problem."""
    if isinstance(error, SpawnProblem):
        return error
    text = str(getattr(error, "explanation", None) or error)
    if "no space left" in text.lower():
        return DiskFull(text)
    if isinstance(error, docker.errors.NotFound | docker.errors.ImageNotFound) and (
        "image" in text.lower()
    ):
        return ImageMissing(image, text)
    if isinstance(error, requests.exceptions.RequestException | ConnectionError) or (
        isinstance(error, docker.errors.DockerException)
        and not isinstance(error, docker.errors.APIError)
    ):
        return EngineUnreachable(text)
    if isinstance(error, docker.errors.APIError):
        return EngineRefused(text)
    return Unexpected(f"{type(error).__name__}: {text}")


def death_sentence(state: Mapping[str, Any], memory: int) -> str:
    """Say in one sentence why a container ended.

    Args:
        state: `State` of the engine's inspect answer; empty when the container is gone.
        memory: Its memory limit in bytes.
    """
    if not state:
        return (
            "Its container was removed by somebody or something outside Workroom. "
            "Start it again; your files are kept."
        )
    code = state.get("ExitCode", 0)
    # The engine marks a container at the first process that runs out of memory, a kernel perhaps;
    # the server itself ended by that only if it was killed.
    if state.get("OOMKilled") and code == 137:
        return (
            f"It ran out of memory (the limit of this profile is {memory / 2**30:.3g} GiB). "
            "Start it again with a larger profile; your files are kept."
        )
    if code in (137, 143):
        return (
            f"It was ended from outside (exit code {code}): the machine or its container engine "
            "was restarted, or somebody ended it. Start it again; your files are kept."
        )
    if code == 78:
        return (
            "It could not fetch its settings from the hub (exit code 78). Start it again; "
            "if that fails too, your platform engineer finds the reason with `workroom logs hub`."
        )
    return f"Its process ended by itself (exit code {code}). Start it again; your files are kept."
