"""`workroom images list`: what people get next, and what else the registry has."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from workroom_hub.errors import RegistryError, WorkroomError
from workroom_hub.machine import registry_images
from workroom_hub.machine.console import human_bytes
from workroom_hub.machine.image import RSTUDIO_LABEL
from workroom_hub.registry import promotions
from workroom_hub.registry.client import Kept, RegistryClient
from workroom_spawner.promotions import in_force, standing

if TYPE_CHECKING:
    from workroom_hub.machine.stack import Stack

_LOOKS = 8
"""Images that are looked into at once."""


def collect(stack: Stack) -> list[dict[str, Any]]:
    """Return what people get next of each image, and what the registry has of it."""
    history = promotions.read(stack.home)
    rows = []
    for image in stack.settings.images:
        new = in_force(history, image.name, image.ref)
        stack_of = standing(history, image.name, image.ref)
        former = stack_of[-2].ref if len(stack_of) > 1 else image.ref if new else None
        kept, problem = _kept(stack, image.name)
        digests = {new.digest if new else image.ref.partition("@")[2]: "next"}
        if former:
            digests.setdefault(former.partition("@")[2], "former")
        rows.append(
            {
                "name": image.name,
                "next": new.ref if new else image.ref,
                "from": "promotion" if new else "workroom.yaml",
                "since": new.at if new else None,
                "by": new.by if new else None,
                "former": former,
                "problem": problem,
                "registry": [_row(tag, each, digests) for tag, each in kept],
            }
        )
    return rows


def show(found: list[dict[str, Any]]) -> None:
    """Draw the list for people."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    for row in found:
        why = f"promoted {row['since']} by {row['by']}" if row["since"] else "as workroom.yaml says"
        console.print(
            f"[bold]{row['name']}[/]: people get {escape(row['next'])} ({escape(why)})",
            soft_wrap=True,
        )
        if row["former"]:
            console.print(f"  before: {escape(row['former'])}", soft_wrap=True)
        if row["problem"]:
            console.print(f"  [yellow]{escape(row['problem'])}[/]")
        if not row["registry"]:
            continue
        table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
        for title in ("Tag", "Digest", "Built", "Size", "RStudio", ""):
            table.add_column(title, no_wrap=title in ("Tag", "Digest", "Built"))
        for each in row["registry"]:
            table.add_row(
                escape(each["tag"]),
                (each["digest"] or "")[7:19],
                (each["created"] or "")[:10],
                "" if each["bytes"] is None else human_bytes(each["bytes"]),
                escape(each["rstudio"] or ""),
                each["is"] or ("see below" if each["problem"] else ""),
            )
        console.print(table)
        for each in row["registry"]:
            if each["problem"]:
                console.print(f"  [yellow]{escape(each['tag'])}: {escape(each['problem'])}[/]")


def _kept(stack: Stack, name: str) -> tuple[list[tuple[str, Kept | str]], str]:
    """Return the tags of an image, the newest first, and a problem or "".

    With each tag is what it names, or why that cannot be told: one damaged image hides no other.
    """

    def look(tag: str) -> tuple[str, Kept | str]:
        try:
            return tag, client.look(tag) or "Its manifest is missing."
        except RegistryError as error:
            return tag, error.message

    try:
        client: RegistryClient = registry_images.client(stack.settings.registry, stack.home, name)
        with ThreadPoolExecutor(_LOOKS) as pool:
            found = list(pool.map(look, client.tags()))
    except WorkroomError as error:
        return [], error.message

    def built(each: tuple[str, Kept | str]) -> str:
        return each[1].created if isinstance(each[1], Kept) else ""

    return sorted(found, key=built, reverse=True), ""


def _row(tag: str, kept: Kept | str, digests: dict[str, str]) -> dict[str, Any]:
    if isinstance(kept, str):
        nothing = dict.fromkeys(("digest", "created", "bytes", "rstudio", "is"))
        return {"tag": tag, **nothing, "problem": kept}
    return {
        "tag": tag,
        "digest": kept.digest,
        "created": kept.created[:19] + "Z" if kept.created else None,
        "bytes": kept.size,
        "rstudio": kept.labels.get(RSTUDIO_LABEL) or None,
        "is": digests.get(kept.digest),
        "problem": "",
    }
