"""What the home page shows of a server, from what the hub knows itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from jupyterhub import orm
from jupyterhub.utils import url_escape_path, url_path_join
from tornado.httputil import url_concat

from workroom_hub.portal.figures import Figures
from workroom_spawner.errors import NotOffered
from workroom_spawner.profiles import Catalog, Choice, Image

State = Literal["starting", "running", "stopping", "stopped"]
TARGETS = {"lab": "lab", "rstudio": "rstudio/", "terminal": "lab?workroom=terminal"}
"""What can be opened on a server, and where it is there."""
_RECENT = timedelta(seconds=90)
"""Work this long ago goes on: a server looks for it every few seconds."""
_NOTHING = ("", "the server started", "a person's action", "a keystroke")
"""Reasons of activity that are no work going on by itself."""


@dataclass(frozen=True)
class Card:
    """One server.

    Attributes:
        name: Its name, "" for the default one.
        title: What people call it.
        path: Of it below `/hub/spawn/` and the like, fit for an address.
        url: Of the server itself.
        choice: Size and image it has, or had last; None if it never ran, or that is not on offer.
        again: The same button as last time starts it.
        rstudio_missing: Why RStudio cannot be opened, or "" if it may be there.
        started: When it was, in UTC.
        last_activity: When it was last used, in UTC.
        idle_after: Seconds without use after which it is stopped; 0: never.
        failure: Why it ended or did not start, as `WorkroomServer.last_failure`.
    """

    name: str
    title: str
    state: State
    path: str
    url: str
    choice: Choice | None
    again: bool
    rstudio_missing: str
    started: datetime | None
    last_activity: datetime | None
    idle_after: int
    failure: dict[str, str] | None
    figures: Figures | None = None

    @property
    def used_at(self) -> datetime | None:
        """When it was last used, as far as anybody knows."""
        told = self.figures.last_activity if self.figures else None
        return max(filter(None, (self.last_activity, told)), default=None)

    @property
    def busy(self) -> str:
        """What keeps it running by itself, or ""."""
        figures = self.figures
        if not figures or not figures.last_activity or figures.reason in _NOTHING:
            return ""
        return figures.reason if now() - figures.last_activity < _RECENT else ""

    @property
    def stops_at(self) -> datetime | None:
        """When it will be stopped if nobody uses it."""
        used = self.used_at or self.started
        if self.state != "running" or not self.idle_after or not used:
            return None
        return used + timedelta(seconds=self.idle_after)

    def model(self) -> dict[str, Any]:
        """Return what changes from moment to moment, as JSON can hold it."""
        moments = {"started": self.started, "last_activity": self.used_at, "stops": self.stops_at}
        figures = self.figures
        return {
            "state": self.state,
            "pending": {"starting": "spawn", "stopping": "stop"}.get(self.state),
            "profile": self.choice.profile.name if self.choice else None,
            "uptime": (now() - self.started).total_seconds() if self.started else None,
            **{name: moment and moment.isoformat() + "Z" for name, moment in moments.items()},
            "busy": self.busy,
            "figures": figures and {"cpu": figures.cpu, "memory": figures.memory},
        }


def now() -> datetime:
    """Return the present moment in UTC, without zone, as the hub's own tables keep it."""
    return datetime.now(UTC).replace(tzinfo=None)


def lasted(since: datetime) -> str:
    """Say how long ago something began: 12 min, 3 h, 4 days."""
    seconds = max(0, int((now() - since).total_seconds()))
    if seconds < 60:
        return "under a minute"
    if seconds < 3600:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h" if seconds < 172800 else f"{seconds // 86400} days"


def of_user(user: Any, named: bool) -> list[Card]:
    """Return the cards of a user, the default server first.

    Args:
        user: The hub's user.
        named: Whether servers with names of their own are shown.
    """
    first = user.spawner  # makes it where there is none yet
    catalog, groups = first.catalog, first.group_names
    servers = [first, *(user.all_spawners(include_default=False) if named else ())]
    return [card(user, server, catalog, groups, first.idle_after) for server in servers]


def active_of(user: Any) -> Iterator[Any]:
    """Yield the spawners of a user that are starting, running or stopping."""
    for spawner in user.spawners.values():
        if spawner.active:
            yield spawner


def card(user: Any, server: Any, catalog: Catalog, groups: list[str], idle_after: int) -> Card:
    """Return the card of one server: a spawner, or the hub's record of one that is stopped."""
    record = server if isinstance(server, orm.Spawner) else server.orm_spawner
    state = state_of(server)
    again = _last_choice(record.user_options, catalog, groups)
    choice = again
    if state != "stopped":
        choice = _with_title(server.choice, catalog) or again
    failure = getattr(server, "last_failure", None) or (record.state or {}).get("last_failure")
    return Card(
        name=record.name,
        title=(record.display_name or record.name) if record.name else "My server",
        state=state,
        path=path_of(user, record.name),
        url=user.server_url(record.name),
        choice=choice,
        again=again is not None,
        rstudio_missing=_rstudio_missing(choice, catalog, groups),
        started=None if state == "stopped" else (server.started_at or record.started),
        last_activity=record.last_activity,
        idle_after=idle_after,
        failure=failure if state == "stopped" else None,
    )


def path_of(user: Any, name: str) -> str:
    """Return the end of the addresses of a server's pages."""
    return str(user.escaped_name) + (f"/{url_escape_path(name)}" if name else "")


def last_choice(options: Any, spawner: Any) -> Choice | None:
    """Return what a server ran with last, if that is still on offer to its user."""
    return _last_choice(options, spawner.catalog, spawner.group_names)


def state_of(server: Any) -> State:
    """Say in one word how a server is."""
    if isinstance(server, orm.Spawner) or not server.active:
        return "stopped"
    pending: State | None = {"spawn": "starting", "stop": "stopping"}.get(server.pending)  # type: ignore[assignment]
    return pending or "running"


def address(card: Card, target: str, base_url: str) -> str:
    """Return where a link leads that opens `target` on a server, in whatever state that is.

    Args:
        card: The server's.
        target: One of `TARGETS`.
        base_url: Of the hub's pages.
    """
    wanted = target_url(card.url, target)
    if card.state == "running":
        return wanted
    page = "spawn-pending" if card.state == "starting" else "spawn"
    return str(url_concat(url_path_join(base_url, page, card.path), {"next": wanted}))


def target_url(server_url: str, target: str) -> str:
    """Return the address of something on a server."""
    return f"{server_url.rstrip('/')}/{TARGETS[target]}"


def _last_choice(options: Any, catalog: Catalog, groups: list[str]) -> Choice | None:
    if not isinstance(options, dict) or not options.get("profile"):
        return None
    try:
        return catalog.choose(options, groups)
    except NotOffered:
        return None


def _with_title(choice: Choice | None, catalog: Catalog) -> Choice | None:
    """Give a choice that was recalled after a restart of the hub its image's title again."""
    if choice is None:
        return None
    known = next((i for i in catalog.images_now() if i.name == choice.image.name), None)
    if known is None:
        return choice
    # It runs what it was started from, whatever people get next.
    same = known.ref == choice.image.ref
    return Choice(choice.profile, known if same else replace(choice.image, title=known.title))


def _rstudio_missing(choice: Choice | None, catalog: Catalog, groups: list[str]) -> str:
    offered = catalog.images_now()
    if choice:
        # An image that was taken off the list may well have it.
        images: list[Image] = [choice.image] if choice.image in offered else []
    else:
        names = {name for profile in catalog.offered_to(groups) for name in profile.images}
        images = [image for image in offered if image.name in names]
    if any(image.rstudio for image in images) or not images:
        return ""
    return images[0].rstudio_note or f"RStudio is not in the image {images[0].title}."
