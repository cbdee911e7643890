"""What a hub must remember of a server on ECS, so that the next hub process finds it again."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from sqlalchemy import Engine
from traitlets import Instance

from workroom_spawner import metrics
from workroom_spawner.checkpoints import Checkpoints
from workroom_spawner.ecs_settings import EcsSettings
from workroom_spawner.launch import Start
from workroom_spawner.platform import EcsPlatform
from workroom_spawner.profiles import Choice
from workroom_spawner.reconcile import Known
from workroom_spawner.server import WorkroomServer
from workroom_spawner.task_requests import WEB_PORT, server_id

SAVE_WITHIN = 5.0
"""Seconds a stop waits for the database, which may be locked."""


class TaskMemory(WorkroomServer):
    """A server's task and its start under way: in the hub's table, and for the reconciler.

    Attributes:
        task_arn: The task; "" while there is none.
    """

    platform_settings = Instance(EcsSettings, help="The cluster and what tasks get there.").tag(
        config=True
    )

    _checkpoints: ClassVar[WeakKeyDictionary[Engine, Checkpoints]] = WeakKeyDictionary()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.task_arn = ""
        self._start: Start | None = None
        self._resumable: Start | None = None
        self._began: datetime | None = None  # when `_resumable` did
        self._doubtful: Start | None = None  # swapped its code; whether it got an answer?
        self._chance_ends: datetime | None = None  # for `_doubtful`, in UTC without zone
        self._chance: asyncio.Task[None] | None = None
        self._stopping = ""  # why, once it is certain that the server is to end
        self._left_stopping = False  # by an earlier hub process
        super().__init__(*args, **kwargs)
        self.ip = "0.0.0.0"  # noqa: S104 -- inside the task, where its security group decides
        self.port = WEB_PORT

    @property
    def platform(self) -> EcsPlatform:
        """What this process has of the cluster, shared by all users."""
        return EcsPlatform.of(self.platform_settings)

    @property
    def server_id(self) -> str:
        """This server's id in tags; the same in every hub process."""
        return server_id(self.platform_settings, self.user.name, self.name)

    # -- state ---------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Return what must survive a restart of the hub; never a secret."""
        state = super().get_state()
        if self.task_arn:
            state["task_arn"] = self.task_arn
        start = self._start or self._resumable or self._doubtful
        if start:
            state["start"] = start.as_state()
        if self._chance_ends:
            state["chance_ends"] = self._chance_ends.isoformat()
        if self._stopping:
            state["stopping"] = self._stopping
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up what `get_state` of an earlier hub process said."""
        super().load_state(state)
        start = Start(**state["start"]) if "start" in state else None
        self.task_arn = state.get("task_arn", "")
        if "stopping" in state:
            self._go_on_stopping(state["stopping"], self.task_arn or (start.arn if start else None))
            return
        if start and not start.redeemed:
            self._resumable, self.task_arn = start, ""
            self._began = self.started_at
        elif start:
            self._doubtful = start
            ends = state.get("chance_ends")
            self._chance_ends = datetime.fromisoformat(ends) if ends else None
        if self.task_arn:
            self.platform.watcher.follow(self.task_arn, self.address).started()
            metrics.TASKS_ADOPTED.inc()
        if self.task_arn or self._resumable:
            self._register()

    def clear_state(self) -> None:
        """Forget the server; a start that an earlier hub left is kept for `start`."""
        super().clear_state()
        self.task_arn = ""
        self._start = self._doubtful = self._chance_ends = None
        self._stopping = ""
        self._left_stopping = False

    async def get_url(self) -> str:
        """Return where the server is, also if the hub died before it wrote that down."""
        if self.address and self.server:
            return f"http://{self.address}:{self.port}{self.server.base_url}"
        return str(await super().get_url())

    # -- what an earlier hub process left -------------------------------------------

    def choose(self) -> Choice:
        """Settle on a profile and image; a start that goes on keeps its own.

        Raises:
            NotOffered: Not on offer to this user.
        """
        if self.choice and self._is_same_start():
            return self.choice
        return super().choose()

    def _is_same_start(self) -> bool:
        start = self._resumable
        return start is not None and start.options == (self.user_options or {})

    def let_go(self) -> None:
        """Give up a start that an earlier hub left, because nobody will go on with it."""
        start, self._resumable = self._resumable, None
        if start is None:
            return
        servers = self.platform.servers
        for server, known in list(servers.items()):
            if known.client_token == start.client_token:
                del servers[server]
        if start.arn:
            # Else it is found as an orphan, if there is one.
            self.platform.reconciler.stop_later(start.arn, "workroom: given up")

    def _go_on_stopping(self, reason: str, arn: str | None) -> None:
        """End what the earlier hub process was about to end; for this one it has ended."""
        self._stopping = self.end_reason = reason
        self._left_stopping = True
        if arn:
            self.log.warning("%s: was being stopped; its task is stopped now", self._log_name)
            self.platform.reconciler.stop_later(arn, f"workroom: {reason}")

    def _register(self) -> None:
        """Tell the reconciler which task is this server's."""
        start = self._start or self._resumable
        token = start.client_token if start else None
        arn = self.task_arn or (start.arn if start else None) or None
        self.platform.servers[self.server_id] = Known(arn, token)

    @property
    def _saver(self) -> Checkpoints:
        engine = self.user.db.get_bind()
        if engine not in self._checkpoints:
            self._checkpoints[engine] = Checkpoints(engine)
        return self._checkpoints[engine]

    async def _save(self) -> None:
        await self._saver.save(self.orm_spawner.id, self.get_state())

    async def _settle(self) -> None:
        """Have the hub's own last word on the state written after ours."""
        try:
            async with asyncio.timeout(SAVE_WITHIN):
                await self._saver.settled()
        except TimeoutError:
            self.log.warning("%s: its last state is still being saved", self._log_name)
        self.user.db.expire(self.orm_spawner, ["state"])
