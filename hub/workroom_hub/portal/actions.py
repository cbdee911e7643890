"""What the buttons of the pages do: start, stop, restart, change size, remove, add.

Plain forms, answered with the address of the next page, so that they work without JavaScript.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from typing import Any

from jupyterhub.handlers.base import BaseHandler
from jupyterhub.handlers.pages import SpawnHandler, SpawnPendingHandler
from jupyterhub.scopes import needs_scope
from jupyterhub.slugs import is_valid_safe_slug, normalise_unicode
from jupyterhub.utils import maybe_future, url_path_join
from tornado import web
from tornado.httputil import url_concat

from workroom_hub.portal import cards
from workroom_hub.portal.home import HomePage

_AT_ONCE = 0.5
"""Seconds in which a quick stop may be over before the page is drawn again."""
_LONGEST_STOP = 600.0
_LONGEST_TITLE = 60
_restarting: set[tuple[int, str]] = set()
"""Servers between their stop and their start again."""


class ServersHandler(HomePage, SpawnHandler):  # type: ignore[misc]
    """`POST /hub/servers`: one thing done to one server."""

    def get(self) -> None:
        """Somebody reloads, or comes back from the log-in page."""
        self.redirect(url_path_join(self.hub.base_url, "home"))

    @web.authenticated
    async def post(self) -> None:
        """Do what `do` says to the server `server` of `user` (default: whoever asks)."""
        user_name = self.get_body_argument("user", "") or self.current_user.name
        await self._post_checked(user_name=user_name, server_name=self._server_asked())

    @needs_scope("servers")  # type: ignore[untyped-decorator]
    async def _post_checked(self, user_name: str, server_name: str) -> None:
        user = self.find_user(user_name)
        if user is None:
            raise web.HTTPError(404, "There is no such user.")
        do = self.get_body_argument("do", "")
        if do == "add":
            await self._add(user)
            return
        actions = {
            "start": self._start,
            "stop": self._stop,
            "restart": self._restart,
            "resize": self._resize,
            "remove": self._remove,
        }
        if do not in actions:
            raise web.HTTPError(400, "This page is out of date. Go back, reload it and try again.")
        if server_name and server_name not in user.orm_spawners:
            raise web.HTTPError(404, f"There is no server '{server_name[:60]}' any more.")
        await actions[do](user, server_name)

    def _server_asked(self) -> str:
        return str(self.get_body_argument("server", ""))

    def _back(self, user: Any) -> None:
        page = "home" if user.name == self.current_user.name else "everyone"
        self.redirect(url_path_join(self.hub.base_url, page), status=303)

    # -- start -------------------------------------------------------------------

    async def _start(self, user: Any, name: str) -> None:
        target = self.get_body_argument("open", "lab")
        wanted = cards.target_url(
            user.server_url(name), target if target in cards.TARGETS else "lab"
        )
        spawner = user.get_or_create_spawner(name, "", replace_failed=True)
        path = _path(user, name)
        page = url_path_join(self.hub.base_url, "spawn-pending", path)
        pending = url_concat(page, {"next": wanted})
        if spawner.ready:
            self.redirect(wanted, status=303)
            return
        if spawner.active:
            self.redirect(pending, status=303)
            return
        choice = cards.last_choice(spawner.orm_spawner.user_options, spawner)
        if choice is None:
            form = url_path_join(self.hub.base_url, "spawn", path)
            self.redirect(url_concat(form, {"next": wanted}), status=303)
            return
        options = {"profile": choice.profile.name, "image": choice.image.name}
        try:
            await self._wrap_spawn_single_user(user, name, "", spawner, pending, options)
        except web.HTTPError:
            if not user.spawners[name]._failed:
                raise
            self.redirect(pending, status=303)  # which tells why

    # -- stop --------------------------------------------------------------------

    async def _stop(self, user: Any, name: str) -> None:
        await asyncio.wait([self._begin_stop(user, name)], timeout=_AT_ONCE)
        self._back(user)

    def _begin_stop(self, user: Any, name: str) -> asyncio.Task[None]:
        """Stop a server, or cancel its start; the task ends when that is done."""
        task = asyncio.create_task(self._stopped(user, name))
        task.add_done_callback(self._say_failure)
        return task

    async def _stopped(self, user: Any, name: str) -> None:
        spawner = user.spawners[name]
        if spawner.pending == "spawn" and spawner._spawn_future:
            spawner._spawn_future.cancel()
            await asyncio.sleep(1)  # as JupyterHub's own API does
        elif spawner.ready:
            await spawner.poll_and_notify()  # it may have died
        if spawner.active and not spawner.pending:
            await self.stop_single_user(user, name)
        for _ in range(int(_LONGEST_STOP * 10)):
            if not spawner.pending:
                return
            await asyncio.sleep(0.1)

    def _say_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception():
            self.log.error("a stop or restart failed", exc_info=task.exception())

    # -- stop, then more ---------------------------------------------------------

    async def _restart(self, user: Any, name: str) -> None:
        key = (user.id, name)
        if key not in _restarting:
            _restarting.add(key)
            task = asyncio.create_task(self._stopped_and_started(user, name))
            task.add_done_callback(lambda _: _restarting.discard(key))
            task.add_done_callback(self._say_failure)
            await asyncio.wait([task], timeout=_AT_ONCE)
        self._wait(user, name, "restart")

    async def _stopped_and_started(self, user: Any, name: str) -> None:
        spawner = user.spawners[name]
        options = dict(spawner.user_options or {})
        await self._stopped(user, name)
        if not spawner.active:
            await self.spawn_single_user(user, name, "", options=options)

    async def _resize(self, user: Any, name: str) -> None:
        await asyncio.wait([self._begin_stop(user, name)], timeout=_AT_ONCE)
        self._wait(user, name, "resize")

    def _wait(self, user: Any, name: str, then: str) -> None:
        page = url_path_join(self.hub.base_url, "servers", "stopping")
        asked = {"user": user.name, "server": name, "then": then}
        self.redirect(url_concat(page, asked), status=303)

    async def _remove(self, user: Any, name: str) -> None:
        if not name:
            raise web.HTTPError(400, "The first server cannot be removed, only stopped.")
        spawner = user.get_or_create_spawner(name, "")
        if spawner.active:
            raise web.HTTPError(409, "The server runs. Stop it first, then remove it.")
        self.log.info("Removing server %s", spawner._log_name)
        await maybe_future(user._delete_spawner(spawner))
        self.db.delete(spawner.orm_spawner)
        user.spawners.pop(name, None)
        self.db.commit()
        self._back(user)

    # -- add ---------------------------------------------------------------------

    async def _add(self, user: Any) -> None:
        typed = normalise_unicode(self.get_body_argument("title", ""))
        title = "".join(c for c in typed if c.isprintable())[:_LONGEST_TITLE].strip()
        name = slug(title)
        if not title:
            await self.show_home(refused="Give the server a name.", typed=typed)
            return
        if name in user.orm_spawners:
            await self.show_home(refused=f"You already have a server “{name}”.", typed=title)
            return
        if not is_valid_safe_slug(name):
            refused = "Use letters a to z and digits in the name, such as: spark-test."
            await self.show_home(refused=refused, typed=title)
            return
        await self._check_named_server_request(user, name, title)
        user.get_or_create_spawner(name, title)
        self.redirect(url_path_join(self.hub.base_url, "spawn", _path(user, name)), status=303)


class StoppingHandler(SpawnHandler):  # type: ignore[misc]
    """`/hub/servers/stopping`: waits for the stop, then leads on to the form or the progress."""

    @web.authenticated
    async def get(self) -> None:
        """Draw a page that looks again by itself, or lead on."""
        await self._get_checked(
            user_name=self.get_query_argument("user", self.current_user.name),
            server_name=self.get_query_argument("server", ""),
        )

    @needs_scope("servers")  # type: ignore[untyped-decorator]
    async def _get_checked(self, user_name: str, server_name: str) -> None:
        user = self.find_user(user_name)
        if user is None or server_name not in user.orm_spawners:
            raise web.HTTPError(404, "There is no such server.")
        spawner = user.spawners[server_name]
        again = (user.id, server_name) in _restarting and spawner.pending != "spawn"
        if again or spawner.pending == "stop":
            html = await self.render_template(
                "stop_pending.html", user=user, spawner=spawner, look_again=1, restarting=again
            )
            self.finish(html)
            return
        resize = self.get_query_argument("then", "") == "resize"
        page = "spawn" if resize else "spawn-pending"
        self.redirect(url_path_join(self.hub.base_url, page, _path(user, server_name)))


class _OnOwnHost(BaseHandler):  # type: ignore[misc]
    """Leads on to a server at the host it has where every user has one of her own.

    JupyterHub keeps only the path of `next`, and would get there by way of the hub's own host.
    """

    def get_next_url(self, user: Any = None, default: str | None = None) -> str:
        """Return where to go once the server of this page is ready."""
        url = str(super().get_next_url(user, default))
        owner = self.find_user(self.path_args[0]) if self.path_args else None
        if owner is None or not self.subdomain_host or not url.startswith(owner.base_url):
            return url
        return f"{owner.host}{url}"


class PendingHandler(_OnOwnHost, SpawnPendingHandler):  # type: ignore[misc]
    """The progress of a start."""


class CarefulSpawnHandler(_OnOwnHost, SpawnHandler):  # type: ignore[misc]
    """The size form. Looking at an address makes no server, as it does in JupyterHub 6.1."""

    async def _check_named_server_request(
        self, user: Any, server_name: str, display_name: str, check_limit: bool = True
    ) -> None:
        if self.request.method == "GET" and server_name not in user.orm_spawners:
            raise web.HTTPError(
                404,
                f"There is no server '{server_name[:60]}'. Add it on the page with your servers.",
            )
        await super()._check_named_server_request(user, server_name, display_name, check_limit)


def slug(title: str) -> str:
    """Return a name for addresses by JupyterHub's rule: a-z, digits, hyphens, a letter first."""
    plain = unicodedata.normalize("NFKD", title)
    plain = "".join(c for c in plain if not unicodedata.combining(c)).lower()
    plain = re.sub(r"[^a-z0-9]+", "-", plain).lstrip("-")
    safe = plain if re.match(r"[a-z]", plain) else f"x-{plain}"
    return safe[:30].rstrip("-")


def _path(user: Any, name: str) -> str:
    return cards.path_of(user, name)
