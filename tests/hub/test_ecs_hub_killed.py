"""A hub is killed with -9 at every step of start and of stop; the next one goes on.

Real processes: the hub with its database in a file, and the fake account, whose containers speak
HTTP. Every user stands at another step when the hub is killed; what each came to is one test.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.ecs_hub_process import (
    EcsHubProcess,
    FakeAwsProcess,
    eventually,
    of_somebody_else,
    path,
    profile,
    settled,
)

OURS = "workroom/" + "1" * 32

STARTING = {
    "homing": "the home is being made",
    "registering": "the task definition is being registered",
    "sending": "the checkpoint is saved, RunTask has not reached AWS",
    "sent": "RunTask has started a task, nobody knows which",
    "provisioning": "the task is known and waits for a machine",
    "pulling": "its image is being pulled",
    "booting": "its container runs and has no environment yet",
    "answering": "that its container has its environment is saved, and not yet true",
    "swapped": "its container has its environment, its server does not answer",
    "ready": "its server answers, the hub has not written so",
}
STOPPING = {
    "stopping": "the stop is saved, StopTask has not reached AWS",
    "stop-sent": "AWS has taken StopTask, the hub does not know",
    "stopped": "StopTask is done, nothing is written",
    "cleared": "the hub has written that there is no server, its state is still there",
    "cancelled": "a start that waits for a machine is cancelled",
}
# What can be held at AWS; `HUB_HOLDS` has the rest.
STUCK = {"PROVISIONING": ["provisioning", "named", "changing", "deleted", "unoffered", "cancelled"],
         "pull": ["pulling"]}  # fmt: skip
CHECKPOINTED = [user for user in STARTING if user not in ("homing", "registering")]


class Story:
    """What happened, for the tests to look at."""

    def __init__(self, hub: EcsHubProcess, fake: FakeAwsProcess) -> None:
        self.hub = hub
        self.fake = fake
        self.before: dict[str, dict[str, Any]] = {}
        self.after: dict[str, list[dict[str, Any]]] = {}
        self.pending: dict[str, Any] = {}
        self.log = ""

    def kept(self, user: str) -> dict[str, Any]:
        """Return the user's only task of all time, which runs."""
        [task] = self.after.get(user, [{"status": "no task at all"}])
        assert task["status"] == "RUNNING", task
        return task

    def rows(self, question: str, *values: str) -> list[tuple[Any, ...]]:
        """Ask the hub's database."""
        with closing(sqlite3.connect(self.hub.home / "hub.sqlite")) as database:
            return database.execute(question, values).fetchall()

    def usage(self, user: str) -> list[tuple[Any, ...]]:
        """Return profile and reason of the user's usage rows."""
        return self.rows('select profile, reason from "usage" where "user" = ?', user)


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeAwsProcess]:
    with FakeAwsProcess() as fake:
        yield fake


@pytest.fixture(scope="module")
def story(fake: FakeAwsProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Kill a hub with somebody at every step, go on with the next, and wait until it is done."""
    home = tmp_path_factory.mktemp("hub")
    hub = EcsHubProcess(home, fake)
    hub.hold(redeemed=["answering"], started=["ready"], stopped=["stopped"], cleared=["cleared"])
    with hub:
        story = Story(hub, fake)
        _until_everybody_is_there(story)
        hub.stop()
        _while_it_is_away(story)
        hub.hold(resume=["changing", "deleted"])
        hub.start()
        _after_the_restart(story)
        yield story


def _until_everybody_is_there(story: Story) -> None:
    hub, fake = story.hub, story.fake
    running = [user for user in STOPPING if user != "cancelled"] + ["running", "ended"]
    stuck = [user for users in STUCK.values() for user in users]
    hub.add_users(*STARTING, *running, *dict.fromkeys(stuck).keys() - STARTING.keys())
    for strangers in (
        of_somebody_else("somebody-else"),
        of_somebody_else("workroom/" + "2" * 32, "2" * 32),
        of_somebody_else(OURS, "2" * 32),
        of_somebody_else(OURS),  # ours, and of no server: an orphan
    ):
        fake.turn({"preload": [strangers]})
    fake.suffer("AnswerWithheld", "CreateAccessPoint", "homing")
    fake.suffer("AnswerWithheld", "RegisterTaskDefinition", "registering")
    fake.suffer("AnswerWithheld", "RunTask", "sending")
    fake.suffer("AnswerWithheld", "RunTask", "sent", after=True)
    fake.suffer("AnswerWithheld", "StopTask", "stopping", "cancelled")
    fake.suffer("AnswerWithheld", "StopTask", "stop-sent", after=True)
    for phase, users in STUCK.items():
        fake.suffer("StuckIn", phase, *users)
    fake.turn({"hold": {"swap": ["booting"], "answer": ["swapped"]}})
    for user in running:
        hub.click(user)
    for user in running:
        eventually(f"{user} runs", lambda user=user: hub.server(user).get("ready"))
    for user in (*STARTING, "changing", "deleted", "cancelled"):
        hub.click(user)
    hub.click("unoffered", profile="medium")
    hub.click("named", "lab")
    _all_are_at_their_step(story)


def _all_are_at_their_step(story: Story) -> None:
    hub, fake = story.hub, story.fake
    for user in STUCK["PROVISIONING"]:
        server = "lab" if user == "named" else ""
        eventually(f"{user} has an ARN", lambda u=user, s=server: _start(story, u, s).get("arn"))
    for user in ("sent", "pulling", "booting", "answering", "swapped", "ready"):
        eventually(f"{user} has a task", lambda user=user: fake.tasks(user))
    eventually("sending is checkpointed", lambda: _start(story, "sending"))
    for user in ("answering", "swapped", "ready"):
        eventually(f"{user} has reported in", lambda user=user: _start(story, user).get("redeemed"))
    for user in STOPPING:
        status, _ = hub.api("DELETE", path(user))
        assert status == 202, (user, status)
    for user in ("stop-sent", "stopped", "cleared"):
        eventually(
            f"{user} is stopped", lambda user=user: fake.tasks(user)[0]["desired"] == "STOPPED"
        )
    eventually("StopTask was called for all", lambda: fake.turn({})["calls"]["StopTask"] >= 5)
    eventually("ready answers", lambda: fake.turn({})["answering"] >= 4)
    time.sleep(0.3)  # the last words of the hub reach the disk
    story.before = {task["tags"]["workroom:user"]: task for task in fake.tasks()}


def _while_it_is_away(story: Story) -> None:
    fake = story.fake
    fake.turn({"end": {"arn": story.before["ended"]["arn"], "ending": "OUT_OF_MEMORY"}})
    # Their containers come for their environment, or finish their start, while no hub is there.
    fake.turn({"hold": {"swap": [], "answer": ["swapped"]}})
    story.hub.settings["images"][0]["ref"] = "workroom/notebook:2"
    story.hub.settings["profiles"] = [profile("small", 1), profile("large", 4)]


def _after_the_restart(story: Story) -> None:
    hub, fake = story.hub, story.fake
    hub.click("changing", profile="large")
    assert hub.api("DELETE", "/users/deleted")[0] == 204
    eventually("resumed starts are pending", lambda: hub.server("pulling").get("pending"))
    story.pending = {user: hub.server(user) for user in ("pulling", "provisioning")}
    eventually("its page tells of it", lambda: hub.progress("provisioning") == "Finding a machine")
    fake.turn({"relieve": True, "hold": {"swap": [], "answer": []}})
    # Who does not get there in time fails in a test of her own.
    settled(
        [
            *(partial(_is_served, story, user) for user in (*STARTING, "changing", "unoffered")),
            partial(_is_served, story, "named", "lab"),
            *(partial(_has_ended, story, user) for user in (*STOPPING, "deleted", "ended")),
            lambda: not _wanted(_orphans(fake)),
            lambda: len(_wanted(fake.tasks("changing"))) == 1,
        ]
    )
    time.sleep(1.0)  # time for a second task, or for the end of one that is to stay
    for task in fake.tasks():
        story.after.setdefault(task["tags"]["workroom:user"], []).append(task)
    story.log = hub.log.read_text()


def _start(story: Story, user: str, server: str = "") -> dict[str, Any]:
    """Return the checkpoint of a start in the hub's database."""
    rows = story.rows(
        "select spawners.state from spawners join users on users.id = user_id "
        "where users.name = ? and spawners.name = ?", user, server,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(rows[0][0] or "{}").get("start", {}) if rows else {}
    return found


def _is_served(story: Story, user: str, server: str = "") -> bool:
    """Tell whether the hub calls it ready, its task runs and its token is good."""
    model = story.hub.server(user, server)
    if not model.get("ready"):
        return False
    tasks = [t for t in story.fake.tasks(user, "RUNNING") if t["arn"] == model["state"]["task_arn"]]
    token = (tasks[0]["environment"] or {}).get("JUPYTERHUB_API_TOKEN") if tasks else None
    return bool(token) and story.hub.api("GET", "/user", token=str(token))[0] == 200


def _has_ended(story: Story, user: str) -> bool:
    return not _wanted(story.fake.tasks(user)) and not story.hub.server(user).get("ready")


def _wanted(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [task for task in tasks if task["desired"] == "RUNNING"]


def _orphans(fake: FakeAwsProcess) -> list[dict[str, Any]]:
    return fake.tasks("owner-111-111")


@pytest.mark.parametrize("step", STARTING)
def test_a_start_goes_on(story: Story, step: str) -> None:
    task = story.kept(step)
    if step in story.before:
        assert task["arn"] == story.before[step]["arn"]
    image = "workroom/notebook:1" if step in CHECKPOINTED else "workroom/notebook:2"
    assert task["image"] == image
    assert story.hub.server(step)["state"]["image_ref"] == image
    assert _is_served(story, step)


@pytest.mark.parametrize("step", STOPPING)
def test_a_stop_is_carried_out(story: Story, step: str) -> None:
    [task] = story.after[step]
    assert task["desired"] == "STOPPED"
    server = story.hub.server(step)
    assert server["stopped"]
    assert server["state"] == {}
    reason = "cancelled" if step == "cancelled" else "stopped"
    assert story.usage(step) == [("small", reason)]


def test_a_start_that_goes_on_is_pending_meanwhile(story: Story) -> None:
    assert {user: model["pending"] for user, model in story.pending.items()} == {
        "pulling": "spawn",
        "provisioning": "spawn",
    }


def test_a_named_server_goes_on(story: Story) -> None:
    assert story.kept("named")["tags"]["workroom:server"] == "lab"
    assert _is_served(story, "named", "lab")


def test_a_start_goes_on_with_a_profile_that_is_no_longer_on_offer(story: Story) -> None:
    assert story.kept("unoffered")["cpu"] == 2048
    assert story.hub.server("unoffered")["state"]["profile"] == "medium"


def test_who_chooses_anew_gets_that_and_the_old_task_ends(story: Story) -> None:
    old, new = story.after["changing"]
    assert (old["desired"], old["cpu"]) == ("STOPPED", 1024)
    assert (new["status"], new["cpu"]) == ("RUNNING", 4096)
    assert _is_served(story, "changing")


def test_a_user_who_was_deleted_leaves_no_task(story: Story) -> None:
    [task] = story.after["deleted"]
    assert task["desired"] == "STOPPED"


def test_a_running_server_runs_on(story: Story) -> None:
    assert story.kept("running")["arn"] == story.before["running"]["arn"]
    assert _is_served(story, "running")


def test_a_server_that_ended_meanwhile_is_noticed(story: Story) -> None:
    server = story.hub.server("ended")
    assert server["stopped"]
    assert "out of memory" in server["state"]["last_failure"]["message"]
    assert story.usage("ended") == [("small", "died: out of memory")]


def test_only_our_orphans_are_stopped(story: Story) -> None:
    [orphan] = _orphans(story.fake)
    assert orphan["desired"] == "STOPPED"
    strangers = [task for user, (task, *_) in story.after.items() if user.startswith("owner-")]
    assert [task["desired"] for task in strangers if task != orphan] == ["RUNNING"] * 3


def test_the_log_tells_of_each_in_one_line(story: Story) -> None:
    for user in CHECKPOINTED:
        if user not in ("answering", "swapped", "ready"):
            line = f"{user}: its start goes on where an earlier hub left it"
            assert story.log.count(line) == 1
    assert story.log.count("answering: its container asks once more") == 1
    for user in STOPPING:
        assert story.log.count(f"{user}: was being stopped; its task is stopped now") == 1
    assert "Traceback" not in story.log


def test_no_token_of_a_start_that_was_killed_stays_good(story: Story) -> None:
    """One for each server that runs, given out by whichever hub it was; none for any other."""
    found = story.rows(
        "select users.name, count(*) from api_tokens join users on users.id = user_id "
        "where note like 'Server at %' group by users.name"
    )
    running = (*STARTING, "running", "named", "unoffered", "changing")
    assert dict(found) == dict.fromkeys(running, 1)
    clients = story.rows("select count(*) from oauth_clients where identifier like '%-user-%'")
    assert clients == [(len(running),)]


def test_of_a_start_that_is_over_nothing_is_kept(story: Story) -> None:
    """Or every hub that follows would take its code for good again."""
    for user in STARTING:
        eventually(f"{user}'s start is over", lambda user=user: not _start(story, user))


def test_no_start_code_was_refused(story: Story) -> None:
    assert "ALARM" not in story.log
    assert story.fake.turn({})["failed_starts"] == {}


def test_a_storm_survives_two_kills(tmp_path: Path) -> None:
    """Fifty starts at every step at once; the hub that goes on with them is killed, too."""
    users = [f"user-{number}" for number in range(50)]
    with FakeAwsProcess() as fake, EcsHubProcess(tmp_path / "hub", fake) as hub:
        fake.turn({"pace": {"start_seconds": 1}, "hold": {"swap": users[::2]}})
        hub.add_users(*users)
        with ThreadPoolExecutor(8) as people:
            list(people.map(hub.click, users))
        eventually("the first have reported in", lambda: fake.turn({})["swapped"] > 5)
        hub.stop()
        tasks = len(fake.tasks())
        fake.turn({"hold": {"swap": []}})
        hub.hold(resume=users[::4])  # set aside, and not begun again when that one is killed
        hub.start(lambda: hub.log.read_text().count("goes on where an earlier hub left it") > 2)
        hub.stop()
        hub.hold()
        hub.start()
        eventually("all run", lambda: _all_ready(hub, users), 40)
        assert len(fake.tasks()) == len(fake.tasks(status="RUNNING")) == len(users)
        assert fake.turn({})["failed_starts"] == {}
        environments = {task["tags"]["workroom:user"]: task["environment"] for task in fake.tasks()}
        for user in users[::7]:
            token = environments[user]["JUPYTERHUB_API_TOKEN"]
            assert hub.api("GET", "/user", token=token)[1]["name"] == user
        assert 5 < tasks <= len(users)
        assert "Traceback" not in hub.log.read_text()


def _all_ready(hub: EcsHubProcess, users: list[str]) -> bool:
    _, models = hub.api("GET", "/users?state=ready")
    return len(models) == len(users)
