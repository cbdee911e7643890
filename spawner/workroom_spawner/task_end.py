"""How a server on ECS ends: by itself, or because somebody wants it to."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from jupyterhub.utils import maybe_future

from workroom_spawner import task_errors
from workroom_spawner.launch import Launch
from workroom_spawner.task_memory import SAVE_WITHIN, TaskMemory
from workroom_spawner.task_view import TaskView

_LOG_LINES = 15
_STOP_WITHIN = 20.0
"""Seconds a person waits for StopTask; after that the reconciler goes on with it."""


class TaskEnd(TaskMemory):
    """Notices a task's death and tells of it; stops tasks, at whatever stage they are."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._launching: tuple[Launch, asyncio.Future[TaskView]] | None = None
        super().__init__(*args, **kwargs)

    # -- poll ----------------------------------------------------------------------

    async def poll(self) -> int | None:
        """Tell whether the server lives; never raises, and what is not known counts as alive.

        Returns:
            None while running, starting or unknown, else its exit code (0 if AWS has none).
        """
        try:
            if self._left_stopping:
                return 0
            if not self.task_arn:
                return None if self._start or self._resumable else 0
            verdict = self.platform.watcher.verdict(self.task_arn)
            if not verdict.dead:
                return None
            view = verdict.view
            if self.started_at and not self.end_reason and not self._stop_pending:
                await self._remember_death(view)
            return int(view.exit_code or 0) if view else 0
        except Exception:
            # Not even a broken log may stop somebody's server.
            with suppress(Exception):
                self.log.exception("%s: poll failed; taken as running", self._log_name)
            return None

    async def _remember_death(self, view: TaskView | None) -> None:
        reason, _ = task_errors.death(view, self._memory())
        self.end_reason = f"died: {reason}"  # first, so that two polls at once remember one death
        self.ended_at = _utc(view.stopped_at if view else None)
        self._doubt_home(reason)
        problem = task_errors.died(view, self._memory(), await self._last_lines())
        self.remember_failure(problem.message, problem.detail, f"died: {reason}")
        self.log.error("%s ended: %s", self._log_name, task_errors.why_stopped(view))

    def _doubt_home(self, reason: str) -> None:
        if reason == task_errors.HOME_NOT_MOUNTED:
            # Perhaps somebody deleted its access point; the next start asks AWS for it again.
            self.platform.homes.forget(self.user.name)

    def _memory(self) -> int:
        return self.choice.profile.memory if self.choice else 0

    async def _last_lines(self) -> str:
        """Return the last lines the server wrote; "" when they cannot be had."""
        if not self.task_arn or not self.platform_settings.logs:
            return ""
        try:
            async with asyncio.timeout(5):
                task_id = self.task_arn.rpartition("/")[2]
                return "\n".join(await self.platform.api.log_lines(task_id, _LOG_LINES))
        except Exception as error:
            self.log.warning("%s: no log lines (%s)", self._log_name, error)
            return ""

    # -- stop ----------------------------------------------------------------------

    async def stop(self, now: bool = False) -> None:  # noqa: ARG002 -- JupyterHub's signature
        """Have the task stopped: SIGTERM, then SIGKILL after its stop time-out; never raises.

        A StopTask that AWS does not take is repeated by the reconciler until it is done.
        """
        if not self.end_reason:
            self.end_reason = "cancelled" if self.start_under_way() else self._stop_reason()
        self._stopping = self.end_reason
        await self._save_stop()
        if not self.task_arn:
            return
        arn, reason = self.task_arn, f"workroom: {self.end_reason}"
        known: bool | None = None
        try:
            async with asyncio.timeout(_STOP_WITHIN):
                known = await self.platform.api.stop_task(arn, reason)
        except Exception as error:
            self.log.warning("%s: StopTask goes on in the background (%r)", self._log_name, error)
        if not known:
            # Or it is so new that ECS does not know it yet, and would run on.
            self.platform.reconciler.stop_later(arn, reason)
        if known is not False and (self._start is None or self._start.redeemed):
            # Without its environment there is no server that would write into the home.
            self.platform.endings.told(self.server_id, arn)

    async def _save_stop(self) -> None:
        """Write down that it is to stop; a database that is locked holds up nobody's stop."""
        try:
            async with asyncio.timeout(SAVE_WITHIN):
                # Or the next hub process would take it for a server that runs, or still start it.
                await self._save()
        except Exception:
            self.log.exception("%s: that it is to stop could not be saved", self._log_name)

    async def run_post_stop_hook(self) -> None:
        """Leave nothing behind: the hub calls this at the end of every stop and failed start."""
        self.abandon_start()
        if self._launching:
            launch, running = self._launching
            running.add_done_callback(self._stop_late)
            launch.give_up(running)
            self._launching = None
        if self._chance:
            self._chance.cancel()
        if self._start or self._resumable or self._stopping or self._chance:
            await self._settle()
        self._start = self._resumable = self._doubtful = self._chance_ends = self._chance = None
        self.platform.servers.pop(self.server_id, None)
        if self.task_arn:
            self.platform.watcher.forget(self.task_arn)
        self.record_usage()
        self.task_arn = ""
        await maybe_future(super().run_post_stop_hook())

    def _stop_late(self, running: asyncio.Future[TaskView]) -> None:
        """Stop the task that a cancelled start got after all."""
        if not running.cancelled() and not running.exception():
            self.platform.reconciler.stop_later(running.result().arn, "workroom: cancelled")

    async def _raise_if_dead(self) -> None:
        verdict = self.platform.watcher.verdict(self.task_arn)
        if verdict.dead:
            self.log.error("%s ended: %s", self._log_name, task_errors.why_stopped(verdict.view))
            self.ended_at = _utc(verdict.view.stopped_at if verdict.view else None)
            patience = self.platform_settings.capacity_timeout
            if no_machine := task_errors.no_machine(verdict.view, patience):
                raise no_machine
            self._doubt_home(task_errors.death(verdict.view, self._memory())[0])
            raise task_errors.died(verdict.view, self._memory(), await self._last_lines())


def _utc(moment: datetime | None) -> datetime | None:
    """Return AWS's time as the hub's tables keep it: UTC without zone."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment else None
