"""EcsSpawner: one user's server as a task on an Amazon ECS cluster.

Knows JupyterHub and no AWS: `platform.py` has what servers share, `ecs_api.py` the calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from jupyterhub.spawner import Spawner
from traitlets import Bytes

from workroom_spawner import metrics, second_chance, task_errors
from workroom_spawner.arrival import Arrival
from workroom_spawner.aws_errors import AwsProblem
from workroom_spawner.buckets import Priority
from workroom_spawner.errors import SpawnProblem, StartTimeout
from workroom_spawner.launch import Launch, Start, new_token
from workroom_spawner.progress import ECS_STAGES, Progress
from workroom_spawner.startcode import START_CODES, derived_code
from workroom_spawner.task_end import TaskEnd
from workroom_spawner.task_requests import TaskSpec, run_task, task_definition

_PREPARING = "Preparing your home"
_SLOW_AFTER = 10.0
"""Seconds until somebody is told that it is AWS her home waits for; it takes one or two."""
_ADDRESS_LOOKS = 3
_PATIENCE = 300
"""Seconds a container keeps asking a hub that does not answer, so that a hub may restart."""


class EcsSpawner(TaskEnd, Spawner):  # type: ignore[misc]
    """Starts ECS tasks; `bring_up` reads as the story of one. Its end is in `task_end.py`."""

    stages: ClassVar = ECS_STAGES

    start_code_key = Bytes(
        help="Key of at least 32 bytes from which start codes are derived; of this hub only."
    ).tag(config=True)

    # -- start -------------------------------------------------------------------

    async def bring_up(self, progress: Progress) -> None:
        """Get a task, wait until it has reported in and its server answers."""
        progress.enter("queued", _PREPARING)
        with _telling_if_slow(progress):
            self._start = await self._resumed() or await self._prepare()
        self._register()
        await self._save()
        self._issue_code()
        try:
            await self._launch(progress)
            await self._reported_in(progress)
        except BaseException:
            # Whatever becomes of the task, nobody may come with this code any more.
            self._revoke_code()
            raise
        await self._accepted(progress)
        self.platform.watcher.follow(self.task_arn).started()
        self._start = None
        for phase, seconds in progress.seconds().items():
            metrics.SPAWN_PHASE.labels(phase).observe(seconds)

    def explain(self, error: Exception) -> SpawnProblem:
        """Turn what AWS said into a problem."""
        return task_errors.from_aws(error)

    async def _resumed(self) -> Start | None:
        """Return the start an earlier hub process left, if this is still the same start."""
        if not self._is_same_start():
            self.let_go()
            return None
        start = self._resumable
        if start is None:
            return None
        self.log.warning("%s: its start goes on where an earlier hub left it", self._log_name)
        self.started_at = self._began or self.started_at
        if not start.arn:
            # The hub died before RunTask's answer; if it had run, its task says so.
            try:
                found = await self.platform.reconciler.find(start.client_token)
                start.arn = found.arn if found else None
            except AwsProblem as problem:
                # RunTask is told the same token and answers the same task.
                self.log.warning("%s: its task cannot be looked for: %s", self._log_name, problem)
        self._resumable = None
        return start

    async def _prepare(self) -> Start:
        ecs, platform = self.platform_settings, self.platform
        spec = await self._spec()
        definition = await platform.definitions.ensure(
            task_definition(spec, ecs), Priority.LIVE, self._tell_first_place
        )
        token = new_token()
        return Start(token, run_task(spec, ecs, definition, token), dict(self.user_options or {}))

    async def _spec(self) -> TaskSpec:
        choice = self.choice or self.choose()
        try:
            home = await self.platform.homes.ensure(self.user.name)
        except OSError as error:
            raise task_errors.HomeUnavailable(str(error)) from error
        return TaskSpec(
            user=self.user.name,
            server=self.name,
            profile=choice.profile.name,
            image=choice.image.ref,
            cpu=choice.profile.cpu,
            memory=choice.profile.memory,
            gpu=choice.profile.gpu,
            groups=tuple(self.group_names),
            home=home,
            environment={
                "WORKROOM_START_URL": self.start_url,
                "WORKROOM_START_PATIENCE": str(_PATIENCE),
            },
        )

    def _tell_first_place(self, place: int) -> None:
        """Tell somebody who starts an image for the first time where she stands."""
        if place:
            self.begin_progress().tell(
                f"Many people are here for the first time: you are number {place} in line"
            )

    async def _redefine(self) -> None:
        """Register the task definition again: somebody has deregistered it."""
        definition = task_definition(await self._spec(), self.platform_settings)
        self.platform.definitions.forget(definition["family"])
        family = await self.platform.definitions.ensure(definition, Priority.LIVE)
        if self._start:
            self._start.request["taskDefinition"] = family
            await self._save()

    async def _launch(self, progress: Progress) -> None:
        start = self._begun()
        if not start.arn:
            # Two servers on one home would write the same files.
            await self.platform.endings.over(
                self.server_id, lambda: progress.tell("Your last server is ending")
            )
            launch = Launch(
                api=self.platform.api,
                start=start,
                secret=lambda: {"WORKROOM_START_CODE": self._code(start)},
                renewed=self._renewed,
                define=self._redefine,
                tell=progress.tell,
                patience=self.platform_settings.capacity_timeout,
            )
            # Shielded: a cancelled start must still learn which task there is, to stop it.
            running = asyncio.ensure_future(launch.run())
            self._launching = launch, running
            start.arn = (await asyncio.shield(running)).arn
            self._launching = None
        self.task_arn = start.arn
        self._register()
        self.platform.watcher.follow(self.task_arn)
        progress.reach("machine")
        try:
            await self._save()
        except Exception:
            # The task can be found by its tags; not worth a person's start.
            self.log.exception("%s: the task's ARN could not be saved", self._log_name)

    async def _renewed(self) -> None:
        self._revoke_code()
        self._issue_code()
        self._register()
        await self._save()

    def _begun(self) -> Start:
        if self._start is None:
            raise RuntimeError("no start is under way")
        return self._start

    # -- the start code ------------------------------------------------------------

    def _code(self, start: Start) -> str:
        return derived_code(self.start_code_key, start.client_token)

    def _issue_code(self) -> None:
        lifetime = 365 * 86400.0  # in our queue there is no hurry; `_reported_in` sets the limits
        _, self._ticket = START_CODES.issue(
            self._log_name,
            lifetime,
            self._own_address,
            self.server_environment(),
            self._code(self._begun()),
        )
        self._ticket.before = self._redeemed

    def _revoke_code(self) -> None:
        if self._ticket:
            START_CODES.revoke(self._ticket, self.last_address())

    def last_address(self) -> str:
        """Return where the task is, as it was last seen; "" while it has no address."""
        view = self.platform.watcher.view(self.task_arn) if self.task_arn else None
        return view.address if view else ""

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up what `get_state` of an earlier hub process said."""
        super().load_state(state)
        if "start" not in state:
            return
        code = derived_code(self.start_code_key, state["start"]["client_token"])
        if self._left_stopping:
            START_CODES.expect(code, _PATIENCE)  # it may ask until it is stopped; no alarm
        elif self._doubtful:
            self._ticket = second_chance.issue(self, code)

    def expect_code(self) -> None:
        """Have the container of a start that an earlier hub left wait for `start`."""
        if self._resumable:
            START_CODES.expect(self._code(self._resumable), _PATIENCE)

    async def _own_address(self) -> str | None:
        """Return the task's address; None while AWS does not say.

        The container may be quicker than RunTask's answer, or than AWS's own records.
        """
        for pause in range(_ADDRESS_LOOKS):
            if self.task_arn:
                view = self.platform.watcher.view(self.task_arn)
                if not (view and view.address):
                    view = await self.platform.watcher.look(self.task_arn)
                if view and view.address:
                    self.address = view.address
                    return view.address
            await asyncio.sleep(0.5 * (pause + 1))
        return None

    async def _redeemed(self, ssh_host_key: str | None) -> None:
        """Write down that the container has its environment, before it has it."""
        self.ssh_host_key = ssh_host_key
        start = self._begun()
        start.redeemed = True
        try:
            await self._save()
        except Exception:
            start.redeemed = False
            raise

    # -- waiting -------------------------------------------------------------------

    async def _reported_in(self, progress: Progress) -> None:
        """Wait for the swap, within the limits for finding a machine and for starting.

        Raises:
            NoCapacity: No machine in time.
            StartTimeout: A machine, but no word from the container in time.
            ServerDied: The task ended.
        """
        if self._ticket is None:
            raise RuntimeError("no start code is out")
        arrival = Arrival(self.platform, self.task_arn, self._ticket, progress, self.start_deadline)
        try:
            await arrival.wait(self._raise_if_dead)
        except TimeoutError as error:
            raise await self._too_late(progress) from error

    async def _accepted(self, progress: Progress) -> None:
        """Wait until the server answers over HTTP."""
        progress.reach("answering")
        try:
            async with asyncio.timeout(self.start_deadline):
                await self.accepting(self._raise_if_dead)
        except TimeoutError as error:
            raise await self._too_late(progress) from error

    async def _too_late(self, progress: Progress) -> StartTimeout:
        return StartTimeout(self.start_deadline, progress.stage.title, await self._last_lines())


@contextmanager
def _telling_if_slow(progress: Progress) -> Iterator[None]:
    """Say that AWS takes its time, unless there is something better to say by then."""

    def tell() -> None:
        if progress.message == _PREPARING:
            progress.tell("AWS takes its time; still preparing your home")

    slow = asyncio.get_running_loop().call_later(_SLOW_AFTER, tell)
    try:
        yield
    finally:
        slow.cancel()
