"""What the gateway asks of the hub: whose a key is, where a server is, to start one."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import aiohttp

log = logging.getLogger(__name__)
_ASK_AGAIN_FOR = 20.0
"""Seconds a hub that does not answer is asked again: one that is restarted is back by then."""
_PAUSE = 0.25
_ANSWER_WITHIN = 30.0


class HubAway(Exception):
    """The hub does not answer."""


class HubSaysNo(Exception):
    """The hub refused; the text is a sentence for the person."""


@dataclass(frozen=True)
class Login:
    """Somebody the hub knows.

    Attributes:
        name: The user's name as the hub writes it.
        key_id: The hub's id of the key.
    """

    name: str
    key_id: int


@dataclass(frozen=True)
class Server:
    """One server as the hub describes it.

    Attributes:
        exists: Whether the hub has ever heard of it; the default one always exists.
        ready: It runs and answers.
        pending: "spawn", "stop" or "".
        state: The spawner's state: `address`, `ssh_port`, `ssh_host_key`, `ssh_principal`, and
            `last_failure` of a server that did not start or died.
    """

    exists: bool
    ready: bool
    pending: str
    state: Mapping[str, Any]


@dataclass(frozen=True)
class News:
    """One event of a start.

    Attributes:
        message: A sentence.
        stage: Id of the stage under way.
        done: It runs, or it failed.
    """

    message: str
    stage: str = ""
    done: bool = False
    failed: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)


class HubClient:
    """Requests to the hub's API with the gateway's token.

    Args:
        base_url: `http://HOST:PORT/hub/api`.
        token: API token of the service `ssh`.
    """

    def __init__(self, base_url: str, token: str) -> None:
        self._base = base_url.rstrip("/")
        self._headers = {"Authorization": f"token {token}"}
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Give the connections back."""
        if self._session:
            await self._session.close()

    async def log_in(self, user: str, key: str) -> Login | None:
        """Return whose key it is if it opens this user's servers, else None.

        Raises:
            HubAway: No answer.
        """
        try:
            answer = await self._ask("POST", "workroom/ssh/log-in", {"user": user, "key": key})
            if not answer.get("name"):
                return None
            return Login(str(answer["name"]), int(answer["key_id"]))
        except (_Answered, KeyError, TypeError, ValueError) as error:
            log.error("the hub's answer to a log-in makes no sense: %r", error)
            raise HubAway(str(error)) from error

    async def logged_in(self, key_id: int, address: str) -> None:
        """Tell the hub that a key was used."""
        body = {"key_id": key_id, "address": address}
        await self._ask("POST", "workroom/ssh/logged-in", body)

    async def server_names(self, user: str) -> list[str]:
        """Return the names of a user's named servers."""
        return sorted(filter(None, (await self._model(user)).get("servers", {})))

    async def server(self, user: str, name: str) -> Server:
        """Return a server as it is now.

        Raises:
            HubAway: No answer.
            HubSaysNo: There is no such user any more.
        """
        model = await self._model(user)
        try:
            found = (model.get("servers") or {}).get(name)
            if found is None:
                return Server(name == "", False, "", {})
            state = dict(found.get("state") or {})
            return Server(True, bool(found["ready"]), str(found["pending"] or ""), state)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            log.error("the hub's answer about a server makes no sense: %r", error)
            raise HubAway(str(error)) from error

    async def start(self, user: str, name: str) -> None:
        """Ask for a server, with the size and image of its last time.

        Raises:
            HubAway: No answer.
            HubSaysNo: It cannot be started, and why.
        """
        try:
            await self._ask("POST", self._path(user, name), None)
        except _Answered as answered:
            if answered.status == 400 and "already" in answered.message:
                return  # running or pending: somebody was quicker
            raise HubSaysNo(answered.message) from answered

    async def progress(self, user: str, name: str) -> AsyncIterator[News]:
        """Yield what happens during a start, until it is done or the hub hangs up."""
        path = f"{self._path(user, name)}/progress"
        try:
            request = self._http().get(
                self._url(path), timeout=aiohttp.ClientTimeout(total=None, sock_read=60)
            )
            async with request as answer:
                if answer.status != 200:
                    return
                async for line in answer.content:
                    if line.startswith(b"data:"):
                        yield _news(json.loads(line[5:]))
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return

    async def active_now(self, user: str, name: str) -> None:
        """Report that a server is being used now."""
        body = {"servers": {name: {"last_activity": datetime.now(UTC).isoformat()}}}
        await self._ask("POST", f"users/{quote(user, safe='')}/activity", body)

    async def _model(self, user: str) -> dict[str, Any]:
        try:
            path = f"users/{quote(user, safe='')}?include_stopped_servers=1"
            return await self._ask("GET", path, None)
        except _Answered as answered:
            if answered.status == 404:
                raise HubSaysNo("Your account is gone.") from answered
            raise HubAway(str(answered)) from answered

    def _path(self, user: str, name: str) -> str:
        who = f"users/{quote(user, safe='')}"
        return f"{who}/servers/{quote(name, safe='')}" if name else f"{who}/server"

    def _url(self, path: str) -> str:
        return f"{self._base}/{path}"

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers=self._headers,
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
                timeout=aiohttp.ClientTimeout(total=_ANSWER_WITHIN),
            )
        return self._session

    async def _ask(self, method: str, path: str, body: Any) -> dict[str, Any]:
        """Send one request, again while the hub is away.

        Raises:
            HubAway: No answer, or only errors of the hub's own, for twenty seconds.
            _Answered: The hub answered 4xx.
        """
        deadline = asyncio.get_running_loop().time() + _ASK_AGAIN_FOR
        while True:
            try:
                return await self._send(method, path, body)
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                problem: Exception = error
            except _Answered as answered:
                if answered.status < 500 or (method == "POST" and answered.from_spawner):
                    raise
                problem = answered
            if asyncio.get_running_loop().time() + _PAUSE > deadline:
                log.warning("the hub does not answer %s %s: %r", method, path, problem)
                raise HubAway(str(problem)) from problem
            await asyncio.sleep(_PAUSE)

    async def _send(self, method: str, path: str, body: Any) -> dict[str, Any]:
        async with self._http().request(method, self._url(path), json=body) as answer:
            text = await answer.read()
            if answer.status >= 400:
                raise _Answered(answer.status, _message(text))
            found = json.loads(text) if text else {}
            if not isinstance(found, dict):
                raise ValueError("the hub answered something else than an object")
            return found


class _Answered(Exception):
    """The hub answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status} {message}")
        self.status = status
        self.message = message

    @property
    def from_spawner(self) -> bool:
        """Whether it is a start's own failure, which asking again would only repeat."""
        return self.status in (500, 503, 504, 507) and bool(self.message)


def _message(text: bytes) -> str:
    try:
        found = json.loads(text)
        return str(found.get("message") or "") if isinstance(found, dict) else ""
    except ValueError:
        return ""


def _news(event: Mapping[str, Any]) -> News:
    return News(
        str(event.get("message") or ""),
        str(event.get("stage") or ""),
        bool(event.get("ready") or event.get("failed")),
        bool(event.get("failed")),
        event,
    )
