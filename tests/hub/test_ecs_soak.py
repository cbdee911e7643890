"""The long waits of servers on ECS in real time, with the product's own constants.

Two hubs at once, each a real process on a fake account of its own: on one AWS does not answer for
eleven minutes; on the other tasks vanish, machines are added and the hub is away for five minutes.
`make soak` runs this, in about thirteen minutes.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.chronicle import Chronicle
from tests.support.ecs_hub_process import (
    EcsHubProcess,
    FakeAwsProcess,
    of_somebody_else,
    profile,
)

pytestmark = pytest.mark.soak
MINUTE = 60.0
SWEEP = 30.0
POLL = 33.0  # the hub asks every server every 30 s, up to a tenth later
SLACK = 10.0  # of a busy machine and of the looks of this test

# Room for all but the cold start: 3072 of its 8192 units are left by who was there before.
MACHINES = {"machines": 1, "cpu": 8192, "machine_seconds": 91.0}
LARGE_MACHINE = {"machines": 1, "cpu": 2**16, "memory": 2**20}
OURS = "workroom/" + "1" * 32
ORPHAN = "owner-111-111"
TWENTY = [f"user-{number}" for number in range(20)]
THROTTLED, EXPIRED = 600.0, 60.0
START_DEADLINE = 600.0  # two minutes, and eight for the image of a new machine
AWAY = 280.0  # a container asks for 300 s


@contextmanager
def real_time(home: Path, machines: dict[str, Any]) -> Iterator[Chronicle]:
    """Run a hub whose every wait is as long as in production, and quotas as AWS's."""
    with FakeAwsProcess("--each-listens", "--machines", json.dumps(machines)) as fake:
        hub = EcsHubProcess(home, fake)
        hub.env["REAL_TIME"] = "1"
        hub.settings["ecs"].pop("quotas")
        hub.settings["profiles"] = [profile("small", 0.5), profile("large", 4)]
        hub.settings["ecs"]["capacity_providers"] = [{"name": "machines"}]
        hub.settings["ecs"]["auto_scaling_group"] = "machines"
        with hub:
            yield Chronicle(hub, fake)


# -- eleven minutes without AWS ------------------------------------------------------


class Outage:
    """What the first hub went through."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, float, int, int, float]] = []
        """Seconds, age of the watcher, servers ready, tasks wanted, seconds of three calls."""

    def play(self, home: Path) -> Outage:
        """Throttle for ten minutes, let credentials be expired for one, and see it recover."""
        with real_time(home, LARGE_MACHINE) as seen:
            self.seen = seen
            self._prepare()
            self.began = seen.note("DescribeTasks is throttled")
            seen.fake.suffer("DescribeThrottledFor", THROTTLED)
            self._sample_until(self.began + THROTTLED - 1)
            seen.note("credentials expire")
            seen.fake.suffer("CredentialsExpired", EXPIRED + 1)
            self.over = self.began + THROTTLED + EXPIRED
            self._sample_until(self.over)
            seen.note("AWS answers again")
            seen.until(lambda: self._sample() < 2 * SWEEP, "the watcher is current", MINUTE)
            seen.look()
            [task] = seen.fake.tasks(TWENTY[0])
            seen.fake.turn({"end": {"arn": task["arn"], "ending": "OUT_OF_MEMORY"}})
            seen.note("a task dies")
            seen.until_seen(f"server {TWENTY[0]}: gone", seconds=SWEEP + POLL + SLACK)
            self.usage = {user: seen.usage(user) for user in (*TWENTY, "stuck")}
            self.failure = seen.hub.server("stuck")["state"]["last_failure"]["message"]
            self.log = seen.log()
        return self

    def _prepare(self) -> None:
        seen, hub = self.seen, self.seen.hub
        hub.add_users(*TWENTY, "stuck")
        seen.fake.turn({"hold": {"swap": ["stuck"], "answer": []}})
        seen.note("stuck is clicked")
        for user in ("stuck", *TWENTY):
            hub.click(user)
        seen.until_seen(*(f"server {user}: ready" for user in TWENTY), seconds=90)
        # The hub must know that the container of `stuck` has begun: its deadline runs from there.
        stages = (event.get("stage") for event in seen.progress("stuck"))
        next(stage for stage in stages if stage == "starting")
        seen.note("stuck is known to be placed")
        seen.wait_until(seen.now + 20)
        [task] = seen.fake.tasks(TWENTY[1])
        self._token = task["environment"]["JUPYTERHUB_API_TOKEN"]

    def _sample_until(self, moment: float) -> None:
        while self.seen.now < moment:
            self._sample()
            time.sleep(max(0.0, min(5.0, moment - self.seen.now)))

    def _sample(self) -> float:
        seen = self.seen
        began = time.monotonic()
        age = seen.age()
        status, me = seen.hub.api("GET", "/user", token=self._token)
        assert (status, me["name"]) == (200, TWENTY[1]), f"her server is turned away: {me}{seen}"
        _, users = seen.hub.api("GET", "/users")
        took = time.monotonic() - began
        ready = [user for user in users if user["name"] in TWENTY and user["server"]]
        wanted = [t for t in seen.fake.tasks() if t["desired"] == "RUNNING"]
        running = [task for task in wanted if task["tags"]["workroom:user"] in TWENTY]
        self.samples.append((seen.now, age, len(ready), len(running), took))
        seen.look()
        return age


# -- tasks that vanish, machines that come, a hub that goes ---------------------------


class LongDay:
    """What the second hub went through."""

    def __init__(self) -> None:
        self.progress: list[tuple[float, str, str]] = []
        """Seconds, stage and sentence of the cold start."""
        self.tasks: dict[str, list[dict[str, Any]]] = {}

    def play(self, home: Path) -> LongDay:
        """Begin everything at once, wait until the last has come to pass, kill the hub."""
        with real_time(home, MACHINES) as seen:
            self.seen, hub = seen, seen.hub
            hub.add_users("cold", "silent", "fading", "lied", "late", "slow")
            self._others()
            self._cold()
            self._vanishing()
            seen.until_seen(
                "server silent: gone", "server fading: gone", f"task {ORPHAN}: to stop",
                "server cold: ready", seconds=6 * MINUTE,
            )  # fmt: skip
            self.failures = {
                user: hub.server(user)["state"].get("last_failure", {}).get("message", "")
                for user in ("silent", "fading")
            }
            self.usage = {user: seen.usage(user) for user in ("silent", "fading", "lied")}
            self._away()
            for task in seen.fake.tasks():
                self.tasks.setdefault(task["tags"].get("workroom:user", "?"), []).append(task)
            self.servers = {user: hub.server(user) for user in ("cold", "lied", "late", "slow")}
            self.refused = seen.fake.turn({})["failed_starts"]
            self.log = seen.log()
        return self

    def _others(self) -> None:
        neighbour = of_somebody_else("neighbour")
        neighbour["overrides"] = {"cpu": "4096"}
        strangers = (
            of_somebody_else("workroom/" + "2" * 32, "2" * 32),
            of_somebody_else(OURS, "2" * 32),
            of_somebody_else(OURS),
        )
        self.seen.fake.turn({"preload": [neighbour, *strangers]})
        self.seen.note("an orphan is there")

    def _cold(self) -> None:
        self.seen.hub.click("cold", profile="large")
        self.seen.note("cold is clicked")
        threading.Thread(target=self._follow_progress, daemon=True).start()

    def _follow_progress(self) -> None:
        for event in self.seen.progress("cold"):
            self.progress.append((self.seen.now, event.get("stage", ""), event["message"]))

    def _vanishing(self) -> None:
        seen, hub = self.seen, self.seen.hub
        for user in ("silent", "fading", "lied"):
            hub.click(user)
            seen.note(f"{user} is clicked")
        ready = [f"server {user}: ready" for user in ("silent", "fading", "lied")]
        seen.until_seen(*ready, seconds=30)
        seen.fake.suffer("DescribeLiesMissing", self._arn("lied"), lists=True)
        self._vanish("silent")
        # Later than two of the three minutes of MISSING before the five are over.
        seen.wait_until(seen.at("fading is clicked") + 190)
        self._vanish("fading")

    def _arn(self, user: str) -> str:
        [task] = self.seen.fake.tasks(user)
        return str(task["arn"])

    def _vanish(self, user: str) -> None:
        """Have its port silent, and AWS know nothing of it."""
        arn = self._arn(user)
        self.seen.fake.suffer("DescribeLiesMissing", arn, lists=True)
        self.seen.fake.turn({"end": {"arn": arn, "ending": "MACHINE_TERMINATED"}})
        self.seen.note(f"{user} vanishes")

    def _away(self) -> None:
        """Kill the hub while two containers boot; one comes for its environment meanwhile."""
        seen, hub = self.seen, self.seen.hub
        seen.fake.turn({"hold": {"swap": ["late", "slow"], "answer": []}})
        for user in ("late", "slow"):
            hub.click(user)
        runs = [f"task {user}: RUNNING" for user in ("late", "slow")]
        seen.until_seen(*runs, seconds=30)
        self.before = {task["arn"] for task in seen.fake.tasks()}
        seen.hub_is_there = False
        hub.stop()
        began = seen.note("the hub is killed")
        seen.fake.turn({"hold": {"swap": ["slow"], "answer": []}})
        seen.wait_until(began + AWAY)
        seen.note("the hub is started")
        hub.start()
        seen.note("the hub is there again")
        seen.hub_is_there = True
        seen.until_seen("server late: ready", seconds=30)
        seen.wait_until(began + 5 * MINUTE + 1)
        seen.fake.turn({"hold": {"swap": [], "answer": []}})
        seen.note("slow swaps its code")
        seen.until_seen("server slow: ready", seconds=30)
        seen.wait_until(seen.now + SWEEP + 5)


@pytest.fixture(scope="module")
def days(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Future[Outage], Future[LongDay]]]:
    with ThreadPoolExecutor(2) as both:
        home = tmp_path_factory.mktemp("hubs")
        yield both.submit(Outage().play, home / "a"), both.submit(LongDay().play, home / "b")


@pytest.fixture(scope="module")
def outage(days: tuple[Future[Outage], Future[LongDay]]) -> Outage:
    return days[0].result()


@pytest.fixture(scope="module")
def day(days: tuple[Future[Outage], Future[LongDay]]) -> LongDay:
    return days[1].result()


def test_no_server_is_stopped_while_aws_is_away(outage: Outage) -> None:
    assert len(outage.samples) > (THROTTLED + EXPIRED) / 10, str(outage.seen)
    assert {(ready, running) for _, _, ready, running, _ in outage.samples} == {(20, 20)}
    assert outage.usage == {
        **{user: [] for user in TWENTY},
        TWENTY[0]: ["died: out of memory"],  # after the outage, to see that it is over
        "stuck": ["failed: timeout"],
    }, str(outage.seen)
    slowest = max(took for *_, took in outage.samples)
    print(f"{len(outage.samples)} looks at the hub, the slowest three calls took {slowest:.2f} s")
    assert slowest < SLACK, str(outage.seen)


def test_the_age_of_the_watcher_tells_of_the_outage(outage: Outage) -> None:
    ages = [(at, age) for at, age, *_ in outage.samples]
    away = [age for at, age in ages if outage.began < at < outage.over]
    assert away == sorted(away), str(outage.seen)
    assert away[0] < 2 * SWEEP, str(outage.seen)
    throttled = max(age for at, age in ages if at < outage.began + THROTTLED)
    current = outage.seen.at("the watcher is current") - outage.over
    print(
        f"age {away[0]:.0f} s at first, {throttled:.0f} s when throttling ended, {away[-1]:.0f} s"
    )
    print(f"at the end of the outage, and {ages[-1][1]:.0f} s again {current:.0f} s later")
    assert throttled > THROTTLED - 10, str(outage.seen)
    assert away[-1] > THROTTLED + EXPIRED - 10, str(outage.seen)
    assert ages[-1][1] < 2 * SWEEP, str(outage.seen)
    assert current <= MINUTE, str(outage.seen)


def test_the_log_tells_once_of_the_outage(outage: Outage) -> None:
    assert outage.log.count("ECS cannot be asked how the servers are") == 1, str(outage.seen)
    assert outage.log.count("ECS answers again, after") == 1, str(outage.seen)
    assert "Traceback" not in outage.log, str(outage.seen)


def test_a_container_that_says_nothing_is_given_up(outage: Outage) -> None:
    """While DescribeTasks is throttled: the hub's own clock decides, and StopTask is taken."""
    placed = outage.seen.at("stuck is known to be placed")
    given_up = outage.seen.at("server stuck: gone") - placed
    stopped = outage.seen.at("task stuck: to stop") - placed
    print(f"given up {given_up:.1f} s after its container began, its task stopped at {stopped:.1f}")
    assert START_DEADLINE - 1 <= stopped <= START_DEADLINE + 5 + SLACK, str(outage.seen)
    assert START_DEADLINE - 1 <= given_up <= START_DEADLINE + 5 + SLACK, str(outage.seen)
    assert "did not get ready within 600 seconds" in outage.failure


def test_a_cold_start_waits_for_a_machine(day: LongDay) -> None:
    waited = day.seen.at("task cold: RUNNING") - day.seen.at("task cold: PROVISIONING")
    ready = day.seen.at("server cold: ready") - day.seen.at("cold is clicked")
    adding = [(at, said) for at, stage, said in day.progress if said.startswith("Adding a machine")]
    print(f"a machine after {waited:.0f} s, ready after {ready:.0f} s; {len(adding)} times:")
    print(*adding[:1], *adding[-1:], sep="\n")
    assert 125 <= waited <= 160, str(day.seen)
    assert ready <= waited + SLACK, str(day.seen)
    assert len(adding) >= 10, str(day.progress)
    assert "waiting for 2 min" in adding[-1][1], str(day.progress)
    assert {stage for _, stage, said in day.progress if said.startswith("Adding")} == {"machine"}
    assert day.progress[-1][2].startswith("Server ready"), str(day.progress)


def test_a_task_that_vanished_is_dead_after_five_minutes(day: LongDay) -> None:
    noticed = day.seen.at("server silent: gone") - day.seen.at("silent is clicked")
    print(f"noticed {noticed:.0f} s after its start")
    assert 5 * MINUTE <= noticed <= 5 * MINUTE + SWEEP + POLL + SLACK, str(day.seen)
    assert day.usage["silent"] == ["died: task gone"], str(day.seen)
    assert "AWS does not know it any more" in day.failures["silent"]


def test_an_older_one_is_dead_after_three_sweeps(day: LongDay) -> None:
    noticed = day.seen.at("server fading: gone") - day.seen.at("fading vanishes")
    print(f"noticed {noticed:.0f} s after it vanished")
    longest = SWEEP + 2 * (MINUTE + SWEEP) + POLL + SLACK
    assert 2 * MINUTE <= noticed <= longest, str(day.seen)
    assert day.usage["fading"] == ["died: task gone"], str(day.seen)
    assert "AWS does not know it any more" in day.failures["fading"]


def test_a_task_that_answers_is_kept_whatever_aws_says(day: LongDay) -> None:
    assert "MISSING, but its port answers: it is kept" in day.log, str(day.seen)
    assert day.usage["lied"] == []
    _is_kept(day, "lied")


def test_only_our_orphan_is_stopped_and_not_early(day: LongDay) -> None:
    stopped = day.seen.at(f"task {ORPHAN}: to stop") - day.seen.at("an orphan is there")
    print(f"stopped after {stopped:.0f} s")
    assert 5 * MINUTE <= stopped <= 7 * MINUTE + SLACK, str(day.seen)
    strangers = {user: t for user, t in day.tasks.items() if user.startswith("owner-")}
    [orphan] = strangers.pop(ORPHAN)
    assert orphan["status"] == "STOPPED", str(day.seen)
    assert len(strangers) == 3, strangers
    for user, [task] in strangers.items():
        assert task["status"] == "RUNNING", f"{user}{day.seen}"


@pytest.mark.parametrize(("user", "least"), [("late", AWAY), ("slow", 5 * MINUTE)])
def test_a_container_gets_its_environment_five_minutes_later(
    day: LongDay, user: str, least: float
) -> None:
    """From the next hub: `late` has asked all the while, `slow` was not done before."""
    ready = day.seen.at(f"server {user}: ready") - day.seen.at(f"task {user}: RUNNING")
    print(f"{user}: ready {ready:.0f} s after its container began")
    assert least <= ready <= 5 * MINUTE + SLACK + 10, str(day.seen)
    assert day.log.count(f"{user}: its start goes on where an earlier hub left it") == 1
    _is_kept(day, user)


def test_a_hub_that_was_away_for_five_minutes_keeps_what_ran(day: LongDay) -> None:
    _is_kept(day, "cold")
    assert day.refused == {}
    assert "ALARM" not in day.log, str(day.seen)
    assert "Traceback" not in day.log, str(day.seen)


def _is_kept(day: LongDay, user: str) -> None:
    [task] = day.tasks[user]
    assert task["status"] == "RUNNING", f"{user}{day.seen}"
    assert task["arn"] in day.before, f"{user}{day.seen}"
    assert day.servers[user]["ready"], f"{user}{day.seen}"
    assert day.servers[user]["state"]["task_arn"] == task["arn"], f"{user}{day.seen}"
