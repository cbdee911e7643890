"""Everyone's servers, for admins: totals by size, and a list to look through."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jupyterhub import orm
from jupyterhub.handlers.base import BaseHandler
from jupyterhub.scopes import needs_scope
from jupyterhub.utils import url_escape_path, url_path_join
from sqlalchemy import Unicode, func, literal_column, select
from sqlalchemy.orm import Session
from tornado import web

from workroom_hub.portal.cards import State, lasted, now, state_of

_PAGE = 100
_MOST = 5000
_LONGEST_SEARCH = 200
SORTS = {
    "user": "Person",
    "profile": "Size",
    "state": "State",
    "started": "Up for",
    "used": "Last used",
}


@dataclass(frozen=True)
class Row:
    """One active server of somebody."""

    user: str
    server: str
    title: str
    profile: str
    cpu: float
    memory: int
    state: State
    started: datetime | None
    last_activity: datetime | None
    url: str


@dataclass(frozen=True)
class Total:
    """What all servers of one size have together."""

    profile: str
    servers: int
    cpu: float
    memory: int


class EveryoneHandler(BaseHandler):  # type: ignore[misc]
    """`GET /hub/everyone`: who has which server."""

    @web.authenticated
    @needs_scope("admin-ui")  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Draw the page; `find`, `sort` and `show` are in its address."""
        if "admin:users" not in self.expanded_scopes:
            raise web.HTTPError(403, "This page is for admins of all users.")
        everything = active_rows(self.db, self.users, self.current_user.spawner.catalog)
        find = self.get_query_argument("find", "")[:_LONGEST_SEARCH]
        sort = self.get_query_argument("sort", "user")
        matching = sorted_rows(matching_rows(everything, find), sort)
        show = self._shown()
        html = await self.render_template(
            "everyone.html",
            totals=totals(everything),
            everything=total("All servers", everything),
            rows=matching[:show],
            lasted=lasted,
            matching=len(matching),
            find=find,
            sort=sort,
            sorts=SORTS,
            show=show,
            page=_PAGE,
            people=self.db.execute(select(func.count()).select_from(orm.User)).scalar_one(),
        )
        self.finish(html)

    def _shown(self) -> int:
        asked = self.get_query_argument("show", "")[:9]  # Python refuses to read very long numbers
        return min(max(int(asked), _PAGE), _MOST) if asked.isascii() and asked.isdigit() else _PAGE


def active_rows(db: Session, users: Any, catalog: Any) -> list[Row]:
    """Return all active servers, with one question to the database.

    Args:
        db: The hub's.
        users: The hub's users in memory, which know what is starting and stopping.
        catalog: What is on offer, for titles.
    """
    titles = {profile.name: profile for profile in catalog.profiles}
    columns = select(
        orm.User.id,
        orm.User.name,
        orm.Spawner.name,
        orm.Spawner.display_name,
        # As text: the hub's own type for them is compiled anew for every question.
        literal_column("spawners.state", Unicode),
        literal_column("spawners.user_options", Unicode),
        orm.Spawner.started,
        orm.Spawner.last_activity,
    ).join(orm.Spawner, orm.Spawner.user_id == orm.User.id)
    found = db.execute(columns.where(orm.Spawner.server_id.is_not(None)))
    rows = []
    for user_id, user_name, name, display, state, options, started, used in found:
        # Not `users[…]`, which asks the database.
        user = dict.get(users, user_id)
        spawner = user.spawners.get(name) if user and name in user.spawners else None
        known, asked = _object(state), _object(options)
        # A start may have been asked for with anything, until it is refused.
        profile_name = str(known.get("profile") or asked.get("profile") or "")
        profile = titles.get(profile_name)
        rows.append(
            Row(
                user=user_name,
                server=name,
                title=(display or name) if name else "",
                profile=profile.title if profile else profile_name or "Unknown",
                cpu=known.get("cpu") or (profile.cpu if profile else 0),
                memory=known.get("memory") or (profile.memory if profile else 0),
                state=state_of(spawner) if spawner else "running",
                started=_moment(known.get("started_at")) or started,
                last_activity=used,
                url=user.server_url(name) if user else _url(user_name, name),
            )
        )
    return rows


def matching_rows(rows: Iterable[Row], find: str) -> list[Row]:
    """Return the rows whose person, server or size has all the words of `find`."""
    words = find.casefold().split()
    return [
        row
        for row in rows
        if all(w in f"{row.user} {row.title} {row.server} {row.profile}".casefold() for w in words)
    ]


def sorted_rows(rows: Iterable[Row], sort: str) -> list[Row]:
    """Return rows in one of the orders of `SORTS`; by person where there is none."""
    by_person = sorted(rows, key=lambda row: (row.user.casefold(), row.title.casefold()))
    if sort == "profile":
        return sorted(by_person, key=lambda row: (-row.memory, -row.cpu, row.profile))
    if sort == "state":
        order = ("starting", "stopping", "running", "stopped")
        return sorted(by_person, key=lambda row: order.index(row.state))
    if sort == "started":
        return sorted(by_person, key=lambda row: row.started or now())
    if sort == "used":
        return sorted(by_person, key=lambda row: row.last_activity or datetime.min)
    return by_person


def totals(rows: Iterable[Row]) -> list[Total]:
    """Return what each size takes, the largest part of the memory first."""
    sizes: dict[str, list[Row]] = {}
    for row in rows:
        sizes.setdefault(row.profile, []).append(row)
    each = [total(profile, members) for profile, members in sizes.items()]
    return sorted(each, key=lambda one: (-one.memory, one.profile))


def total(profile: str, rows: list[Row]) -> Total:
    """Return what some servers have together."""
    return Total(profile, len(rows), sum(row.cpu for row in rows), sum(row.memory for row in rows))


def _object(text: str | None) -> dict[str, Any]:
    held = json.loads(text) if text else None
    return held if isinstance(held, dict) else {}


def _moment(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None


def _url(user_name: str, name: str) -> str:
    return str(url_path_join("/user", url_escape_path(user_name), url_escape_path(name), "/"))
