"""`workroom push` and `workroom images …`: between the engine, the registry and the next starts."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from workroom_hub.errors import ImageError, RegistryError
from workroom_hub.fields import slug
from workroom_hub.machine import engine, registry_images
from workroom_hub.machine.image import RSTUDIO_LABEL, RSTUDIO_NOTE_LABEL, image_id
from workroom_hub.registry import names, promotions
from workroom_hub.registry.client import Damaged, Kept
from workroom_hub.settings_registry import reference
from workroom_spawner.promotions import Promotion, in_force, standing

if TYPE_CHECKING:
    from docker import DockerClient

    from workroom_hub.machine.registry_images import Pushed
    from workroom_hub.machine.stack import Stack
    from workroom_hub.settings import Image


def image_name(stack: Stack, name: str | None) -> str:
    """Return what the image of `workroom build` is called in the registry.

    Raises:
        RegistryError: The name that was given cannot be one.
    """
    if name is not None:
        try:
            return slug(name)
        except ValueError as error:
            raise RegistryError(f"--as is '{name}': {error}.", "Such as: --as notebook") from error
    settings = stack.settings
    built = next((i.name for i in settings.images if i.ref == settings.build.tag), None)
    last = settings.build.tag.rpartition("/")[2].partition(":")[0]
    return built or last


def push(stack: Stack, name: str | None) -> Pushed:
    """Push the image of `workroom build`.

    Raises:
        ImageError: There is none.
        RegistryError: The registry refuses it, or there is none, or the name is none.
    """
    settings = stack.settings
    called = image_name(stack, name)
    registry_images.client(settings.registry, stack.home, called, "push")
    client = engine.connect()
    with stack.report.step(f"Push to {reference(settings.registry, called)}") as step:
        pushed = registry_images.push(
            client, settings.registry, stack.home, settings.build.tag, called, step
        )
        step.result = f"{pushed.tag} {'pushed' if pushed.anew else 'was there'}"
    client.close()
    return pushed


def promote(stack: Stack, name: str, what: str) -> Promotion:
    """Give an image's next servers a build of the registry.

    On one machine it is fetched first, so that nobody's start waits for it, or fails.

    Raises:
        RegistryError: The registry does not have it.
        ImageError: It cannot be fetched.
    """
    image = known(stack, name)
    kept, tag = find(stack, name, what)
    ref = f"{reference(stack.settings.registry, name)}@{kept.digest}"
    _have(stack, ref)
    return promotions.promote(
        stack.home,
        kept=_kept_tag(stack, image, ref),
        new=Promotion(
            image=name,
            ref=ref,
            replaces=image.ref,
            tag=tag,
            rstudio=kept.labels.get(RSTUDIO_LABEL) or None,
            rstudio_note=kept.labels.get(RSTUDIO_NOTE_LABEL, ""),
            by=promotions.who(),
        ),
    )


def rollback(stack: Stack, name: str) -> tuple[Promotion, str]:
    """Take back the newest promotion; return it, and what people get now.

    Raises:
        RegistryError: There is none, or it would change nothing, or somebody promoted another
            meanwhile.
        ImageError: What people got before is not there and cannot be fetched.
    """
    image = known(stack, name)
    before = standing(promotions.read(stack.home), name, image.ref)
    if before:
        _have(stack, before[-2].ref if len(before) > 1 else image.ref)
    if len(before) == 1 and before[0].action == "promote" and _same(stack, before[0].ref, image):
        raise RegistryError(
            f"'{image.ref}' names the promoted image itself, and what people got before it is not "
            "known, so a rollback would change nothing.",
            f"Name what they shall get: workroom images list, then workroom images promote {name} "
            "TAG",
        )
    taken, now = promotions.rollback(stack.home, name, image.ref, promotions.who(), expected=before)
    return taken, now.ref if now else image.ref


def _kept_tag(stack: Stack, image: Image, new: str) -> Promotion | None:
    """Return what people got until now as an entry to go back to, if a tag that moves names it.

    A build moves its tag before anybody promotes it; then it is what the tag named before. It gets
    a tag of its own, so that `docker image prune` leaves it.
    """
    from docker.errors import ImageNotFound

    stands = in_force(promotions.read(stack.home), image.name, image.ref)
    if stands or "@" in image.ref or not _here(stack):
        return None
    client = engine.connect()
    try:
        repository, former = registry_images.former_tag(image.ref)
        found = client.images.get(image.ref)
        if found.id == client.images.get(new).id:
            found = client.images.get(f"{repository}:{former}")
        found.tag(repository, former)
    except ImageNotFound:
        return None
    finally:
        client.close()
    there = registry_images.client(stack.settings.registry, stack.home, image.name)
    ours = f"{reference(stack.settings.registry, image.name)}@"
    pushed = (ref for ref in found.attrs.get("RepoDigests") or () if ref.startswith(ours))
    labels = found.labels or {}
    return Promotion(
        image=image.name,
        ref=next((ref for ref in pushed if there.digest(ref.partition("@")[2])), str(found.id)),
        replaces=image.ref,
        rstudio=labels.get(RSTUDIO_LABEL) or None,
        rstudio_note=labels.get(RSTUDIO_NOTE_LABEL, ""),
        by=promotions.who(),
        action="kept",
    )


def _same(stack: Stack, ref: str, image: Image) -> bool:
    """Return whether the settings' tag names an image of the engine that `ref` is, too."""
    if "@" in image.ref or not _here(stack):
        return False
    client = engine.connect()
    try:
        both = {each.id for name in (ref, image.ref) for each in client.images.list(name=name)}
        return len(both) == 1
    finally:
        client.close()


def _here(stack: Stack) -> bool:
    """Return whether servers get their images from this machine's engine."""
    return stack.spawner == "local" or stack.emulated


def _have(stack: Stack, ref: str) -> None:
    """On one machine, have an image in the engine before people get it.

    Raises:
        ImageError: It cannot be fetched.
    """
    if not _here(stack):
        return
    client = engine.connect()
    try:
        with stack.report.step(f"Image {ref}") as step:
            if ref == stack.settings.build.tag and not client.images.list(name=ref):
                raise ImageError(
                    f"The engine has no image '{ref}', which people would get.",
                    "Make it: workroom build",
                )
            anew = registry_images.fetch(client, stack.settings.registry, stack.home, ref, step)
            step.result = "pulled" if anew else "here"
    finally:
        client.close()


def current(stack: Stack, *, damaged_as_none: bool = False) -> list[tuple[Image, Promotion | None]]:
    """Return each image of the settings, and the promotion that stands in its place, if one does.

    Args:
        stack: The stack.
        damaged_as_none: Take a damaged file for none; `doctor` has a line of its own on it.

    Raises:
        RegistryError: The file of promotions is not what we wrote.
    """
    try:
        history = promotions.read(stack.home)
    except RegistryError:
        if not damaged_as_none:
            raise
        history = ()
    return [(image, in_force(history, image.name, image.ref)) for image in stack.settings.images]


def tell_of_build(stack: Stack, before: str, built: str, *, asked: bool) -> None:
    """Say who does not get what was built; keep what people got before it.

    Args:
        stack: The stack.
        before: Id that the tag had before the build, or "".
        built: Id that it has now.
        asked: Whether somebody asked for a build, and not only for what it brings.
    """
    from docker.errors import ImageNotFound

    tag = stack.settings.build.tag
    moved = before not in ("", built)
    try:
        rows = [(image, new) for image, new in current(stack) if image.ref == tag]
    except RegistryError as error:
        stack.report.warn(f"{error.message}\n{error.fix}")
        return
    for image, new in rows:
        if new is None and moved:
            client = engine.connect()
            with suppress(ImageNotFound):  # some engines drop an image with its last name
                client.images.get(before).tag(*registry_images.former_tag(tag))
            client.close()
        if new and (moved or asked) and image_id(new.ref) != built:
            stack.report.line(
                f"People still get {new.ref} (promoted {new.at}); "
                f"`workroom push && workroom images promote {image.name} TAG` gives them this one."
            )


def fetch_promoted(client: DockerClient, stack: Stack) -> None:
    """Have in the engine what people get next, as `up` does.

    Raises:
        ImageError: One cannot be pulled.
    """
    for _, new in current(stack):
        if new:
            with stack.report.step(f"Image {new.ref}") as step:
                anew = registry_images.fetch(
                    client, stack.settings.registry, stack.home, new.ref, step
                )
                step.result = "pulled" if anew else "here"


def known(stack: Stack, name: str) -> Image:
    """Return the image of the settings that has a name.

    Raises:
        RegistryError: There is none.
    """
    images = {image.name: image for image in stack.settings.images}
    if name not in images:
        raise RegistryError(
            f"There is no image '{name}' under 'images' in workroom.yaml.",
            f"Choose from: {', '.join(images)}",
        )
    return images[name]


def find(stack: Stack, name: str, what: str) -> tuple[Kept, str]:
    """Return the image that a tag, a digest or the beginning of one names, and its tag or "".

    Raises:
        Damaged: It is not what its digest says.
        RegistryError: The registry has no such image, or cannot be asked.
    """
    client = registry_images.client(stack.settings.registry, stack.home, name)
    what = names.without_repository(what, reference(stack.settings.registry, name))
    if names.is_digest(what):
        found = client.look(what)
        tag = ""
    else:
        tags = client.tags()
        tag = what if what in tags else ""
        found = client.look(tag) if tag else None
        if tag and not found:
            raise Damaged("The manifest of the tag", tag, "missing")
        if not found:
            digests = {d: t for t in tags if (d := client.digest(t))}
            digest = names.find_digest(what, digests)
            found, tag = client.look(digest), digests[digest]
    if found is None:
        raise RegistryError(
            f"The registry has no image '{what}' of '{name}'.",
            "See what it has: workroom images list",
        )
    return found, tag
