"""The watchdog's own process: it looks at the kernel's tables and at pipes, and at nothing else.

It never touches a mount, waits for no child, and makes no network call: `probes` and `helper` do
that in processes that may be lost.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from workroom_infra.watchdog import mounts, settings, tell
from workroom_infra.watchdog.helper import Answer, Helper
from workroom_infra.watchdog.plan import Do, Memory, Phase, Plan
from workroom_infra.watchdog.probes import Probes
from workroom_infra.watchdog.settings import Settings, SettingsError
from workroom_infra.watchdog.watch import Seen, Watch

TICK = 0.5
LONGEST_STEP = 2.0
"""Seconds that count, at most, between two ticks: while this process stood still, so did probes."""

KEEP = 1.0
"""Seconds after which a probe is written down, so that a restarted watchdog sends no second one."""


def main(words: Sequence[str]) -> int:
    """Run until told to stop; `--check` reads the settings and ends."""
    try:
        chosen = settings.load(os.environ)
        _check_place(chosen)
    except SettingsError as error:
        tell.log(str(error))
        return 78
    if list(words) == ["--check"]:
        for name, value in asdict(chosen).items():
            shown = ",".join(value) if isinstance(value, tuple) else value
            print(f"{settings.PREFIX}{name.upper()}={shown}")
        return 0
    if words:
        tell.log(f"unknown argument {words[0]}; there is --check, and none otherwise")
        return 2
    Watchdog(chosen).run()
    return 0


def _check_place(chosen: Settings) -> None:
    """Refuse a state folder that could hang with what is probed."""
    mount = mounts.holder(mounts.read(), chosen.state_folder)
    if mount and mount.type in chosen.types:
        raise SettingsError(
            f"{settings.PREFIX}STATE_FOLDER={chosen.state_folder}: is on the {mount.type} mount "
            f"{mount.point}; give a folder on local disk, such as /run/workroom-mount-watchdog"
        )


class Watchdog:
    """One tick after another."""

    def __init__(self, chosen: Settings) -> None:
        self._settings = chosen
        self._file = tell.StateFile(chosen.state_folder)
        saved = self._file.read()
        memory = saved.get("memory") or {}
        self._plan = Plan(chosen, _memory(memory))
        self._identity: dict[str, str] | None = saved.get("identity")
        self._watch = Watch(chosen.probe_every, chosen.hang_after)
        self._probes = Probes(chosen.max_probes)
        for mount in self._probes.adopt(saved.get("probes") or []):
            self._watch.adopt(mount, 0.0)
        self._helper = Helper(chosen)
        # Seconds for which this process ran.
        self._awake, self._last = 0.0, time.monotonic()
        self._measured = float("-inf")
        self._told: tuple[str, tuple[str, ...]] = ("", ())
        self._error = ""
        self._crowded = False
        self._stop = False

    def run(self) -> None:
        """Until SIGTERM."""
        os.set_blocking(2, False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stopped)
        tell.systemd("READY=1", os.environ)
        tell.log(f"watches {','.join(self._settings.types)} under {','.join(self._settings.under)}")
        while not self._stop:
            self.tick()
        tell.systemd("STOPPING=1", os.environ)

    def tick(self) -> None:
        """Look, judge, ask for one thing at most, tell."""
        said = self._probes.collect(TICK, self._helper.pipes)
        now = time.monotonic()
        self._awake += min(now - self._last, LONGEST_STEP)
        self._last = now
        for word in said:
            if word.what == "begun":
                self._watch.asked(word.key, self._awake)
            elif word.what == "answered":
                self._watch.answered(word.key, self._awake, word.error)
            else:
                self._watch.lost(word.key, self._awake)
        self._update()
        seen = self._watch.seen(self._awake)
        self._heed(self._helper.collect(now), now)
        self._ask(seen, now)
        self._tell(seen)

    def _update(self) -> None:
        found = mounts.chosen(mounts.read(), self._settings.types, self._settings.under)
        self._watch.update(found, self._awake)
        crowded = False
        for mount in self._watch.due(self._awake):
            if mount.key not in self._probes.out:
                crowded |= not self._probes.start(mount)
        if crowded and not self._crowded:
            tell.alarm(f"cannot start a probe; {len(self._probes.out)} wait for an answer")
        self._crowded = crowded

    def _heed(self, answer: Answer | None, now: float) -> None:
        if answer is None:
            return
        if answer.identity:
            self._identity = dict(answer.identity)
        elif answer.error.startswith("UnknownInstance"):
            self._identity = None
        if answer.error != self._error:
            self._error = answer.error
            tell.log(f"{answer.do.value}: {answer.error or 'AWS answers again'}")
        if answer.do is Do.MEASURE:
            return
        if answer.error:
            self._plan.failed(now)
        else:
            self._plan.answered(answer.do, answer.result, now)

    def _ask(self, seen: Seen, now: float) -> None:
        if self._helper.busy:
            return
        do = self._plan.next(seen, now)
        given: dict[str, Any] = {"claim": self._plan.memory.claim}
        if do is None and self._settings.metrics and self._identity:
            if now - self._measured < self._settings.metrics_every:
                return
            do, given, self._measured = Do.MEASURE, {"metrics": self._metrics(seen)}, now
        if do is None:
            return
        # Written down first: whoever comes after knows what may have been done.
        self._save(seen)
        try:
            self._helper.ask(do, self._identity, given, now)
        except OSError as error:
            tell.log(f"{do.value}: no helper process: {error.strerror}")
            if do is not Do.MEASURE:
                self._plan.failed(now)

    def _metrics(self, seen: Seen) -> dict[str, int]:
        phase = self._plan.phase
        return {
            "HungMounts": len(seen.hung),
            "StuckProbes": seen.stuck,
            "HeldBack": int(phase is Phase.HELD),
            "Drained": int(phase in (Phase.DRAINED, Phase.LAST_COUNT)),
            "Replacing": int(phase in (Phase.REPLACING, Phase.REPLACED)),
        }

    def _tell(self, seen: Seen) -> None:
        phase = self._plan.phase
        hung = ", ".join(seen.hung) or "none"
        status = f"{phase.value}; {len(self._watch.watched)} mounts, hung: {hung}"
        tell.systemd(f"WATCHDOG=1\nSTATUS={status}", os.environ)
        # On the way from one phase to another only another mount is news.
        text = LOUD.get(phase, self._told[0] if phase is not Phase.WATCHING else "")
        if (text, seen.hung) != self._told:
            if seen.hung or text:
                tell.alarm(f"{text or 'a mount hangs'}; hung: {hung}")
            else:
                tell.log("all mounts answer")
            self._told = (text, seen.hung)
        self._save(seen)

    def _save(self, seen: Seen) -> None:
        self._file.write(
            {
                "phase": self._plan.phase.value,
                "hung": list(seen.hung),
                "stuck": seen.stuck,
                "tasks": self._plan.tasks,
                "error": self._error,
                "mounts": [
                    {"point": w.mount.point, "answers": w.asked is None, "error": w.error}
                    for w in self._watch.watched.values()
                    if w.mount.point in seen.hung or w.error
                ],
                "probes": self._probes.saved(self._watch.waiting(self._awake, KEEP)),
                "identity": self._identity,
                "memory": {**asdict(self._plan.memory), "phase": self._plan.phase.value},
            }
        )

    def _stopped(self, *_: object) -> None:
        self._stop = True


LOUD = {
    Phase.HELD: "too many machines hang at once, so this one is held back",
    Phase.DRAINED: "this machine is drained",
    Phase.REPLACING: "this machine is given up",
    Phase.REPLACED: "this machine is given up",
}


def _memory(saved: dict[str, Any]) -> Memory:
    try:
        return Memory(**{**saved, "phase": Phase(saved["phase"])})
    except (KeyError, TypeError, ValueError):
        return Memory()
