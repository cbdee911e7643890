"""The API of people's SSH keys.

Contract (JSON, scope `tokens` over that user, because a key is worth as much as a token): GET and
POST `/users/NAME/ssh-keys`, PATCH and DELETE `/users/NAME/ssh-keys/ID`. Errors are
`{"status", "message"}`.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.scopes import needs_scope
from jupyterhub.utils import isoformat
from tornado import web

from workroom_hub.account import store
from workroom_hub.account.keys import LARGEST, KeyRefused, read

_LARGEST_BODY = 8 * LARGEST  # JSON may write a character as six


class JsonHandler(APIHandler):  # type: ignore[misc]
    """Reads and writes JSON, and never lets a body into the log: it may hold a private key."""

    kinds: ClassVar[dict[str, type]] = {"key_id": int}

    def read_object(self, *needed: str, optional: str = "") -> dict[str, Any]:
        """Return the fields of the JSON object in the body; texts, but for those in `kinds`.

        Raises:
            web.HTTPError: 400 or 413, with the reason.
        """
        if len(self.request.body) > _LARGEST_BODY:
            raise web.HTTPError(413, "This is longer than a public key can be.")
        wanted = ", ".join(f'"{field}": …' for field in (*needed, optional) if field)
        try:
            body = json.loads(self.request.body)
        except ValueError:  # whose text would hold the body
            body = None
        if not isinstance(body, dict) or set(body) - {*needed, optional}:
            raise web.HTTPError(400, f"Send a JSON object: {{{wanted}}}.")
        for field in (*needed, *([optional] if optional in body else [])):
            kind = self.kinds.get(field, str)
            if type(body.get(field)) is not kind:
                raise web.HTTPError(
                    400, f"{field}: {'a number' if kind is int else 'a text'} is needed."
                )
        return body

    def answer(self, status: int, body: Any = None) -> None:
        """Finish with JSON, or with nothing."""
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        self.finish(None if body is None else json.dumps(body))


class _KeysHandler(JsonHandler):
    def owner(self, user_name: str) -> Any:
        """Return the user whose keys these are.

        Raises:
            web.HTTPError: 404 if there is none.
        """
        user = self.find_user(user_name)
        if user is None:
            raise web.HTTPError(404, f"There is no user '{user_name}'.")
        return user

    def no_such_key(self, key_id: str) -> web.HTTPError:
        """Return the error for a key that is not there (any more)."""
        return web.HTTPError(404, f"There is no key {key_id}. It may have been removed already.")


class KeyListHandler(_KeysHandler):
    """The keys of one user."""

    @needs_scope("tokens")  # type: ignore[untyped-decorator]
    async def get(self, user_name: str) -> None:
        """List them."""
        user = self.owner(user_name)
        self.answer(200, [model(row) for row in store.of_user(self.db, user.id)])

    @needs_scope("tokens")  # type: ignore[untyped-decorator]
    async def post(self, user_name: str) -> None:
        """Add one: `{"key": "ssh-ed25519 AAAA…", "name": "laptop"}`; the name may be left out."""
        user = self.owner(user_name)
        asked = self.read_object("key", optional="name")
        try:
            row = store.add(self.db, user.id, read(asked["key"]), asked.get("name", ""))
        except store.Taken as taken:
            raise web.HTTPError(409, str(taken)) from None
        except KeyRefused as refused:
            raise web.HTTPError(400, str(refused)) from None
        self.log.info(
            "%s added the SSH key %s of %s", self.current_user.name, row["fingerprint"], user.name
        )
        self.answer(201, model(row))


class KeyHandler(_KeysHandler):
    """One key."""

    @needs_scope("tokens")  # type: ignore[untyped-decorator]
    async def patch(self, user_name: str, key_id: str) -> None:
        """Give it another name: `{"name": "laptop"}`."""
        user = self.owner(user_name)
        asked = self.read_object("name")
        try:
            found = store.rename(self.db, user.id, int(key_id), asked["name"])
        except KeyRefused as refused:
            raise web.HTTPError(400, str(refused)) from None
        if not found:
            raise self.no_such_key(key_id)
        [row] = [row for row in store.of_user(self.db, user.id) if row["id"] == int(key_id)]
        self.answer(200, model(row))

    @needs_scope("tokens")  # type: ignore[untyped-decorator]
    async def delete(self, user_name: str, key_id: str) -> None:
        """Remove it."""
        user = self.owner(user_name)
        if not store.remove(self.db, user.id, int(key_id)):
            raise self.no_such_key(key_id)
        self.log.info("%s removed the SSH key %s of %s", self.current_user.name, key_id, user.name)
        self.answer(204)


def model(row: dict[str, Any]) -> dict[str, Any]:
    """Return a key as the API shows it."""
    shown = {field: row[field] for field in ("id", "name", "type", "bits", "fingerprint")}
    times = {field: isoformat(row[field]) for field in ("added", "last_used")}
    return {**shown, "key": row["line"], **times, "last_address": row["last_address"]}


handlers: list[tuple[str, type[JsonHandler]]] = [
    (r"/api/workroom/users/([^/]+)/ssh-keys", KeyListHandler),
    (r"/api/workroom/users/([^/]+)/ssh-keys/([0-9]{1,9})", KeyHandler),
]
