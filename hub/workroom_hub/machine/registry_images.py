"""Moves images between this machine's engine and the registry.

The engine does it, and gets tokens in a header of the request: none is on a command line or in a
file of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workroom_hub.errors import ImageError, RegistryError, WorkroomError
from workroom_hub.machine.console import human_bytes
from workroom_hub.machine.engine import connect
from workroom_hub.machine.image import CONTENT_LABEL
from workroom_hub.registry import credentials, names
from workroom_hub.registry.client import Damaged, RegistryClient
from workroom_hub.registry.credentials import Right
from workroom_hub.settings_registry import Registry, reference, upstream_reference

if TYPE_CHECKING:
    from docker import DockerClient

    from workroom_hub.machine.console import Step
    from workroom_hub.settings import Settings


NO_SUCH_IMAGE = "The registry has no such image. See what it has: workroom images list"


@dataclass(frozen=True)
class Pushed:
    """An image that the registry has now.

    Attributes:
        ref: `HOST/REPOSITORY/NAME@sha256:…`, which is what is pinned.
        tag: Its tag there.
        anew: Whether it had to be sent.
    """

    ref: str
    tag: str
    anew: bool

    @property
    def digest(self) -> str:
        """`sha256:…`."""
        return self.ref.partition("@")[2]


def client(registry: Registry, home: Path, name: str, right: Right = "pull") -> RegistryClient:
    """Return a client for the repository of our image `name`.

    Raises:
        RegistryError: The settings name no registry.
        ConfigError: The credentials cannot be used.
    """
    if registry.kind == "none":
        raise RegistryError(
            "The settings name no image registry (registry.kind is 'none').",
            "Set registry: {kind: machine} in workroom.yaml, or name the company's "
            "(docs/registry.md), then: workroom up",
        )
    who = credentials.of(registry, home, right)
    return RegistryClient(registry.host, registry.path(f"{registry.repository}/{name}"), who)


def push(
    engine: DockerClient, registry: Registry, home: Path, source: str, name: str, step: Step
) -> Pushed:
    """Push an image of the engine under a tag made of its content.

    Args:
        engine: The engine.
        registry: Where to.
        home: State folder.
        source: The image in the engine, such as `workroom/notebook:latest`.
        name: Its name in the registry, such as `notebook`.
        step: Where progress is shown.

    Raises:
        ImageError: The engine has no such image, or it was not built by `workroom build`.
        RegistryError: The registry refuses it.
    """
    from docker.errors import DockerException, ImageNotFound

    there = client(registry, home, name, "push")
    try:
        image = engine.images.get(source)
    except ImageNotFound as error:
        raise ImageError(
            f"The engine has no image '{source}'.", "Make it: workroom build"
        ) from error
    content = (image.labels or {}).get(CONTENT_LABEL, "")
    if not content:
        raise ImageError(
            f"The image '{source}' does not say what it was built from (label {CONTENT_LABEL}).",
            "Build it with: workroom build",
        )
    tag, repository = names.content_tag(content, str(image.id)), reference(registry, name)
    if digest := _whole(there, tag):
        return Pushed(f"{repository}@{digest}", tag, anew=False)
    try:
        image.tag(repository, tag)
        events = engine.api.push(
            repository, tag=tag, stream=True, decode=True, auth_config=_auth(registry, home, "push")
        )
        digest = _followed(events, step, "pushing", f"{repository}:{tag}")
    except DockerException as error:
        raise _refused(f"{repository}:{tag}", "pushed", error) from error
    digest = digest or there.digest(tag) or ""
    if not digest:
        raise RegistryError(
            f"The engine pushed {repository}:{tag}, and the registry does not have it.",
            "Push it again: workroom push",
        )
    return Pushed(f"{repository}@{digest}", tag, anew=True)


def fetch(engine: DockerClient, registry: Registry, home: Path, ref: str, step: Step) -> bool:
    """Have an image in the engine; return whether it had to be pulled.

    Raises:
        ImageError: It cannot be pulled, or its bytes are not those of its digest.
    """
    from docker.errors import DockerException, ImageNotFound

    try:
        engine.images.get(ref)
        return False
    except ImageNotFound as error:
        if names.is_digest(ref):
            raise ImageError(
                f"People would get the image {ref}, which was never pushed, and the engine does "
                "not have it any more.",
                "Give them another: workroom images list, then workroom images promote NAME TAG",
            ) from error
        step.update("pulling")
    try:
        # None: what `docker login` has stored counts.
        auth = _auth(registry, home, "pull") if is_ours(registry, ref) else None
        repository, tag = _parts(ref)
        events = engine.api.pull(repository, tag=tag, stream=True, decode=True, auth_config=auth)
        _followed(events, step, "pulling", ref)
        engine.images.get(ref)
    except RegistryError as error:
        raise ImageError(error.message, error.fix) from error
    except DockerException as error:
        refused = _refused(ref, "pulled", error)
        raise ImageError(refused.message, refused.fix) from error
    return True


def base(settings: Settings, home: Path, step: Step, *, fresh: bool = False) -> None:
    """Fetch the base image through the registry's cache, if there is one and it is needed.

    Where that fails the build goes on as without: it asks the image's own registry, or makes it.
    """
    from docker.errors import DockerException

    ref = settings.build.base_image
    through = upstream_reference(settings.registry, ref)
    if not through:
        return
    try:
        client = connect()
        try:
            if fresh or not client.images.list(name=ref):
                step.update(f"base image {ref}: asking {settings.registry.host}")
                if fresh and client.images.list(name=through):
                    client.images.remove(through)
                fetch(client, settings.registry, home, through, step)
                name, tag = _parts(ref)
                client.images.get(through).tag(name, tag)
        finally:
            client.close()
    except (DockerException, WorkroomError) as error:
        step.update(f"base image {ref}: not through the registry ({_first_line(error)})")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]


def former_tag(tag: str) -> tuple[str, str]:
    """Return repository and tag of what the tag of `workroom build` named before."""
    repository, name = _parts(tag)
    return repository, f"{name}-former"


def is_ours(registry: Registry, ref: str) -> bool:
    """Return whether an image is at the registry of the settings, whose token it needs."""
    return registry.kind != "none" and ref.startswith(f"{registry.host}/")


def _whole(there: RegistryClient, tag: str) -> str:
    """Return the digest of a tag whose every part is there; "" if it must be sent (again)."""
    try:
        kept = there.look(tag)
    except Damaged:
        return ""
    return kept.digest if kept and all(map(there.has, kept.blobs)) else ""


def _auth(registry: Registry, home: Path, right: Right) -> dict[str, str] | None:
    who = credentials.of(registry, home, right)
    return who.auth_config if who else None


def _parts(ref: str) -> tuple[str, str]:
    """Split a reference as the engine's API takes it."""
    repository, at, digest = ref.partition("@")
    if at:
        return repository, digest
    name, colon, tag = ref.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (ref, "latest")


def _followed(events: Iterable[dict[str, Any]], step: Step, doing: str, what: str) -> str:
    """Show how far the engine is; return the digest it tells of, or "".

    Raises:
        RegistryError: It tells of an error.
    """
    sizes: dict[str, tuple[int, int]] = {}
    digest = ""
    for event in events:
        if "error" in event:
            done = "pushed" if doing == "pushing" else "pulled"
            raise _refused(what, done, event["error"])
        detail = event.get("progressDetail") or {}
        if detail.get("total") and event.get("id"):
            sizes[event["id"]] = (int(detail.get("current", 0)), int(detail["total"]))
            current, total = (sum(column) for column in zip(*sizes.values(), strict=True))
            step.update(f"{doing}: {human_bytes(min(current, total))} of {human_bytes(total)}")
        digest = str((event.get("aux") or {}).get("Digest") or digest)
    return digest


def _refused(what: str, done: str, error: object) -> RegistryError:
    """Return a sentence for what an engine says of a registry."""
    said = str(getattr(error, "explanation", "") or error).strip()
    low = said.lower()
    status = re.search(r"\b(401|403|50[234])\b", low)  # a digest may hold such digits too
    code = status[1] if status else ""
    refused = any(word in low for word in ("unauthorized", "no basic auth", "denied"))
    if refused or code in ("401", "403"):
        fix = "Its token may not do this, or is not the registry's: docs/registry.md, Tokens"
    elif code:
        fix = "That half of the registry does not run. On this machine: workroom up"
    elif "manifest unknown" in low or "not found" in low:
        fix = NO_SUCH_IMAGE
    elif "digest" in low or "verification failed" in low or "filesystem layer" in low:
        fix = "The registry has damaged bytes: workroom images check"
    elif "connection refused" in low or "no such host" in low or "timeout" in low:
        fix = "The registry does not answer. On this machine: workroom up"
    else:
        fix = "See that 'registry' in workroom.yaml is right: docs/registry.md"
    return RegistryError(f"The image '{what}' cannot be {done}: {said}", fix)
