"""Task definitions against the fake account, on its clock."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.aws import FakeAws
from tests.fakes.aws.bad_days import BadDay, CredentialsExpired, NetworkGone, RegisterThrottled
from tests.fakes.aws.errors import AwsError, Unreachable
from tests.fakes.aws.wire import Call
from tests.support.ecs import ECS, api_on, loop_time
from workroom_spawner.aws_errors import Denied, Refused
from workroom_spawner.aws_errors import Unreachable as AwsUnreachable
from workroom_spawner.definitions import Definitions
from workroom_spawner.task_requests import Request, TaskSpec, task_definition

pytestmark = pytest.mark.looptime


def definition(user: int | str = 0, image: str = "notebook:1") -> Request:
    spec = TaskSpec(f"user-{user}", "", "small", image, 1, 2**30, f"fsap-{user}")
    return task_definition(spec, ECS)


class FamiliesFail(BadDay):
    """ListTaskDefinitionFamilies does not answer; `code` makes it an answer, such as throttling."""

    def __init__(self, code: str = "") -> None:
        self._code = code

    def before(self, call: Call, now: float) -> None:
        if call.operation == "ListTaskDefinitionFamilies":
            raise AwsError(self._code, "no") if self._code else Unreachable("no")


class RefusesFamiliesOf(BadDay):
    """RegisterTaskDefinition is refused for families with `part` in their name."""

    def __init__(self, part: str) -> None:
        self._part = part

    def before(self, call: Call, now: float) -> None:
        if call.operation == "RegisterTaskDefinition" and self._part in call.params["family"]:
            raise AwsError("ClientException", "Invalid image")


@pytest.fixture
def fake() -> FakeAws:
    return FakeAws(loop_time)


@pytest.fixture
def definitions(fake: FakeAws) -> Definitions:
    return Definitions(api_on(fake))


# -- one definition ------------------------------------------------------------------


async def test_registered_once_and_known_from_then_on(
    fake: FakeAws, definitions: Definitions
) -> None:
    wanted = definition()
    assert await definitions.ensure(wanted) == wanted["family"]
    assert await definitions.ensure(wanted) == wanted["family"]
    assert fake.calls == {"ListTaskDefinitionFamilies": 1, "RegisterTaskDefinition": 1}
    registered = fake.client("ecs").describe_task_definition(taskDefinition=wanted["family"])
    assert registered["taskDefinition"]["volumes"] == wanted["volumes"]


async def test_many_who_want_the_same_share_one_call(
    fake: FakeAws, definitions: Definitions
) -> None:
    families = await asyncio.gather(*(definitions.ensure(definition()) for _ in range(50)))
    assert set(families) == {definition()["family"]}
    assert fake.calls["RegisterTaskDefinition"] == 1
    assert fake.calls["ListTaskDefinitionFamilies"] == 1


async def test_next_hub_process_finds_them_all_and_registers_none(fake: FakeAws) -> None:
    fake.buckets.on = False
    for user in range(250):
        fake.client("ecs").register_task_definition(**definition(user))
    other = replace(ECS, installation="f" * 32)
    fake.client("ecs").register_task_definition(
        **task_definition(TaskSpec("user-0", "", "s", "i", 1, 2**30, "fsap-0"), other)
    )
    fake.buckets.on = True
    fake.reset_counters()
    restarted = Definitions(api_on(fake))
    await restarted.load()
    assert fake.calls == {"ListTaskDefinitionFamilies": 3}
    for user in range(250):
        await restarted.ensure(definition(user))
    assert fake.calls == {"ListTaskDefinitionFamilies": 3}


async def test_one_that_somebody_deregistered_is_registered_again(
    fake: FakeAws, definitions: Definitions
) -> None:
    wanted = definition()
    await definitions.ensure(wanted)
    fake.client("ecs").deregister_task_definition(taskDefinition=f"{wanted['family']}:1")
    # RunTask says so to this hub; a later one does not see it in the list.
    definitions.forget(wanted["family"])
    await definitions.ensure(wanted)
    assert fake.calls["RegisterTaskDefinition"] == 2
    fake.client("ecs").deregister_task_definition(taskDefinition=f"{wanted['family']}:2")
    await Definitions(api_on(fake)).ensure(wanted)
    assert fake.calls["RegisterTaskDefinition"] == 3


async def test_another_image_is_another_definition(fake: FakeAws, definitions: Definitions) -> None:
    await definitions.ensure(definition(0, "notebook:1"))
    await definitions.ensure(definition(0, "notebook:2"))
    assert fake.calls["RegisterTaskDefinition"] == 2


# -- the list of those there are -----------------------------------------------------


@pytest.mark.parametrize("code", ["", "AccessDeniedException", "ServerException"])
async def test_without_the_list_it_is_registered_again(
    fake: FakeAws, definitions: Definitions, code: str
) -> None:
    await Definitions(api_on(fake)).ensure(definition())
    with fake.suffering(FamiliesFail(code)):
        await definitions.ensure(definition())
    assert fake.calls["RegisterTaskDefinition"] == 2
    assert loop_time() < 2


async def test_a_start_does_not_wait_long_for_a_list_that_does_not_come(
    fake: FakeAws, definitions: Definitions
) -> None:
    fake.suffer(FamiliesFail("ThrottlingException"))
    began = loop_time()
    await definitions.ensure(definition())
    assert 14 < loop_time() - began < 17


async def test_the_list_is_asked_for_again_until_it_comes(
    fake: FakeAws, definitions: Definitions
) -> None:
    await Definitions(api_on(fake)).ensure(definition(7))
    day = FamiliesFail()
    fake.suffer(day)
    loading = asyncio.create_task(definitions.load())
    await asyncio.sleep(1800)
    assert not loading.done()
    # Every minute at most, and without end.
    assert 1800 / 60 < fake.calls["ListTaskDefinitionFamilies"] < 100
    fake.relieve(day)
    await asyncio.wait_for(loading, 61)
    fake.reset_counters()
    await definitions.ensure(definition(7))
    assert not fake.calls


async def test_loading_can_be_cancelled_and_begun_anew(
    fake: FakeAws, definitions: Definitions
) -> None:
    day = FamiliesFail()
    fake.suffer(day)
    loading = asyncio.create_task(definitions.load())
    await asyncio.sleep(5)
    loading.cancel()
    await asyncio.sleep(600)
    calls = fake.calls["ListTaskDefinitionFamilies"]
    assert calls < 10
    fake.relieve(day)
    await definitions.load()
    assert fake.calls["ListTaskDefinitionFamilies"] == calls + 1


# -- waiting for it ------------------------------------------------------------------


async def test_a_thousand_new_users_wait_as_long_as_aws_makes_them_and_none_fails(
    fake: FakeAws, definitions: Definitions
) -> None:
    await definitions.load()
    began = loop_time()
    await asyncio.gather(*(definitions.ensure(definition(user)) for user in range(1000)))
    bound = (1000 - 20) / 1
    assert bound - 1 <= loop_time() - began <= bound * 1.01 + 2
    assert fake.calls["RegisterTaskDefinition"] - fake.throttled["RegisterTaskDefinition"] == 1000
    assert fake.throttled["RegisterTaskDefinition"] <= 10


async def test_somebody_elses_throttling_is_waited_for(
    fake: FakeAws, definitions: Definitions
) -> None:
    fake.suffer(RegisterThrottled(600))
    began = loop_time()
    await asyncio.gather(*(definitions.ensure(definition(user)) for user in range(30)))
    assert 600 <= loop_time() - began < 660


async def test_who_gives_up_gives_the_place_in_line_to_the_next(
    fake: FakeAws, definitions: Definitions
) -> None:
    await definitions.load()
    starts = [asyncio.create_task(definitions.ensure(definition(user))) for user in range(121)]
    await asyncio.sleep(0.5)
    for start in starts[20:120]:
        start.cancel()
    await starts[120]
    assert loop_time() < 3
    await asyncio.sleep(200)
    assert fake.calls["RegisterTaskDefinition"] == 21


async def test_who_gives_up_takes_it_from_nobody_who_waits_for_the_same(
    fake: FakeAws, definitions: Definitions
) -> None:
    await asyncio.gather(*(definitions.ensure(definition(user)) for user in range(20)))
    first, second = (asyncio.create_task(definitions.ensure(definition("x"))) for _ in range(2))
    await asyncio.sleep(0.1)
    first.cancel()
    assert await second == definition("x")["family"]
    assert fake.calls["RegisterTaskDefinition"] == 21


async def test_what_aws_refuses_is_raised_and_tried_again_next_time(
    fake: FakeAws, definitions: Definitions
) -> None:
    with fake.suffering(RefusesFamiliesOf("user-3-")), pytest.raises(Refused, match="Invalid"):
        await asyncio.gather(*(definitions.ensure(definition(3)) for _ in range(5)))
    assert await definitions.ensure(definition(3)) == definition(3)["family"]


async def test_a_short_outage_is_not_noticed_and_a_long_one_is_told(
    fake: FakeAws, definitions: Definitions
) -> None:
    await definitions.load()
    # Back-off waits 0.1, 0.2 and 0.4 seconds at least.
    with fake.suffering(NetworkGone(0.6)):
        await definitions.ensure(definition(1))
    with fake.suffering(NetworkGone()), pytest.raises(AwsUnreachable):
        await definitions.ensure(definition(2))
    with fake.suffering(CredentialsExpired()), pytest.raises(Denied):
        await definitions.ensure(definition(2))
    assert await definitions.ensure(definition(2)) == definition(2)["family"]


# -- ahead of time -------------------------------------------------------------------


async def test_prewarmed_users_cost_no_call_when_they_start(
    fake: FakeAws, definitions: Definitions, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await definitions.prewarm(definition(u, i) for u in range(50) for i in ("a:1", "b:1"))
    assert fake.calls["RegisterTaskDefinition"] == 100
    await definitions.prewarm(definition(u, i) for u in range(50) for i in ("a:1", "b:1", "b:2"))
    assert fake.calls["RegisterTaskDefinition"] == 150
    for user in range(50):
        await definitions.ensure(definition(user, "b:2"))
    assert fake.calls["RegisterTaskDefinition"] == 150
    lines = [r.message for r in caplog.records if "ahead of the next starts" in r.message]
    assert lines[-1].endswith("150 needed, 50 registered, 0 refused")


async def test_users_may_come_one_by_one(fake: FakeAws, definitions: Definitions) -> None:
    async def users() -> AsyncIterator[Request]:
        for user in range(3):
            await asyncio.sleep(10)
            yield definition(user)

    await definitions.prewarm(users())
    assert fake.calls["RegisterTaskDefinition"] == 3


async def test_prewarming_never_keeps_a_person_waiting(
    fake: FakeAws, definitions: Definitions
) -> None:
    background = asyncio.create_task(definitions.prewarm(definition(u) for u in range(1000)))
    await asyncio.sleep(200)
    assert not background.done()
    # Half of the bucket is theirs at any moment.
    began = loop_time()
    await asyncio.gather(*(definitions.ensure(definition(f"live-{n}")) for n in range(10)))
    assert loop_time() - began < 0.1
    before = fake.calls["RegisterTaskDefinition"]
    await asyncio.gather(*(definitions.ensure(definition(f"more-{n}")) for n in range(60)))
    assert loop_time() - began <= 61
    assert fake.calls["RegisterTaskDefinition"] - before <= 61
    await background
    assert fake.calls["RegisterTaskDefinition"] == 1070


async def test_a_person_overtakes_the_background_with_her_own_definition(
    fake: FakeAws, definitions: Definitions
) -> None:
    await asyncio.gather(*(definitions.ensure(definition(user)) for user in range(20)))
    background = asyncio.create_task(definitions.prewarm([definition("ada")]))
    await asyncio.sleep(0.1)
    began = loop_time()
    assert await definitions.ensure(definition("ada")) == definition("ada")["family"]
    assert loop_time() - began < 2  # in the background it would be 10 until the bucket is half full
    await asyncio.wait_for(background, 1)
    assert fake.calls["RegisterTaskDefinition"] == 21


@pytest.mark.parametrize("day", [RegisterThrottled, NetworkGone, CredentialsExpired])
async def test_prewarming_survives(fake: FakeAws, definitions: Definitions, day: Any) -> None:
    await definitions.load()
    fake.suffer(day(3600))
    await asyncio.wait_for(definitions.prewarm(definition(u) for u in range(40)), 3600 + 180)
    # Cheaply: far fewer calls than the bucket has for an hour.
    assert 40 < fake.calls["RegisterTaskDefinition"] < 600
    fake.reset_counters()
    for user in range(40):
        await definitions.ensure(definition(user))
    assert not fake.calls


async def test_prewarming_leaves_out_what_aws_refuses(
    fake: FakeAws, definitions: Definitions, caplog: pytest.LogCaptureFixture
) -> None:
    fake.suffer(RefusesFamiliesOf("user-1-"))
    caplog.set_level(logging.INFO)
    await definitions.prewarm(definition(user) for user in range(3))
    assert "3 needed, 2 registered, 1 refused" in caplog.messages[-1]
    assert any("user-1-" in record.message for record in caplog.records if record.levelno >= 40)


async def test_prewarming_can_be_ended(fake: FakeAws, definitions: Definitions) -> None:
    background = asyncio.create_task(definitions.prewarm(definition(u) for u in range(1000)))
    await asyncio.sleep(100)
    background.cancel()
    with pytest.raises(asyncio.CancelledError):
        await background
    calls = fake.calls["RegisterTaskDefinition"]
    await asyncio.sleep(100)
    assert fake.calls["RegisterTaskDefinition"] == calls


async def test_thousands_of_known_ones_do_not_block_the_event_loop(
    definitions: Definitions,
) -> None:
    known = definition()
    await definitions.ensure(known)
    rounds = 0

    async def others() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(others())
    await definitions.prewarm([known] * 2000)
    other.cancel()
    assert rounds >= 2000


async def test_who_must_wait_for_a_registration_hears_her_place(definitions: Definitions) -> None:
    places: list[int] = []
    waiting = [asyncio.create_task(definitions.ensure(definition(user))) for user in range(25)]
    last = definitions.ensure(definition("last"), moved=places.append)
    await asyncio.gather(*waiting, last)
    # 20 go at once; five and she wait a second each.
    assert places[0] == 6
    assert places[-1] == 0
    assert places == sorted(places, reverse=True)
