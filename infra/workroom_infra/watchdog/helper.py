"""The process that talks to AWS, so that the watchdog itself waits for nobody.

It is a fork that takes one line of JSON for each request and answers with another. One that does
not answer in time is killed and forked anew.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from workroom_infra.watchdog.plan import Do
from workroom_infra.watchdog.probes import fork, keep_only, reaped
from workroom_infra.watchdog.settings import Settings

PATIENCE = 30.0
"""Seconds for one request: up to four calls, each with its own time-outs."""


@dataclass
class Answer:
    """What became of a request; `error` is empty if it was done."""

    do: Do
    result: Mapping[str, Any]
    identity: Mapping[str, str] | None
    error: str = ""


class Helper:
    """The parent's side. Nothing here waits."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pid = 0
        self._to = self._from = -1
        self._text = b""
        self._asked: Do | None = None
        self._until = 0.0
        self._ended: list[int] = []

    @property
    def busy(self) -> bool:
        """Whether a request is under way."""
        return self._asked is not None

    @property
    def pipes(self) -> list[int]:
        """Where an answer comes from."""
        return [self._from] if self.busy else []

    def ask(
        self, do: Do, identity: Mapping[str, str] | None, given: Mapping[str, Any], now: float
    ) -> None:
        """Begin a request.

        Raises:
            OSError: No process can be started now.
        """
        assert not self.busy
        if not self._pid:
            self._start()
        line = json.dumps({"do": do.value, "identity": identity, "given": dict(given)})
        try:
            os.write(self._to, line.encode() + b"\n")
        except OSError:
            self._end()
            raise
        self._asked, self._until, self._text = do, now + PATIENCE, b""

    def collect(self, now: float) -> Answer | None:
        """The answer, if it is there."""
        self._ended = [pid for pid in self._ended if not reaped(pid)]
        if self._asked is None:
            return None
        try:
            text = os.read(self._from, 65536)
            self._text += text
        except BlockingIOError:
            return self._given_up("no answer") if now >= self._until else None
        if not text:
            return self._given_up("the helper ended")
        if not self._text.endswith(b"\n"):
            return None
        do, self._asked = self._asked, None
        said = json.loads(self._text)
        return Answer(do, said["result"], said["identity"], said["error"])

    def _given_up(self, why: str) -> Answer:
        assert self._asked is not None
        do, self._asked = self._asked, None
        self._end()
        return Answer(do, {}, None, why)

    def _start(self) -> None:
        theirs, self._to = os.pipe()
        self._from, ours = os.pipe()
        try:
            self._pid = fork()
        except OSError:
            for end in (theirs, self._to, self._from, ours):
                os.close(end)
            raise
        if self._pid == 0:
            _serve(self._settings, theirs, ours)
        os.close(theirs)
        os.close(ours)
        os.set_blocking(self._from, False)
        os.set_blocking(self._to, False)

    def _end(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        self._ended.append(self._pid)
        os.close(self._to)
        os.close(self._from)
        self._pid = 0


def _serve(settings: Settings, reader: int, writer: int) -> None:
    """In the child: answer requests until the parent is gone."""
    try:
        keep_only(2, reader, writer)
        identity: Mapping[str, str] | None = None
        aws: Any = None
        with os.fdopen(reader) as requests:
            for line in requests:
                request = json.loads(line)
                error, result = "", {}
                try:
                    if request["identity"] != identity or aws is None:
                        identity, aws = _known(settings, request["identity"])
                    result = aws.carry_out(Do(request["do"]), request["given"])
                except Exception as failure:  # whatever it is, it is tried again
                    error = _sentence(failure)
                    # New clients look for credentials again.
                    aws = None
                    if type(failure).__name__ == "UnknownInstance":
                        identity = None
                answer = {"result": result, "identity": identity, "error": error}
                os.write(writer, json.dumps(answer).encode() + b"\n")
    finally:
        os._exit(0)


def _known(settings: Settings, identity: Mapping[str, str] | None) -> tuple[Mapping[str, str], Any]:
    # boto3 takes a second to import, and only this process shall have it.
    from workroom_infra.watchdog.aws import Aws, identify

    identity = identity or identify(settings)
    return identity, Aws(identity, settings)


def _sentence(failure: Exception) -> str:
    """The kind of a failure and AWS's code for it; never a whole message, which may tell keys."""
    response = getattr(failure, "response", None)
    if isinstance(response, dict):
        return f"{type(failure).__name__}: {response.get('Error', {}).get('Code', '?')}"
    if isinstance(failure, OSError) or type(failure).__name__ == "UnknownInstance":
        return f"{type(failure).__name__}: {failure}"
    return type(failure).__name__
