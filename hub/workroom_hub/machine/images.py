"""The images people may choose: built here or pulled, and what their labels say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workroom_hub.errors import ImageError
from workroom_hub.machine import image, images_command, registry_images
from workroom_hub.registry import promotions
from workroom_hub.runtime import ImageFacts

if TYPE_CHECKING:
    from docker import DockerClient

    from workroom_hub.machine.stack import Stack


def ensure(client: DockerClient, stack: Stack) -> dict[str, ImageFacts]:
    """Build or pull every image of the settings; return its facts by reference.

    Raises:
        ImageError: One can be neither built nor pulled.
    """
    found = {}
    for ref in dict.fromkeys(i.ref for i in stack.settings.images):
        if ref == stack.settings.build.tag:
            build(stack)
        else:
            _pull(client, stack, ref)
        found[ref] = image.image_facts(ref)
    # Before promotions are fetched: one that these settings have ended need not be had any more.
    refs = {i.name: i.ref for i in stack.settings.images}
    promotions.note_settings(stack.home, refs, promotions.who())
    images_command.fetch_promoted(client, stack)
    return found


def facts(client: DockerClient, ref: str) -> ImageFacts | None:
    """Return what the engine says of an image now, or None if it is not there."""
    from docker.errors import DockerException

    try:
        client.images.get(ref)
    except DockerException:
        return None
    return image.image_facts(ref)


def build(stack: Stack, *, retry: bool = False, fresh: bool = False) -> str:
    """Build the notebook image (quick when nothing changed); return its id.

    Args:
        stack: The stack.
        retry: Try again to get an RStudio that is missing.
        fresh: Build everything anew.
    """
    before = image.image_id(stack.settings.build.tag)
    with stack.report.step(f"Image {stack.settings.build.tag}") as step:
        registry_images.base(stack.settings, stack.home, step, fresh=fresh)
        built = image.build_image(
            stack.settings,
            progress=step.update,
            log=stack.home / "build.log",
            retry=retry,
            fresh=fresh,
        )
        step.result = built.removeprefix("sha256:")[:12]
    images_command.tell_of_build(stack, before, built, asked=retry)
    return built


def _pull(client: DockerClient, stack: Stack, ref: str) -> None:
    with stack.report.step(f"Image {ref}") as step:
        try:
            anew = registry_images.fetch(client, stack.settings.registry, stack.home, ref, step)
        except ImageError as error:
            if registry_images.is_ours(stack.settings.registry, ref):
                if error.fix != registry_images.NO_SUCH_IMAGE:
                    raise
                number = [i.ref for i in stack.settings.images].index(ref)
                fix = f"{error.fix}, then correct images[{number}].ref in workroom.yaml."
                raise ImageError(error.message, fix) from error
            raise ImageError(error.message, _FIX) from error
        step.result = "pulled" if anew else "here"


_FIX = "Correct the 'ref' under 'images' in workroom.yaml, or log in to its registry: docker login"
