"""What a server uses now, asked of the server itself.

A container is its user's: whatever it answers is a guess until it has become numbers and a short
text here. It may be slow, huge, or lead elsewhere; none of that reaches a page.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Hashable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp

log = logging.getLogger(__name__)
ANSWER_WITHIN = 2.0
"""Seconds a server has for its answer."""
SHARED_FOR = 3.0
"""Seconds in which everybody gets the same answer."""
_LARGEST = 4096
_LONGEST_REASON = 100
_MOST = 1e20
_FORGOTTEN_AFTER = 60.0


@dataclass(frozen=True)
class Home:
    """Bytes of a home folder; `used` is None while it has not been counted."""

    used: int | None
    free: int
    size: int


@dataclass(frozen=True)
class Figures:
    """What a server said of itself, checked.

    Attributes:
        cpu: Cores in use over the last seconds.
        memory: Bytes in use.
        last_activity: When somebody or something last worked there, in UTC.
        reason: What that was.
    """

    cpu: float | None
    memory: int | None
    home: Home | None
    last_activity: datetime | None
    reason: str

    def model(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        last = self.last_activity
        return {**asdict(self), "last_activity": last.isoformat() + "Z" if last else None}


def parse(body: bytes) -> Figures | None:
    """Read an answer; None if it is not one. Parts that make no sense are None."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    idle = said.get("idle")
    idle = idle if isinstance(idle, dict) else {}
    return Figures(
        cpu=_number(said.get("cpu")),
        memory=_whole(said.get("memory")),
        home=_home(said.get("home")),
        last_activity=_moment(idle.get("last_activity")),
        reason=_text(idle.get("reason")),
    )


def _home(said: Any) -> Home | None:
    if not isinstance(said, dict):
        return None
    free, size = _whole(said.get("free")), _whole(said.get("size"))
    if free is None or not size or free > size:
        return None
    return Home(_whole(said.get("used")), free, size)


def _number(said: Any) -> float | None:
    if isinstance(said, bool) or not isinstance(said, int | float):
        return None
    return float(said) if 0 <= said <= _MOST and math.isfinite(said) else None


def _whole(said: Any) -> int | None:
    number = _number(said)
    return None if number is None else int(number)


def _moment(said: Any) -> datetime | None:
    if not isinstance(said, str):
        return None
    try:
        moment = datetime.fromisoformat(said)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return min(moment, datetime.now(UTC)).replace(tzinfo=None, microsecond=0)


def _text(said: Any) -> str:
    if not isinstance(said, str):
        return ""
    plain = "".join(letter if letter.isprintable() else " " for letter in said[:_LARGEST])
    return " ".join(plain.split())[:_LONGEST_REASON]


class Asker:
    """Asks servers for their figures: one question at a time each, one answer for all who wait."""

    def __init__(self, within: float = ANSWER_WITHIN, shared_for: float = SHARED_FOR) -> None:
        self._within, self._shared_for = within, shared_for
        self._asked: dict[Hashable, asyncio.Task[Figures | None]] = {}
        self._known: dict[Hashable, tuple[float, Figures | None]] = {}
        self._room = 64
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, url: str, token: str) -> Figures | None:
        """Return the figures of the server at `url`, or None if it did not tell.

        Args:
            url: Of the server, with a slash at its end.
            token: What the server knows the hub by; another one is another server.
        """
        key = (url, token)
        when, figures = self._known.get(key, (-math.inf, None))
        if time.monotonic() - when < self._shared_for:
            return figures
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = asyncio.create_task(self._fetch(key, url, token))
        return await asyncio.shield(asked)

    def last(self, url: str, token: str, within: float) -> Figures | None:
        """Return what the server said in the last `within` seconds, without asking."""
        when, figures = self._known.get((url, token), (-math.inf, None))
        return figures if time.monotonic() - when < within else None

    async def _fetch(self, key: Hashable, url: str, token: str) -> Figures | None:
        figures = None
        try:
            async with asyncio.timeout(self._within):
                figures = await self._answer(url, token)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            # No news: a server may be starting, busy, or of an older image.
            log.debug("%s tells no figures: %r", url, error)
        except Exception:
            log.exception("a mistake of ours while asking %s for its figures", url)
        finally:
            self._asked.pop(key, None)
            self._remember(key, figures)
        return figures

    async def _answer(self, url: str, token: str) -> Figures | None:
        async with self._client().get(
            f"{url}api/workroom/now",
            headers={"X-Workroom-Token": token, "Accept-Encoding": "identity"},
            allow_redirects=False,
        ) as answer:
            if answer.status != 200:
                return None
            body = b""
            async for part in answer.content.iter_any():
                body += part
                if len(body) > _LARGEST:
                    answer.close()
                    return None
            return parse(body)

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                # Nothing a container says is carried to another one, unpacked, or kept waiting for.
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=10),
                trust_env=False,
            )
        return self._session

    def _remember(self, key: Hashable, figures: Figures | None) -> None:
        now = time.monotonic()
        self._known[key] = (now, figures)
        if len(self._known) > self._room:
            old = now - _FORGOTTEN_AFTER
            self._known = {k: known for k, known in self._known.items() if known[0] > old}
            self._room = 64 + 2 * len(self._known)

    async def close(self) -> None:
        """Close its connections."""
        for task in list(self._asked.values()):
            task.cancel()
        if self._session:
            await self._session.close()
