"""The home page, and what it asks for while it is open."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import datetime
from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.handlers.base import BaseHandler
from jupyterhub.scopes import needs_scope
from tornado import web

from workroom_hub.portal import cards, ssh
from workroom_hub.portal.cards import Card
from workroom_hub.portal.figures import Asker, Figures, Home
from workroom_hub.portal.home_folder import HomeFolder

_FRESH = 15.0
"""Seconds for which known figures are good enough to begin a page with."""
_HOMES_KEPT = 10_000

asker = Asker()
_homes: dict[tuple[int, datetime | None], tuple[datetime, Home]] = {}
"""What was last known of each user's home folder: it stays true when her servers stop."""


class HomePage(BaseHandler):  # type: ignore[misc]
    """Draws the home page, also when a form on it was refused."""

    async def show_home(self, refused: str = "", typed: str = "") -> None:
        """Finish with the page.

        Args:
            refused: Why the name of a new server is no good.
            typed: That name.
        """
        user = self.current_user
        if user.running:
            # A server that died is noticed now.
            await user.spawner.poll_and_notify()
        if refused:
            self.set_status(400)
        limit = await self.get_current_user_named_server_limit()
        servers = [_with_known(user, card) for card in self._cards(user)]
        html = await self.render_template(
            "home.html",
            user=user,
            servers=servers,
            address=lambda card, target: cards.address(card, target, self.hub.base_url),
            lasted=cards.lasted,
            home_folder=_home_folder(user),
            ssh=ssh.of(self, user),
            refused=refused,
            typed=typed,
            allow_named_servers=self.allow_named_servers,
            named_server_limit_per_user=limit,
            auth_state=await user.get_auth_state(),
            default_server=user.spawner,
        )
        self.finish(html)

    def _cards(self, user: Any) -> list[Card]:
        return cards.of_user(user, self.allow_named_servers)


class HomeHandler(HomePage):
    """`/hub/home`: one card a server."""

    @web.authenticated
    async def get(self) -> None:
        """Draw it."""
        await self.show_home()


class ServersNowHandler(APIHandler):  # type: ignore[misc]
    """`GET /hub/api/workroom/servers-now[?user=NAME]`: the active servers, and their figures."""

    async def get(self) -> None:
        """Answer `{"user", "servers": {name: …}, "home"}`; a server not in it is stopped."""
        asking = self.current_user
        if asking is None:
            raise web.HTTPError(403, "Missing or invalid credentials.")
        await self._get_checked(user_name=self.get_query_argument("user", "") or asking.name)

    @needs_scope("read:servers")  # type: ignore[untyped-decorator]
    async def _get_checked(self, user_name: str) -> None:
        user = self.find_user(user_name)
        if user is None:
            raise web.HTTPError(404, "There is no such user.")
        found = await active_cards(user)
        folder = _home_folder(user)
        self.set_header("Cache-Control", "no-store")
        self.finish(
            json.dumps(
                {
                    "user": user.name,
                    "servers": {card.name: card.model() for card in found},
                    "home": folder and folder.model(),
                }
            )
        )


async def active_cards(user: Any) -> list[Card]:
    """Return the cards of a user's active servers, with figures from those that tell."""
    spawners = list(cards.active_of(user))
    told = await asyncio.gather(*(_ask(user, spawner) for spawner in spawners))
    first = user.spawner
    catalog, groups = first.catalog, first.group_names
    return [
        replace(cards.card(user, spawner, catalog, groups, first.idle_after), figures=figures)
        for spawner, figures in zip(spawners, told, strict=True)
        if spawner.active  # it may have ended meanwhile
    ]


async def _ask(user: Any, spawner: Any) -> Figures | None:
    if not spawner.ready:
        return None
    figures = await asker.ask(spawner.server.url, spawner.usage_token)
    if figures and figures.home:
        if len(_homes) > _HOMES_KEPT:
            _homes.clear()
        _homes[user.id, user.created] = (cards.now(), figures.home)
    return figures


def _with_known(user: Any, card: Card) -> Card:
    """Add figures that came in a moment ago, so that a reload does not begin without."""
    spawner = user.spawners.get(card.name)
    if card.state != "running" or spawner is None or spawner.server is None:
        return card
    return replace(card, figures=asker.last(spawner.server.url, spawner.usage_token, _FRESH))


def _home_folder(user: Any) -> HomeFolder | None:
    known = _homes.get((user.id, user.created))
    return HomeFolder(*known) if known else None
