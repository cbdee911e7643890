"""What the watchdog asks AWS and the machine, against moto; and the process that asks."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.fakes.machine_metadata import MachineMetadata
from tests.fakes.moto_account import CLUSTER, CREDENTIALS, REGION, MotoAccount
from workroom_infra.watchdog import aws, helper
from workroom_infra.watchdog.aws import Aws, UnknownInstance, identify
from workroom_infra.watchdog.helper import Answer, Helper
from workroom_infra.watchdog.plan import Do
from workroom_infra.watchdog.settings import Settings


@pytest.fixture(scope="module")
def account() -> Iterator[MotoAccount]:
    with MotoAccount(machines=3) as account:
        yield account


@pytest.fixture
def world(account: MotoAccount, monkeypatch: pytest.MonkeyPatch) -> Iterator[MotoAccount]:
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": account.url}.items():
        monkeypatch.setenv(name, value)
    yield account
    account.errors.clear()


@pytest.fixture
def metadata(account: MotoAccount) -> Iterator[MachineMetadata]:
    with MachineMetadata(account.instances[0], REGION, CLUSTER, account.arns[0]) as metadata:
        yield metadata


@pytest.fixture
def chosen(metadata: MachineMetadata) -> Settings:
    return replace(Settings(), agent=metadata.url, imds=metadata.url, metrics="Workroom/Mounts")


def test_the_machine_says_who_it_is(world: MotoAccount, chosen: Settings) -> None:
    assert identify(chosen) == {
        "instance": world.instances[0],
        "region": REGION,
        "cluster": CLUSTER,
        "arn": world.arns[0],
    }
    assert identify(replace(chosen, region="eu-west-1"))["region"] == "eu-west-1"


def test_a_machine_whose_agent_has_not_registered_is_nobody_yet(world: MotoAccount) -> None:
    with MachineMetadata("i-1", REGION, CLUSTER, "") as fresh:
        chosen = replace(Settings(), agent=fresh.url, imds=fresh.url)
        with pytest.raises(OSError, match="has not registered"):
            identify(chosen)


def test_each_request_does_what_it_says(world: MotoAccount, chosen: Settings) -> None:
    me = Aws(identify(chosen), chosen)
    assert me.carry_out(Do.LOOK, {}) == {"status": "ACTIVE", "tasks": 0, "claim": ""}
    claim = me.carry_out(Do.CLAIM, {})["claim"]
    assert abs(float(claim) - time.time()) < 5
    world.put_claim(1)
    world.put_claim(2, age=3600)
    assert me.carry_out(Do.COUNT, {}) == {"machines": 3, "others": 1}
    me.carry_out(Do.DRAIN, {})
    me.carry_out(Do.DRAIN, {})
    assert me.carry_out(Do.LOOK, {}) == {"status": "DRAINING", "tasks": 0, "claim": claim}
    me.carry_out(Do.ACTIVATE, {})
    me.carry_out(Do.UNCLAIM, {"claim": claim})
    assert (world.status(), world.claim()) == ("ACTIVE", None)
    me.carry_out(Do.CLAIM, {})
    me.carry_out(Do.UNCLAIM, {})
    assert world.claim() is None
    me.carry_out(Do.REPLACE, {})
    assert [world.health(number) for number in range(3)] == ["Unhealthy", "Healthy", "Healthy"]
    me.carry_out(Do.MEASURE, {"metrics": {"HungMounts": 1, "HeldBack": 0}})
    [found] = world.metrics("HungMounts")
    assert (found["Namespace"], found["Dimensions"]) == ("Workroom/Mounts", [])


def test_a_count_ends_where_there_are_too_many_already(
    world: MotoAccount, chosen: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = Aws(identify(chosen), chosen)
    asked: list[str] = []

    def page(nextToken: str = "", **_: object) -> dict[str, object]:
        asked.append(nextToken)
        claims = [{"targetId": f"container-instance/{len(asked)}", "value": f"{time.time()}"}]
        return {"attributes": claims, "nextToken": f"page-{len(asked)}"}

    monkeypatch.setattr(me._ecs, "list_attributes", page)
    assert me.carry_out(Do.COUNT, {}) == {"machines": 3, "others": 1}
    assert asked == [""]
    wide = Aws(identify(chosen), replace(chosen, share=1))
    monkeypatch.setattr(wide._ecs, "list_attributes", page)
    asked.clear()
    assert wide.carry_out(Do.COUNT, {})["others"] == 3
    assert asked == ["", "page-1", "page-2"]


def test_a_machine_that_ecs_does_not_know_is_told_apart(
    world: MotoAccount, chosen: Settings
) -> None:
    gone = Aws({**identify(chosen), "arn": world.arns[0][:-4] + "0000"}, chosen)
    for do in (Do.LOOK, Do.DRAIN, Do.ACTIVATE):
        with pytest.raises(UnknownInstance):
            gone.carry_out(do, {})


def test_neither_metadata_nor_the_agent_is_asked_through_a_proxy(
    world: MotoAccount, chosen: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert aws._get(f"{chosen.agent}/v1/metadata")


class TestHelper:
    def ask(self, asks: Helper, do: Do, known: dict[str, str] | None) -> Answer:
        begun = time.monotonic()
        asks.ask(do, known, {}, begun)
        assert asks.busy
        while time.monotonic() - begun < 20:
            if answer := asks.collect(time.monotonic()):
                return answer
            time.sleep(0.01)
        raise AssertionError("no answer")

    def test_it_finds_out_who_it_is_and_keeps_to_it(
        self, world: MotoAccount, chosen: Settings, metadata: MachineMetadata
    ) -> None:
        asks = Helper(chosen)
        answer = self.ask(asks, Do.LOOK, None)
        assert (answer.error, answer.identity) == ("", identify(chosen))
        metadata.agent_answers = False
        assert self.ask(asks, Do.CLAIM, dict(answer.identity or {})).error == ""
        asks._end()

    def test_a_refusal_is_named_by_its_code_and_without_its_message(
        self, world: MotoAccount, chosen: Settings
    ) -> None:
        asks = Helper(chosen)
        world.errors["DescribeContainerInstances"] = "ExpiredTokenException"
        answer = self.ask(asks, Do.LOOK, None)
        assert answer.error == "ClientError: ExpiredTokenException"
        world.errors.clear()
        assert self.ask(asks, Do.LOOK, None).error == ""
        asks._end()

    def test_one_that_does_not_answer_is_killed_and_followed_by_another(
        self, world: MotoAccount, chosen: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(helper, "PATIENCE", 1.5)
        asks = Helper(chosen)
        world.errors["DescribeContainerInstances"] = "silence"
        answer = self.ask(asks, Do.LOOK, identify(chosen))
        assert (answer.error, asks.busy) == ("no answer", False)
        monkeypatch.setattr(helper, "PATIENCE", 20.0)
        world.errors.clear()
        assert self.ask(asks, Do.LOOK, identify(chosen)).error == ""
        asks._end()

    def test_one_that_was_killed_is_followed_by_another(
        self, world: MotoAccount, chosen: Settings
    ) -> None:
        asks = Helper(chosen)
        self.ask(asks, Do.LOOK, None)
        os.kill(asks._pid, 9)
        told = []
        for _ in range(3):
            try:
                told.append(self.ask(asks, Do.LOOK, None).error)
            except BrokenPipeError:
                told.append("broken")
        assert told[-1] == ""
        asks._end()
