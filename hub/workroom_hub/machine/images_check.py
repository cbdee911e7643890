"""`workroom images check`: every byte of images in the registry, and what is done with damage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workroom_hub.data_environment import PLATFORM
from workroom_hub.errors import RegistryError
from workroom_hub.machine import (
    data_s3,
    images_command,
    registry,
    registry_config,
    registry_images,
)
from workroom_hub.machine.console import human_bytes
from workroom_hub.registry import names
from workroom_hub.registry.client import Damaged, Kept, RegistryClient

if TYPE_CHECKING:
    from workroom_hub.machine.console import Step
    from workroom_hub.machine.stack import Stack


def check(stack: Stack, name: str, what: str | None, *, repair: bool) -> bool:
    """Compare every byte of images in the registry with its digest; say what is damaged.

    Returns:
        Whether something is.
    """
    images_command.known(stack, name)
    client = registry_images.client(stack.settings.registry, stack.home, name)
    wanted = [what] if what else client.tags()
    read: dict[str, str] = {}
    unknown = False
    for each in wanted:
        with stack.report.step(f"{name}:{each}") as step:
            try:
                kept, _ = images_command.find(stack, name, each)
                step.result = _read(stack, client, kept, read, step)
            except Damaged as error:
                step.result = read[error.blob] = error.message
            except RegistryError as error:
                if digest := _spoilt_manifest(stack, name, each):
                    step.result = read[digest] = f"its manifest {digest} is damaged"
                    continue
                if what:
                    raise
                step.result, unknown = error.message, True  # the other images are read all the same
    damaged = [blob for blob, problem in read.items() if problem]
    if damaged and repair:
        _remove(stack, damaged)
    elif damaged:
        stack.report.line("How to mend it: docs/registry.md, A damaged image.")
    if unknown:
        stack.report.line("Not everything could be read. Run it again.")
    return bool(damaged) or unknown


def _read(
    stack: Stack, client: RegistryClient, kept: Kept, read: dict[str, str], step: Step
) -> str:
    """Read an image's parts that were not read yet; return a line on all of them."""
    for number, blob in enumerate(kept.blobs, 1):
        step.update(f"part {number} of {len(kept.blobs)}")
        if blob not in read:
            read[blob] = _problem(stack, client, blob)
    bad = [blob for blob in kept.blobs if read[blob]]
    return (
        "; ".join(f"{blob[:19]} is damaged: {read[blob]}" for blob in bad)
        or f"{len(kept.blobs)} parts, {human_bytes(kept.size)}, as their digests say"
    )


def _problem(stack: Stack, client: RegistryClient, blob: str) -> str:
    """Return what is wrong with a part, "" for nothing.

    One that became shorter breaks off for ever, as the registry remembers how long it was; on this
    machine S3 tells that from a registry that died.
    """
    try:
        return client.damaged(blob)
    except RegistryError:
        if registry.is_here(stack) and registry_config.is_whole(_platform(stack), blob) is False:
            return "its bytes are others"
        raise


def _spoilt_manifest(stack: Stack, name: str, what: str) -> str:
    """Return the digest of a manifest that is damaged in S3, "" if it is not known to be.

    The registry has no words for one that it cannot even parse.
    """
    if not registry.is_here(stack):
        return ""
    s3 = _platform(stack)
    repository = f"{stack.settings.registry.repository}/{name}"
    digest = what if names.is_digest(what) else registry_config.tagged(s3, repository, what)
    return digest if digest and registry_config.is_whole(s3, digest) is False else ""


def _platform(stack: Stack) -> Any:
    return data_s3.client(stack, stack.gateway(), PLATFORM)


def _remove(stack: Stack, blobs: list[str]) -> None:
    """Remove damaged parts from this machine's registry; the next push sends them again.

    Whatever the registry sent, what S3 has decides: a part that is whole there stays.
    """
    if not registry.is_here(stack):
        raise RegistryError(
            "Only parts in this machine's own registry can be removed from here.",
            "Remove the objects named in docs/registry.md, A damaged image, with the key of who "
            "runs that registry.",
        )
    platform = _platform(stack)
    for blob in filter(names.is_digest, blobs):  # a tag without its manifest has nothing to remove
        if registry_config.is_whole(platform, blob):
            stack.report.line(f"{blob} is whole in S3, and stays.")
        else:
            key = registry_config.blob_key(blob)
            platform.delete_object(Bucket=registry_config.BUCKET, Key=key)
            stack.report.line(f"{blob} is out.")
    registry.restart_half(stack, "local")
    stack.report.line(
        "Send what is out or missing again from a machine that has the image: workroom push"
    )
