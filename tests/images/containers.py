"""Containers of the notebook image, run as the platform runs them: no root, no capabilities."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from hub_double import HubDouble
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from workroom_hub.machine.network import gateway_of

HARDENED = ["--user=59000", "--cap-drop=ALL", "--security-opt=no-new-privileges"]


WORK = Path(__file__).resolve().parent / "work"


def docker(*words: str, check: bool = True, timeout: float = 300) -> str:
    """Run a command of the engine; returns both outputs together."""
    done = subprocess.run(
        ["docker", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert not check or done.returncode == 0, f"docker {' '.join(words)}:\n{done.stdout}"
    return done.stdout


def bridge_address() -> str:
    """This machine's address on the engine's default network."""
    return gateway_of(json.loads(docker("network", "inspect", "bridge"))[0])


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """A redirect is an answer like any other."""


_OPENER = urllib.request.build_opener(_NoRedirect)


class Notebook:
    """One container of the image, removed on exit.

    Args:
        image: Its reference.
        hub: The hub double it starts at, with a start code; none to start without a hub.
        command: Another command than the image's.
        options: More options of `docker run`.
    """

    def __init__(
        self,
        image: str,
        *,
        hub: HubDouble | None = None,
        command: Sequence[str] = (),
        options: Sequence[str] = (),
    ) -> None:
        words = ["create", *HARDENED, f"--volume={WORK}:/work:ro", *options]
        if hub:
            words += ["-e", f"WORKROOM_START_URL={hub.api}/workroom/start"]
            words += ["-e", "WORKROOM_START_CODE=code-of-ada"]
        self.image, self.hub = image, hub
        self.id = docker(*words, image, *command).strip()
        self.prefix = f"/user/{hub.user}" if hub else ""

    def __enter__(self) -> Notebook:
        docker("start", self.id)
        return self

    def __exit__(self, *_: object) -> None:
        docker("rm", "--force", "--volumes", self.id)

    @cached_property
    def address(self) -> str:
        """IPv4 address of the container, once it runs."""
        return docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", self.id).strip()

    def run(self, script: str, *, check: bool = True, timeout: float = 300) -> str:
        """Run a shell script in the container as its person, in her home."""
        return docker("exec", self.id, "bash", "-ec", script, check=check, timeout=timeout)

    def run_file(self, name: str, interpreter: str = "bash -e", timeout: float = 300) -> str:
        """Run a file of tests/images/work in the container, in a new folder."""
        script = f'cd "$(mktemp -d)" && exec {interpreter} /work/{name}'
        return docker("exec", self.id, "bash", "-c", script, timeout=timeout)

    def logs(self) -> str:
        """What the container has written."""
        return docker("logs", self.id)

    def exit_code(self, timeout: float = 40) -> int:
        """Wait until it stops by itself; its exit code."""
        return int(docker("wait", self.id, timeout=timeout))

    def request(
        self, path: str, method: str = "GET", body: Any = None, *, token: str | None = None
    ) -> tuple[int, bytes]:
        """Call the server: status and body; redirects are not followed.

        `token` defaults to the one the hub double gave.
        """
        token = token if token is not None else (self.hub.token if self.hub else "")
        request = urllib.request.Request(
            f"http://{self.address}:8888{self.prefix}/{path}",
            method=method,
            headers={"Authorization": f"token {token}"} if token else {},
            data=json.dumps(body).encode() if body is not None else None,
        )
        try:
            with _OPENER.open(request, timeout=30) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def json(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Call the server's API; the answer must be a success."""
        status, answer = self.request(path, method, body)
        assert status < 300, f"{method} {path}: {status} {answer[:500]!r}"
        return json.loads(answer) if answer else None

    def ended(self) -> bool:
        """Whether it has stopped by itself."""
        return docker("inspect", "-f", "{{.State.Running}}", self.id).strip() != "true"

    def cpu_seconds(self) -> float:
        """CPU seconds its processes have used, by its control group."""
        script = (
            "cat /sys/fs/cgroup/cpuacct/cpuacct.usage 2>/dev/null || cat /sys/fs/cgroup/cpu.stat"
        )
        words = docker("exec", self.id, "sh", "-c", script).split()
        return int(words[0]) / 1e9 if words[0].isdecimal() else int(words[1]) / 1e6

    def wait_until_up(self, timeout: float = 30) -> float:
        """Wait until the server's API answers; the seconds that took."""
        began = time.monotonic()
        while time.monotonic() - began < timeout:
            try:
                if self.request("api", token="")[0] == 200:
                    return time.monotonic() - began
            except OSError:
                time.sleep(0.02)
                if self.ended():
                    break
        raise AssertionError(f"the server did not come up:\n{self.logs()}")

    def execute(self, kernel: str, code: str, timeout: float = 90) -> str:
        """Run code in a new kernel of the server, over its websocket as a page would.

        Returns:
            What it printed; an error's name and value are appended.
        """
        kernel_id = self.json("api/kernels", "POST", {"name": kernel})["id"]
        try:
            return asyncio.run(
                asyncio.wait_for(self._execute(kernel_id, code, "execute_request"), timeout)
            )
        finally:
            self.request(f"api/kernels/{kernel_id}", "DELETE")

    def look_at_kernel(self, kernel_id: str) -> None:
        """Do what an open page does when it (re)connects: ask the kernel for its description."""
        asyncio.run(asyncio.wait_for(self._execute(kernel_id, "", "kernel_info_request"), 60))

    def type_in_terminal(self, text: str) -> None:
        """Open a terminal as the browser does, and type into it once its prompt is there."""
        name = self.json("api/terminals", "POST", {})["name"]
        asyncio.run(asyncio.wait_for(self._type(name, text), 60))

    async def _type(self, name: str, text: str) -> None:
        assert self.hub
        url = f"ws://{self.address}:8888{self.prefix}/terminals/websocket/{name}"
        headers = {"Authorization": f"token {self.hub.token}"}
        connection = await websocket_connect(HTTPRequest(url, headers=headers))
        while "$" not in str(await connection.read_message()):
            pass
        await connection.write_message(json.dumps(["stdin", text]))
        connection.close()

    async def _execute(self, kernel_id: str, code: str, kind: str) -> str:
        assert self.hub
        url = f"ws://{self.address}:8888{self.prefix}/api/kernels/{kernel_id}/channels"
        token = {"Authorization": f"token {self.hub.token}"}
        # A busy machine takes longer to start a kernel than the default of 20 s.
        request = HTTPRequest(url, headers=token, connect_timeout=60, request_timeout=60)
        connection = await websocket_connect(request)
        header = {
            "msg_id": uuid.uuid4().hex, "msg_type": kind, "session": uuid.uuid4().hex,
            "username": "ada", "version": "5.3", "date": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        content: dict[str, Any] = {}
        if kind == "execute_request":
            content = {
                "code": code, "silent": False, "store_history": False,
                "user_expressions": {}, "allow_stdin": False, "stop_on_error": True,
            }  # fmt: skip
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        await connection.write_message(json.dumps({**message, "channel": "shell", "buffers": []}))
        printed: list[str] = []
        while True:
            answer = await connection.read_message()
            assert answer is not None, "the kernel's websocket was closed"
            data = json.loads(answer)
            if data.get("parent_header", {}).get("msg_id") != header["msg_id"]:
                continue
            said = data["content"]
            if data["msg_type"] == "stream":
                printed.append(said["text"])
            elif data["msg_type"] in {"execute_result", "display_data"}:
                printed.append(said["data"].get("text/plain", ""))
            elif data["msg_type"] == "error":
                printed.append(f"{said['ename']}: {said['evalue']}")
            elif data["msg_type"] == "status" and said["execution_state"] == "idle":
                connection.close()
                return "".join(printed)
