"""`workroom-start`: from a container's first process to a single-user server.

The start code in the environment is swapped at the hub for the server's environment, the home
is made usable, and this same process becomes the server; a second interpreter would cost as
much as the whole start. Nothing but the standard library is imported before the swap is under
way, and the server's modules are imported while the hub answers.
"""

from __future__ import annotations

import gc
import http.client
import json
import os
import socket
import sys
import threading
import time
from collections.abc import MutableMapping
from urllib.parse import urlsplit

from . import home, limits

REFUSED = 78  # EX_CONFIG: starting again with the same code would not help
UNREACHABLE = 75  # EX_TEMPFAIL
RETRY_FOR = 20.0  # WORKROOM_START_PATIENCE, in seconds, overrides it
ANSWER_WITHIN = 15.0


class StartError(Exception):
    """The hub gave no environment; the text is one sentence for the container's log."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def main() -> None:
    """Run the server that the environment asks for; returns when it has stopped."""
    gc.disable()  # no garbage worth collecting is made while starting
    os.umask(0o027)
    url, code, patience = take_orders(os.environ)
    swap = None
    if url:
        # What the threads of the swap and of sshd need. They import nothing themselves: beside two
        # threads that import, Python 3.11.2 was seen to lose a name of its own import system.
        import subprocess  # noqa: F401

        from . import ssh

        swap = _Swap(url, code, patience)

    from . import lighter

    lighter.put_off_imports()
    lighter.import_server()
    if swap:
        try:
            os.environ.update(swap.result())
        except StartError as error:
            print(f"workroom-start: {error}", file=sys.stderr, flush=True)
            sys.exit(error.exit_code)
    from . import spark_data, ssh

    orders = ssh.take_orders(os.environ)
    limits.tell_libraries(os.environ)
    spark_data.prepare(os.environ)
    for notice in home.prepare(os.environ):
        print(f"workroom-start: {notice}", file=sys.stderr, flush=True)
    if swap:
        ssh.start(orders, os.environ)

    if os.environ.get("JUPYTERHUB_API_TOKEN"):
        lighter.singleuser_without_mixins()
        from .app import WorkroomSingleUser as Server

        Server.usage_token = orders.usage_token
    else:
        from .lab import WorkroomLab as Server
    Server.launch_instance()


def take_orders(environment: MutableMapping[str, str]) -> tuple[str, str, float]:
    """Take the hub's address, the start code and the seconds to try out of `environment`.

    Nothing that the person runs later shall find them there. A patience that is no number counts
    as none: a typing error must not keep a server from starting.
    """
    url = environment.pop("WORKROOM_START_URL", "")
    code = environment.pop("WORKROOM_START_CODE", "")
    given = environment.pop("WORKROOM_START_PATIENCE", "")
    try:
        return url, code, float(given) if given else RETRY_FOR
    except ValueError:
        return url, code, RETRY_FOR


class _Swap(threading.Thread):
    """The swap, under way while the main thread imports the server."""

    def __init__(self, url: str, code: str, patience: float) -> None:
        super().__init__(name="start-code", daemon=True)
        self.url, self.code, self.patience = url, code, patience
        self.environment: dict[str, str] = {}
        self.error: StartError | None = None
        self.start()

    def run(self) -> None:
        try:
            from .ssh import prepare_host_key

            host_key = prepare_host_key(os.environ)
            self.environment = swap_start_code(self.url, self.code, self.patience, host_key)
        except StartError as error:
            self.error = error
        except Exception as error:
            self.error = StartError(f"the start code could not be swapped: {error!r}", UNREACHABLE)

    def result(self) -> dict[str, str]:
        """Wait for the hub's answer and return the environment.

        Raises:
            StartError: There is none.
        """
        self.join()
        if self.error:
            raise self.error
        return self.environment


def swap_start_code(
    url: str, code: str, retry_for: float = RETRY_FOR, host_key: str | None = None
) -> dict[str, str]:
    """Swap the one-time start code for the server's environment.

    Tried again for `retry_for` seconds while the hub cannot be reached or answers 5xx; an answer
    of 4xx is final. `host_key` is the public line of this container's ssh host key.

    Raises:
        StartError: The hub refused, could not be reached, or answered nonsense.
    """
    if not url.startswith(("http://", "https://")) or not urlsplit(url).hostname:
        raise StartError("WORKROOM_START_URL is not an http address", REFUSED)
    body = json.dumps({"code": code, "ssh_host_key": host_key})
    deadline = time.monotonic() + retry_for
    pause = 0.1
    while True:
        try:
            status, answer = _post(url, body)
            if status < 500:
                return _environment(status, answer)
            problem = f"it answered {status}"
        except (OSError, http.client.HTTPException) as error:
            problem = str(error) or type(error).__name__
        if time.monotonic() + pause > deadline:
            raise StartError(
                f"the hub at {urlsplit(url).netloc} did not hand out this server's environment "
                f"within {retry_for:.0f} s: {problem}",
                UNREACHABLE,
            )
        time.sleep(pause)
        pause = min(pause * 2, 2.0)


def _post(url: str, body: str) -> tuple[int, bytes]:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = connect(str(parts.hostname), parts.port, timeout=ANSWER_WITHIN)
    try:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        connection.request("POST", parts.path or "/", body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    except socket.gaierror as error:
        raise OSError(f"its name could not be resolved ({error.strerror})") from error
    finally:
        connection.close()


def _environment(status: int, answer: bytes) -> dict[str, str]:
    try:
        data = json.loads(answer)
    except ValueError:
        data = None
    if status != 200:
        said = data.get("message") if isinstance(data, dict) else None
        raise StartError(
            f"the hub refused the start code ({status}): {said or 'no reason'}", REFUSED
        )
    environment = data.get("env") if isinstance(data, dict) else None
    if not isinstance(environment, dict) or not all(
        isinstance(value, str) for value in environment.values()
    ):
        raise StartError("the hub's answer to the start code holds no environment", REFUSED)
    return environment
