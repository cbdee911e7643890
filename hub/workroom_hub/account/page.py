"""The page `/hub/account/ssh`: a person's SSH keys, and the lines that lead to her servers.

Every form on it is a plain one, so that it works without JavaScript.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from jupyterhub.handlers.base import BaseHandler
from tornado import web

from workroom_hub.account import address, store
from workroom_hub.account.keys import LARGEST, LONGEST_NAME, KeyRefused, plain_name, read

_SWITCHED_OFF = {"enabled": False, "host": "", "port": 0, "host_keys": []}


@dataclass(frozen=True)
class Refused:
    """A form that was refused: where the sentence belongs, and what was typed.

    Attributes:
        field: `key`, `name`, or the id of the key that was to be renamed.
        sentence: Why.
        key: What to give back in the box; never a private key.
        name: What to give back as the name.
    """

    field: str
    sentence: str
    key: str = ""
    name: str = ""


class _Page(BaseHandler):  # type: ignore[misc]
    def need_leave(self) -> Any:
        """Return the person, whose own keys these are.

        Raises:
            web.HTTPError: 403, where her role does not let her have tokens.
        """
        user = self.current_user
        if not self.get_scope_filter("tokens")(user, "user"):
            raise web.HTTPError(403, "Your account may not have SSH keys here.")
        return user

    async def show(self, refused: Refused | None = None, status: int = 200) -> None:
        """Finish with the page."""
        user = self.need_leave()
        keys = store.of_user(self.db, user.id)
        told = self.settings["template_vars"].get("workroom_ssh") or _SWITCHED_OFF
        html = await self.render_template(
            "ssh.html",
            keys=keys,
            most_keys=store.MOST_KEYS,
            longest_name=LONGEST_NAME,
            gateway=told,
            servers=_servers(user, told, named=self.allow_named_servers),
            fits_command=address.fits_command(user.name),
            days=self.authenticator.keys_work_for / 86400,
            refused=refused,
            done=self._done(keys),
        )
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        self.finish(html)

    def back(self, done: str, key_id: int | str = "") -> None:
        """Lead back to the page, which says what was done."""
        self.redirect(f"{self.hub.base_url}account/ssh?{urlencode({done: key_id})}")

    def _done(self, keys: list[dict[str, Any]]) -> dict[str, str]:
        """Return what was just done, and the name of the key it was done to."""
        names = {str(row["id"]): row["name"] for row in keys}
        for done in ("added", "renamed"):
            name = names.get(self.get_query_argument(done, ""))
            if name:
                return {"what": done, "name": name}
        for done in ("removed", "gone"):
            if self.get_query_argument(done, None) is not None:
                return {"what": done, "name": ""}
        return {}

    def field(self, name: str) -> bytes:
        """Return a field of the form as it came, whatever its bytes mean."""
        values: list[bytes] = self.request.body_arguments.get(name) or [b""]
        return values[0]


class KeysHandler(_Page):
    """All keys."""

    @web.authenticated
    async def get(self) -> None:
        """Show them."""
        await self.show()

    @web.authenticated
    async def post(self) -> None:
        """Add one, pasted or uploaded."""
        user = self.need_leave()
        given, name = self.field("key"), self.field("name").decode("utf-8", "replace")
        if not given.strip():
            given = next((file["body"] for file in self.request.files.get("file", [])), b"")
        typed = given[:LARGEST].decode("utf-8", "replace").replace("\0", "")
        try:
            key = read(given)
        except KeyRefused as refused:
            kept = "" if refused.secret else typed
            await self.show(Refused("key", str(refused), kept, name), 400)
            return
        try:
            row = store.add(self.db, user.id, key, name)
        except store.Taken as taken:
            await self.show(Refused("key", str(taken), typed, name), 409)
            return
        except KeyRefused as refused:
            await self.show(Refused("name", str(refused), typed, name), 400)
            return
        self.log.info("%s added the SSH key %s", user.name, row["fingerprint"])
        self.back("added", row["id"])


class KeyFormHandler(_Page):
    """What can be done to one key."""

    @web.authenticated
    async def get(self, key_id: str, do: str) -> None:  # noqa: ARG002
        """Lead to the page, after a log-in on the way here for example."""
        self.redirect(f"{self.hub.base_url}account/ssh")

    @web.authenticated
    async def post(self, key_id: str, do: str) -> None:
        """Rename or remove it."""
        user = self.need_leave()
        if do == "remove":
            removed = store.remove(self.db, user.id, int(key_id))
            if removed:
                self.log.info("%s removed the SSH key %s", user.name, key_id)
            self.back("removed" if removed else "gone")
            return
        name = self.field("name").decode("utf-8", "replace")
        try:
            found = store.rename(self.db, user.id, int(key_id), name)
        except KeyRefused as refused:
            await self.show(Refused(key_id, str(refused), name=plain_name(name)), 400)
            return
        self.back("renamed" if found else "gone", key_id)


def _servers(user: Any, told: dict[str, Any], *, named: bool) -> list[dict[str, str]]:
    """Return what leads to each server of a user, the default one first."""
    titles = {"": "My server"}
    if named:
        records = sorted(user.orm_user.orm_spawners.items())
        titles |= {name: record.display_name or name for name, record in records if name}
    place = (told["host"], told["port"])
    return [
        {
            "name": name,
            "title": title,
            "alias": address.alias(name),
            "line": address.ssh_line(user.name, name, *place),
            "config": address.config_block(user.name, name, *place),
            "vscode": address.vscode_link(name),
        }
        for name, title in titles.items()
    ]


handlers: list[tuple[str, type[_Page]]] = [
    (r"/account/ssh", KeysHandler),
    (r"/account/ssh/([0-9]{1,9})/(rename|remove)", KeyFormHandler),
]
