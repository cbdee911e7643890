"""LocalSpawner: one user's server as a container on this machine's Docker engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, ClassVar

import docker
from docker.errors import APIError
from docker.utils import kwargs_from_env
from dockerspawner import DockerSpawner
from jupyterhub.utils import maybe_future
from traitlets import Integer, List, Unicode, default

from workroom_spawner import names
from workroom_spawner.errors import (
    ServerDied,
    SpawnProblem,
    StartTimeout,
    death_sentence,
    from_engine,
)
from workroom_spawner.progress import Progress
from workroom_spawner.requests import ServerSpec, container_request
from workroom_spawner.server import WorkroomServer
from workroom_spawner.startcode import START_CODES

_LOG_LINES = 15
_THREADS = 32


class LocalSpawner(WorkroomServer, DockerSpawner):  # type: ignore[misc]
    """Starts, watches and stops containers; `start` reads as the story of one."""

    network_name = Unicode(help="The users' network, made by `workroom up`.").tag(config=True)
    shared_data = Unicode(
        "", help="Folder of this machine mounted read-only at `/shared`; empty: none."
    ).tag(config=True)
    pids_limit = Integer(4096, help="Processes and threads in one server.").tag(config=True)
    dns = List(Unicode(), help="Name servers for containers; empty: this machine's.").tag(
        config=True
    )
    stop_seconds = Integer(
        10, help="Seconds a server gets to end by itself before it is killed."
    ).tag(config=True)

    # DockerSpawner shares one thread among all users; engine calls wait on the disk, not on us.
    _threads: ClassVar[ThreadPoolExecutor | None] = None
    _api: ClassVar[docker.APIClient | None] = None

    @property
    def executor(self) -> ThreadPoolExecutor:
        """Threads for engine calls, shared by all users."""
        if LocalSpawner._threads is None:
            LocalSpawner._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="engine")
        return LocalSpawner._threads

    @property
    def client(self) -> docker.APIClient:
        """The engine's client, shared by all users."""
        if LocalSpawner._api is None:
            LocalSpawner._api = engine_client()
        return LocalSpawner._api

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.remove = True
        self.use_internal_ip = True
        self._creating: asyncio.Future[Any] | None = None

    @default("object_name")
    def _object_name_default(self) -> str:
        # DockerSpawner asks again whenever the image changes.
        return names.container(self.instance, self.user.name, self.name)

    # -- start -------------------------------------------------------------------

    async def bring_up(self, progress: Progress) -> None:
        """Create the container, start it, wait until its server accepts connections."""
        choice = self.choose()
        async with self._deadline():
            progress.enter("creating", f"Creating your container ({choice.profile.title})")
            await self._create(choice.image.ref)
            progress.enter("starting")
            await self._begin()
            await self._reported_in()
            progress.enter("answering")
            await self.accepting(self._still_running)

    def explain(self, error: Exception) -> SpawnProblem:
        """Turn what the engine's SDK raised into a problem."""
        return from_engine(error, self.choice.image.ref if self.choice else "")

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.start_deadline):
                yield
        except TimeoutError as error:
            stage = self.begin_progress().stage.title
            raise StartTimeout(self.start_deadline, stage, await self._last_lines()) from error

    def spec(self, start_code: str) -> ServerSpec:
        """Describe this server; `start_code` is the only thing it is given to prove itself with."""
        choice = self.choice
        if choice is None:
            raise RuntimeError("choose() comes first")
        return ServerSpec(
            instance=self.instance,
            installation=self.installation,
            user=self.user.name,
            server=self.name,
            profile=choice.profile.name,
            name=self.object_name,
            hostname=names.hostname(self.user.name, self.name),
            image=choice.image.ref,
            cpu=choice.profile.cpu,
            memory=choice.profile.memory,
            gpu=choice.profile.gpu,
            pids=self.pids_limit,
            network=self.network_name,
            home_volume=names.home_volume(self.instance, self.user.name),
            shared_data=self.shared_data,
            dns=tuple(self.dns),
            environment={
                "WORKROOM_START_URL": self.start_url,
                "WORKROOM_START_CODE": start_code,
            },
        )

    async def _create(self, image: str) -> None:
        self.image = image
        environment = self.server_environment()
        code, self._ticket = START_CODES.issue(
            self._log_name, self.start_deadline, self._own_address, environment
        )
        request = container_request(self.spec(code))
        try:
            await self._create_once(request)
        except APIError as error:
            if error.status_code != 409:
                raise
            # A hub that died while starting left one of this name; it never got a user.
            self.log.warning("removing %s, left over from an earlier start", self.object_name)
            await self._remove(self.object_name)
            await self._create_once(request)

    async def _create_once(self, request: dict[str, Any]) -> None:
        # Shielded: a cancelled start must still learn what the engine made, to remove it.
        self._creating = asyncio.ensure_future(self.docker("create_container", **request))
        self.object_id = (await asyncio.shield(self._creating))["Id"]

    async def _begin(self) -> None:
        await self.docker("start", self.object_id)
        address = await self._own_address()
        if address is None:
            raise await self._death()
        self.address = address

    async def _own_address(self) -> str | None:
        """Return the container's address on the users' network, or None while it has none."""
        for _ in range(50):
            container = await self.docker("inspect_container", self.object_id)
            networks = container["NetworkSettings"]["Networks"]
            address = networks.get(self.network_name, {}).get("IPAddress")
            if address:
                return str(address)
            if container["State"]["Status"] in ("exited", "dead"):
                return None
            await asyncio.sleep(0.1)
        return None

    async def _reported_in(self) -> None:
        ticket = self._ticket
        if ticket is None:
            raise RuntimeError("_create() comes first")
        while not ticket.redeemed.done():
            await asyncio.wait([ticket.redeemed], timeout=1.0)
            if not ticket.redeemed.done():
                await self._still_running()
        self.ssh_host_key = ticket.redeemed.result()

    async def _still_running(self) -> None:
        container = await self.docker("inspect_container", self.object_id)
        if not container["State"]["Running"]:
            raise await self._death(container["State"])

    # -- poll --------------------------------------------------------------------

    async def poll(self) -> int | None:
        """Tell whether the server lives; never raises, and what is not known counts as alive.

        Returns:
            None while running or unknown, else its exit code.
        """
        if not self.object_id:
            return 0
        try:
            state = await self._state()
            if state.get("Running") or state.get("Status") in ("created", "paused", "restarting"):
                return None
            if self._remembers_death():
                problem = await self._death(state)
                self.ended_at = _finished(state)
                self.remember_failure(problem.message, problem.detail, _reason(state))
                self.log.error("%s ended: %s", self._log_name, problem.log_message)
            return int(state.get("ExitCode", 0))
        except Exception as error:
            self.log.warning(
                "%s: the engine did not say whether it runs (%s); taken as running",
                self._log_name,
                error,
            )
            return None

    async def _state(self) -> dict[str, Any]:
        """Return the engine's word on the container, {} when it has none of that id."""
        try:
            container = await self.docker("inspect_container", self.object_id)
        except APIError as error:
            if error.status_code == 404:
                return {}
            raise
        state: dict[str, Any] = container["State"]
        return state

    def _remembers_death(self) -> bool:
        return self.started_at is not None and not self.end_reason and not self._stop_pending

    async def _death(self, state: dict[str, Any] | None = None) -> ServerDied:
        if state is None:
            state = await self._state()
        memory = self.choice.profile.memory if self.choice else 0
        return ServerDied(
            f"Your server stopped. {death_sentence(state, memory)}", await self._last_lines()
        )

    async def _last_lines(self) -> str:
        """Return the last lines the server wrote; "" when they cannot be had."""
        if not self.object_id:
            return ""
        try:
            raw: bytes = await self.docker("logs", self.object_id, tail=_LOG_LINES)
        except Exception as error:
            self.log.warning("%s: no log lines (%s)", self._log_name, error)
            return ""
        return raw.decode("utf-8", "replace")

    # -- stop --------------------------------------------------------------------

    async def stop(self, now: bool = False) -> None:
        """Let the server end by itself for a moment, then end it; harmless when it is gone."""
        # Now, for the hub counts the stop itself as activity.
        if not self.end_reason:
            self.end_reason = "cancelled" if self.start_under_way() else self._stop_reason()
        if self.object_id:
            try:
                await self.docker("stop", self.object_id, timeout=0 if now else self.stop_seconds)
            except APIError as error:
                if error.status_code not in (304, 404):
                    raise

    async def run_post_stop_hook(self) -> None:
        """Leave nothing behind: the hub calls this at the end of every stop and failed start."""
        self.abandon_start()
        if self._creating:
            await asyncio.wait([self._creating])
            self._creating = None
        if self.started_at is not None:
            await self._remove(self.object_name)
        self.record_usage()
        self.object_id = ""
        await maybe_future(super().run_post_stop_hook())

    async def _remove(self, container: str) -> None:
        try:
            await self.docker("remove_container", container, force=True)
        except APIError as error:
            # 409: the engine is removing it already.
            if error.status_code not in (404, 409):
                self.log.exception("container %s could not be removed", container)
        except Exception:
            self.log.exception("container %s could not be removed", container)


def _finished(state: dict[str, Any]) -> datetime | None:
    """Return when a container ended, in UTC without zone; None if the engine does not know."""
    try:
        # Nanoseconds, of which Python reads the first six digits.
        return datetime.fromisoformat(state["FinishedAt"][:26].rstrip("Z"))
    except (KeyError, ValueError):
        return None


def engine_client() -> docker.APIClient:
    """Connect to the engine that `DOCKER_HOST` and its companions name, else the local one."""
    return docker.APIClient(
        version="auto", timeout=120, max_pool_size=_THREADS, **kwargs_from_env()
    )


def _reason(state: dict[str, Any]) -> str:
    if not state:
        return "died: container removed"
    if state.get("OOMKilled") and state.get("ExitCode") == 137:
        return "died: out of memory"
    return f"died: exit code {state.get('ExitCode')}"


__all__ = ["LocalSpawner", "SpawnProblem"]
