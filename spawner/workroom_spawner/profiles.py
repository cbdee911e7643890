"""What may be started: profiles and images, and the choice of one of each.

Default deny: a choice is good only if a profile offers it to this user.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from workroom_spawner.errors import NotOffered
from workroom_spawner.promotions import Promotions, in_force


@dataclass(frozen=True)
class Image:
    """One image of the allow-list.

    Attributes:
        rstudio: Version of RStudio Server in it, or None.
        rstudio_note: Why there is none.
    """

    name: str
    ref: str
    title: str
    description: str = ""
    rstudio: str | None = None
    rstudio_note: str = ""


@dataclass(frozen=True)
class Profile:
    """One size of server: `cpu` in cores, `memory` in bytes, `gpu` in whole devices.

    `images` are the names it is offered with (never empty here); `groups` who
    may use it, empty for everyone.
    """

    name: str
    title: str
    description: str
    cpu: float
    memory: int
    gpu: int
    images: tuple[str, ...]
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """One profile with one of its images."""

    profile: Profile
    image: Image


@dataclass(frozen=True)
class Catalog:
    """Everything that is on offer, and the machine it is measured against.

    Attributes:
        cpus: Cores of the machine the shares refer to.
        memory: Its memory in bytes.
        default: Name of the profile chosen the first time.
        promotions: What people get next instead of what the settings name, or None.
    """

    profiles: tuple[Profile, ...]
    images: tuple[Image, ...]
    cpus: float
    memory: int
    default: str
    promotions: Promotions | None = dataclasses.field(default=None, compare=False)

    def __deepcopy__(self, memo: object) -> Catalog:
        """Return itself: it never changes, and traitlets copies it for every server."""
        return self

    def images_now(self) -> tuple[Image, ...]:
        """Return the images with what each one's next server is started from."""
        history = self.promotions.history() if self.promotions else ()
        if not history:
            return self.images
        return tuple(
            replace(i, ref=new.ref, rstudio=new.rstudio, rstudio_note=new.rstudio_note)
            if (new := in_force(history, i.name, i.ref))
            else i
            for i in self.images
        )

    def offered_to(self, groups: Iterable[str]) -> list[Profile]:
        """Return the profiles a member of `groups` may use, in the order of the settings."""
        member = set(groups)
        return [p for p in self.profiles if not p.groups or member & set(p.groups)]

    def choose(self, options: Mapping[str, Any], groups: Iterable[str]) -> Choice:
        """Turn user options into a choice.

        Args:
            options: `{"profile": NAME, "image": NAME}`; a missing one means the default.
            groups: The user's groups.

        Raises:
            NotOffered: Unknown field, profile or image, or not for this user.
        """
        for field in options:
            if field not in ("profile", "image"):
                raise NotOffered(field, options[field], ["profile", "image"])
        offered = {p.name: p for p in self.offered_to(groups)}
        if not offered:
            raise NotOffered("profile", options.get("profile", ""), [])
        first = self.default if self.default in offered else next(iter(offered))
        name = options.get("profile") or first
        if not isinstance(name, str) or name not in offered:
            raise NotOffered("profile", name, list(offered))
        profile = offered[name]
        image_name = options.get("image") or profile.images[0]
        if not isinstance(image_name, str) or image_name not in profile.images:
            raise NotOffered("image", image_name, list(profile.images))
        return Choice(profile, next(i for i in self.images_now() if i.name == image_name))

    def form(self, last: Mapping[str, Any], groups: Iterable[str]) -> dict[str, Any]:
        """Return what the spawn page draws, with the last choice selected.

        Args:
            last: User options of the last start; ones no longer on offer are ignored.
            groups: The user's groups.

        Returns:
            `{"profiles": [...], "images": [...]}`; shares are fractions of this machine.
        """
        offered = self.offered_to(groups)
        choice: Choice | None
        try:
            choice = self.choose({k: last[k] for k in ("profile", "image") if k in last}, groups)
        except NotOffered:
            choice = self.choose({}, groups) if offered else None
        names = {name for profile in offered for name in profile.images}
        return {
            "profiles": [
                {
                    "name": p.name,
                    "title": p.title,
                    "description": p.description,
                    "cpu": p.cpu,
                    "memory": p.memory,
                    "gpu": p.gpu,
                    "cpu_share": min(1.0, p.cpu / self.cpus),
                    "memory_share": min(1.0, p.memory / self.memory),
                    "images": list(p.images),
                    "selected": choice is not None and choice.profile.name == p.name,
                }
                for p in offered
            ],
            "images": [
                {
                    "name": i.name,
                    "title": i.title,
                    "description": i.description,
                    "rstudio": i.rstudio,
                    "rstudio_note": i.rstudio_note,
                    "selected": choice is not None and choice.image.name == i.name,
                }
                for i in self.images_now()
                if i.name in names
            ],
        }
