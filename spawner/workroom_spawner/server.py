"""What every Workroom spawner shares: choice, progress, the story of a failure, usage."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

import aiohttp
from jupyterhub.httpclient import fetch
from traitlets import Bytes, Instance, Integer, Unicode
from traitlets.config import LoggingConfigurable

from workroom_spawner import names, usage
from workroom_spawner.errors import NotOffered, ServerDied, SpawnProblem, StartTimeout
from workroom_spawner.profiles import Catalog, Choice, Image, Profile
from workroom_spawner.progress import LOCAL_STAGES, Progress, Stage
from workroom_spawner.startcode import START_CODES, Ticket

if TYPE_CHECKING:
    from jupyterhub.spawner import Spawner as _Mixed
else:
    # A Spawner subclass must define start, stop and poll itself; a mixin leaves that to others.
    _Mixed = LoggingConfigurable


class WorkroomServer(_Mixed):  # type: ignore[misc]
    """Mixed into a Spawner: a catalog of profiles, staged progress, a memory of why it stopped."""

    stages: ClassVar[Sequence[Stage]] = LOCAL_STAGES

    catalog = Instance(Catalog, help="Profiles and images on offer.").tag(config=True)
    instance = Unicode(
        "workroom", help="Prefix of everything this installation makes. Example: `workroom`."
    ).tag(config=True)
    installation = Unicode(
        help="Id of this installation, a label of all it makes. Example: 32 hexadecimal digits."
    ).tag(config=True)
    start_url = Unicode(
        help="Where containers swap their start code. Example: `http://172.30.0.1:8081/hub/api/workroom/start`."
    ).tag(config=True)
    start_deadline = Integer(
        120, help="Seconds a container may take to report in and answer. Default 120."
    ).tag(config=True)
    idle_after = Integer(
        0, help="Seconds after which an idle server is stopped, to tell why it was; 0: never."
    ).tag(config=True)

    ssh_user_ca = Unicode(
        help="Public key of the authority whose certificates the server lets in over ssh; empty: "
        "nobody. Example: `ssh-ed25519 AAAA…`."
    ).tag(config=True)
    ssh_address = Unicode(
        help="Where people's ssh goes, shown in JupyterLab; empty: nowhere. Example: "
        "`workroom.example.com:2222`."
    ).tag(config=True)
    usage_key = Bytes(
        help="Key of at least 32 bytes from which each server's `usage_token` is derived."
    ).tag(config=True)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.last_failure: dict[str, str] | None = None
        self.choice: Choice | None = None
        self.started_at: datetime | None = None
        self.ended_at: datetime | None = None
        self.end_reason = ""
        self.ssh_host_key: str | None = None
        self.address = ""
        self._progress: Progress | None = None
        self._ticket: Ticket | None = None
        self._starting: asyncio.Task[Any] | None = None
        # Non-empty, so that the hub shows the spawn page, whose template draws `form_context`.
        self.options_form = "workroom"
        # The hub's moment for checking options that came through the API, before anything starts.
        self.apply_user_options = lambda spawner, _: spawner.choose() and None

    # -- what the person chooses ------------------------------------------------

    @property
    def group_names(self) -> list[str]:
        """Names of the user's groups."""
        return [group.name for group in self.user.groups]

    def form_context(self) -> dict[str, Any]:
        """Return what the spawn page draws: profiles, images, and why the last server ended."""
        last = self.orm_spawner.user_options if self.orm_spawner else None
        return {
            **self.catalog.form(last if isinstance(last, dict) else {}, self.group_names),
            "last_failure": self.last_failure,
        }

    def options_from_form(self, form_data: dict[str, list[Any]]) -> dict[str, str]:
        """Check a submitted form against what is on offer.

        Raises:
            NotOffered: The form was forged, or settings changed since it was drawn.
        """
        # `_xsrf` is the hub's own field and has been checked by it.
        fields = {name: values for name, values in form_data.items() if name != "_xsrf"}
        for name, values in fields.items():
            if len(values) != 1:
                raise NotOffered(name, ", ".join(map(str, values)), [])
        options = {name: values[0] for name, values in fields.items()}
        choice = self.catalog.choose(options, self.group_names)
        return {"profile": choice.profile.name, "image": choice.image.name}

    def options_from_query(self, query_data: dict[str, list[Any]]) -> dict[str, str]:
        """Check options given in a link the same way."""
        return self.options_from_form(query_data)

    @property
    def profile_title(self) -> str:
        """Title of the profile this server runs with, or ""."""
        return self.choice.profile.title if self.choice else ""

    def choose(self) -> Choice:
        """Settle on a profile and image for this start; the API does not pass the form's check.

        Raises:
            NotOffered: Not on offer to this user.
        """
        self.choice = self.catalog.choose(self.user_options or {}, self.group_names)
        self.mem_limit = self.choice.profile.memory
        self.cpu_limit = self.choice.profile.cpu
        return self.choice

    def server_environment(self) -> dict[str, str]:
        """Return what the container gets for its start code: the hub's variables and its limits."""
        choice = self.choice
        if choice is None:
            raise RuntimeError("choose() comes first")
        return {
            **{name: str(value) for name, value in self.get_env().items() if value is not None},
            "WORKROOM_PROFILE": choice.profile.name,
            "WORKROOM_IMAGE": choice.image.name,
            "WORKROOM_MEMORY_LIMIT": str(choice.profile.memory),
            "WORKROOM_CPU_LIMIT": f"{choice.profile.cpu:g}",
            "WORKROOM_SSH_ADDRESS": self.ssh_address,
            "WORKROOM_SSH_USER_CA": self.ssh_user_ca,
            "WORKROOM_SSH_PRINCIPAL": self.ssh_principal,
            "WORKROOM_USAGE_TOKEN": self.usage_token,
        }

    @property
    def ssh_principal(self) -> str:
        """Principal of the certificates that this server lets in."""
        return names.principal(self.installation, self.user.name, self.name)

    @property
    def usage_token(self) -> str:
        """What the hub shows this server when it asks for its figures; the same in every hub."""
        asked = f"workroom usage\0{self.ssh_principal}"
        return hmac.digest(self.usage_key, asked.encode(), "sha256").hex()

    # -- start -------------------------------------------------------------------

    async def start(self) -> tuple[str, int]:
        """Bring the server up and wait until it answers.

        Returns:
            IP address and port of the server.

        Raises:
            SpawnProblem: With a sentence for the user; nothing is left behind.
        """
        self._starting = asyncio.current_task()
        self.choose()
        progress = self.begin_progress()
        self.started_at = _now()
        try:
            await self.bring_up(progress)
        except asyncio.CancelledError:
            if self.started_at and not self.end_reason:
                self.end_reason = "cancelled"
            raise
        except Exception as error:
            problem = self.explain(error)
            progress.fail(problem.message)
            # The server's own last lines may be shown; what an engine or AWS said may not.
            lines = problem.detail if isinstance(problem, ServerDied | StartTimeout) else ""
            self.remember_failure(problem.message, lines, reason=f"failed: {problem.reason}")
            if problem is error:
                raise
            raise problem from error
        self.last_failure = None
        return self.address, self.port

    async def bring_up(self, progress: Progress) -> None:
        """Start it, wait until it has reported in and answers; sets `address`.

        Raises:
            Exception: Anything; `explain` makes it a sentence.
        """
        raise NotImplementedError

    def explain(self, error: Exception) -> SpawnProblem:
        """Turn what `bring_up` raised into a problem with a sentence for the user."""
        raise NotImplementedError

    def start_under_way(self) -> bool:
        """Tell whether `start` runs and this is not it."""
        starting = self._starting
        return not (starting is None or starting.done() or starting is asyncio.current_task())

    def abandon_start(self) -> None:
        """End a start under way and its code; called at the end of every stop and failed start."""
        if self._starting and self.start_under_way():
            # JupyterHub cancels the waiting for a start, not always the start.
            self._starting.cancel()
        if self._ticket:
            START_CODES.revoke(self._ticket, self.last_address())
            self._ticket = None

    def last_address(self) -> str:
        """Return where the container is as far as is known without asking; "" if it is not."""
        return self.address

    async def accepting(self, still_running: Callable[[], Awaitable[None]]) -> None:
        """Wait for an answer over HTTP: a port that accepts may belong to a server that hangs.

        Args:
            still_running: Asked every second; raises when there is nothing left to wait for.
        """
        waited = 0.0
        while not await self.answers():
            await asyncio.sleep(0.05)
            waited += 0.05
            if waited >= 1.0:
                waited = 0.0
                await still_running()

    async def answers(self) -> bool:
        """Tell whether the server answers over HTTP."""
        return await _answers(self.address, self.port, self.server.base_url)

    # -- progress ----------------------------------------------------------------

    def begin_progress(self) -> Progress:
        """Return the story of the start under way, begun now if it has not."""
        if self._progress is None:
            self._progress = Progress(self.stages)
        return self._progress

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Yield progress events, schema in `progress.py`."""
        async for event in self.begin_progress().events():
            yield event

    # -- how it ended ------------------------------------------------------------

    def remember_failure(self, message: str, detail: str = "", reason: str = "") -> None:
        """Keep why the server failed or died, for its owner to read until the next good start."""
        self.last_failure = {
            "message": message,
            "detail": detail[-4000:],
            "when": _now().isoformat(timespec="seconds") + "Z",
        }
        self.end_reason = reason or message

    def record_usage(self) -> None:
        """Write the usage row of the server that just ended, once."""
        if self.started_at is None or self.choice is None:
            return
        try:
            usage.record(
                self.user.db,
                user=self.user.name,
                server=self.name,
                groups=self.group_names,
                profile=self.choice.profile.name,
                image=self.choice.image.ref,
                start=self.started_at,
                # When it ended, not when somebody noticed: a machine may have been off since.
                stop=max(self.started_at, self.ended_at or _now()),
                reason=self.end_reason or "stopped",
            )
        except Exception:
            # A lost row must not keep a server from being stopped.
            self.log.exception("usage row of %s could not be written", self._log_name)
        self.started_at = self.ended_at = None

    def _stop_reason(self) -> str:
        last = self.orm_spawner.last_activity if self.orm_spawner else None
        idle = (_now() - last).total_seconds() if last else 0
        return "idle" if self.idle_after and idle >= self.idle_after else "stopped"

    # -- state -------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Return what must survive a restart of the hub; never a secret."""
        state: dict[str, Any] = super().get_state()
        if self.last_failure:
            state["last_failure"] = self.last_failure
        if self.started_at and self.choice:
            state |= {
                "address": self.address,
                "ssh_port": 2222,
                "ssh_host_key": self.ssh_host_key,
                "ssh_principal": self.ssh_principal,
                "profile": self.choice.profile.name,
                "image": self.choice.image.name,
                "image_ref": self.choice.image.ref,
                "cpu": self.choice.profile.cpu,
                "memory": self.choice.profile.memory,
                "started_at": self.started_at.isoformat(),
            }
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up what `get_state` of an earlier hub process said."""
        super().load_state(state)
        self.last_failure = state.get("last_failure")
        self.address = state.get("address", "")
        self.ssh_host_key = state.get("ssh_host_key")
        if "started_at" in state:
            self.started_at = datetime.fromisoformat(state["started_at"])
            self._recall_choice(state)

    def _recall_choice(self, state: dict[str, Any]) -> None:
        """Take up what the server was given; the settings may have changed under it since."""
        name, image = state["profile"], state["image"]
        titles = {p.name: p.title for p in self.catalog.profiles}
        profile = Profile(
            name, titles.get(name, name), "", state["cpu"], state["memory"], 0, (image,)
        )
        self.choice = Choice(profile, Image(image, state["image_ref"], image))
        self.mem_limit, self.cpu_limit = profile.memory, profile.cpu

    def clear_state(self) -> None:
        """Forget the server, but not why it failed."""
        super().clear_state()
        self.address = ""
        self.ssh_host_key = None
        self.end_reason = ""
        if self._progress and not self._progress.waits:
            # A page may follow a start already that waits for its turn in the hub.
            self._progress = None


async def _answers(address: str, port: int, base_url: str) -> bool:
    try:
        _, writer = await asyncio.open_connection(address, port)
    except OSError:
        return False
    writer.close()
    try:
        answer = await fetch(
            f"http://{address}:{port}{base_url}api", raise_for_status=False, allow_redirects=False
        )
    except aiohttp.ClientError:
        return False
    return bool(answer.status < 500)


def _now() -> datetime:
    """Return the present moment in UTC, without zone, as the hub's own tables keep it."""
    return datetime.now(UTC).replace(tzinfo=None)
