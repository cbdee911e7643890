"""One small day, computed by hand: every wait, the group's size minute by minute, every cent.

Five people; a machine holds two servers and costs 1 dollar an hour. A server ends half an hour
after its last use. Managed scaling looks at every full minute, a machine takes 90 s to launch, a
server 10 s to start where there is one.

    person  clicks    uses   last use  ends      machine
    ann     08:00:30  30 min 08:30:30  09:01:00  0: it is new      (09:00:30, and the next check)
    bob     08:00:40  10 min 08:10:40  08:41:00  0: has room
    cleo    08:01:10  20 min 08:21:10  08:52:00  1: 0 is full
    dan     08:30:00   5 min 08:35:00  09:05:00  1: has room
    eve     08:45:20  10 min 08:55:20  09:26:00  0: bob is gone

So machine 0 is needed from 08:00:30 to 09:26:00 and machine 1 from 08:01:10 to 09:05:00.

And one night, of a trace or of every day:

    ann     23:30:30  10 min 23:40:30  00:11:00  0
"""

from __future__ import annotations

from typing import Any

import pytest

from workroom_hub.plan.study import Study, study
from workroom_hub.plan.visits import Visit
from workroom_hub.settings import Settings

EIGHT = 8 * 3600
ANN, BOB, CLEO, DAN, EVE = "ann", "bob", "cleo", "dan", "eve"
VISITS = [
    Visit(ANN, EIGHT + 30, "one", 30 * 60),
    Visit(BOB, EIGHT + 40, "one", 10 * 60),
    Visit(CLEO, EIGHT + 70, "one", 20 * 60),
    Visit(DAN, EIGHT + 30 * 60, "one", 5 * 60),
    Visit(EVE, EIGHT + 45 * 60 + 20, "one", 10 * 60),
]
HALF_PAST_ELEVEN = 23 * 3600 + 30 * 60
NIGHT = [Visit(ANN, HALF_PAST_ELEVEN + 30, "one", 10 * 60)]


def planned(
    policy: dict[str, Any],
    *,
    visits: list[Visit] = VISITS,
    daily: bool = False,
    stop_after: str = "30m",
    deadline: str = "30m",
    **assumed: Any,
) -> Study:
    """Simulate the day under one policy; disks cost nothing unless they are given a price."""
    return study(
        Settings.model_validate(
            {
                "profiles": [{"name": "one", "title": "One", "cpu": 1, "memory": "1G"}],
                "idle": {"stop_after": stop_after, "check_every": 60},
                "ecs": {"capacity_timeout": deadline},
                "plan": {
                    "target_wait": "1d",  # whatever it is: this one is recommended
                    "machine": {"type": "mine", "cpu": 2, "memory": "2G", "tasks": 20},
                    "policies": [{"name": "mine", **policy}],
                    "assumptions": {
                        "price": 1.0,
                        "disk_price": 0,
                        "memory_kept": 0,
                        "new_definitions": 0,
                        "evaluate_every": 60,
                        "instance_warmup": 60,
                        "scale_in_after": "15m",
                        "instance_launch": 90,
                        "warm_start": 30,
                        "task_start": 10,
                        "terminate": 60,
                        "prepare": "5m",
                        **assumed,
                    },
                },
            }
        ),
        visits,
        daily=daily,
    )


def waits(found: Study) -> dict[str, float]:
    """Return each person's wait."""
    of_server = zip(found.world.starts, found.results[0].outcome.waits, strict=True)
    return {server.user: wait for server, wait in of_server}


def sizes(found: Study) -> list[tuple[str, int]]:
    """Return when the group's size changed, and to what."""
    changes: list[tuple[str, int]] = []
    for sample in found.results[0].outcome.samples:
        if not changes or changes[-1][1] != sample.group:
            hours, minutes = divmod(int(sample.at) // 60, 60)
            changes.append((f"{hours:02d}:{minutes:02d}", sample.group))
    return changes


def test_ends_and_machines_are_those_of_the_table() -> None:
    world = planned({}).world
    assert [server.end for server in world.servers] == [
        9 * 3600 + 1 * 60,
        EIGHT + 41 * 60,
        EIGHT + 52 * 60,
        9 * 3600 + 5 * 60,
        9 * 3600 + 26 * 60,
    ]
    assert world.packed.machine == [0, 0, 1, 1, 0]
    assert world.packed.peak == 2


def test_without_headroom() -> None:
    found = planned({})
    # 08:01:00: one machine is needed and there is none, and from none ECS takes two. They are ready
    # at 08:02:30, and servers on them answer 10 s later, at 08:02:40.
    assert waits(found) == {
        ANN: 130,  # 08:02:40 - 08:00:30
        BOB: 120,  # 08:02:40 - 08:00:40
        CLEO: 90,  # 08:02:40 - 08:01:10: hers is the second of the two
        DAN: 10,
        EVE: 10,
    }
    # From 09:05 one is too many: 16 looks, 09:05 to 09:20, say so. From 09:26 both are: 09:41.
    assert sizes(found) == [("00:00", 0), ("08:01", 2), ("09:20", 1), ("09:41", 0)]
    # 2 machines * 79 min + 1 * 21 min = 179 min, and 2 * 1 min to shut down: 181 min at 1 $/h.
    assert found.results[0].cost == pytest.approx(181 / 60)
    assert found.results[0].machine_hours == pytest.approx(181 / 60)
    # Sorted: 10, 10, 90, 120, 130. The third of five is the median; 95 and 99 % of five is the 5th.
    assert [found.results[0].p50, found.results[0].p95, found.results[0].p99] == [90, 130, 130]


def test_with_room_for_two_more() -> None:
    found = planned({"spare": 2})
    # One machine more than needed, always. At night that is one, where ann and bob start at once.
    # 08:01:00: one is needed, so two are wanted; the second is ready at 08:02:30 for cleo.
    assert waits(found) == {ANN: 10, BOB: 10, CLEO: 90, DAN: 10, EVE: 10}
    # 08:02:00: two are needed, three wanted. 09:05 to 09:20: one needed, two wanted. 09:26: one.
    assert sizes(found) == [("00:00", 1), ("08:01", 2), ("08:02", 3), ("09:20", 2), ("09:41", 1)]
    # 1 * 481 min + 2 * 1 + 3 * 78 + 2 * 21 + 1 * 859 (until midnight) = 1618 min, and 2 * 1 min.
    assert found.results[0].cost == pytest.approx(1620 / 60)


def test_with_a_target_of_half() -> None:
    found = planned({"target": 50})
    # Twice the machines needed: none at night, so ann and bob wait like without headroom.
    # 08:01:00: one is needed, 1 / 0.5 = 2 wanted, ready at 08:02:30. 08:02:00: 2 needed, 4 wanted.
    assert waits(found) == {ANN: 130, BOB: 120, CLEO: 90, DAN: 10, EVE: 10}
    # 09:20: 2 wanted since 09:05, and a step takes half of 4 at most: 2 at once. 09:41: none wanted
    # since 09:26, half of 2 is 1; and 09:42 the last.
    assert sizes(found) == [
        ("00:00", 0),
        ("08:01", 2),
        ("08:02", 4),
        ("09:20", 2),
        ("09:41", 1),
        ("09:42", 0),
    ]
    # 2 * 1 min + 4 * 78 + 2 * 21 + 1 * 1 = 357 min, and 4 * 1 min to shut down.
    assert found.results[0].cost == pytest.approx(361 / 60)


def test_with_a_warm_pool() -> None:
    found = planned({"warm_pool": 100}, disk="100G", disk_price=0.08)
    # The peak needs two, so two are prepared. 08:01:00: both start, ready at 08:01:30.
    assert waits(found) == {ANN: 70, BOB: 60, CLEO: 30, DAN: 10, EVE: 10}
    assert found.results[0].outcome.prepared == 2
    # Machines as without headroom, 181 min. Each of the two that went is prepared anew: 2 * 5 min.
    machines = 191 / 60
    # Disks: two all day in pool or group, 48 h, and 2 * 1 min of shut-down; a month has 730.5 h.
    disks = (48 + 2 / 60) * 100 * 0.08 / 730.5
    assert found.results[0].cost == pytest.approx(machines + disks)


def test_where_the_image_is_pulled() -> None:
    found = planned({}, pre_pulled=False, image_pull=40)
    # A machine pulls when its first task is there, at 08:02:30: 40 s more for the first three.
    assert waits(found) == {ANN: 170, BOB: 160, CLEO: 130, DAN: 10, EVE: 10}


def test_a_warm_up_of_five_minutes() -> None:
    found = planned({}, instance_warmup=300)
    # Steps up at 08:00 and 08:05 only: ready at 08:06:30, all three answer at 08:06:40.
    assert waits(found) == {ANN: 370, BOB: 360, CLEO: 330, DAN: 10, EVE: 10}


def test_one_task_at_a_time_may_wait() -> None:
    found = planned({}, provisioning_limit=1)
    # ECS takes ann's; bob's and cleo's wait in the hub until she has her machine, at 08:02:30. Bob
    # is on the same, and the second of the two is there for cleo.
    assert waits(found) == {ANN: 130, BOB: 120, CLEO: 90, DAN: 10, EVE: 10}
    assert found.results[0].outcome.most_provisioning == 1


def test_the_hub_gives_a_start_up_after_half_an_hour() -> None:
    found = planned({}, instance_launch="50m")
    # Launched at 08:01:00, ready at 08:51:00: the first three are told after 30 minutes. Dan's is
    # there at 08:51:10, 21 min 10 s after his click; eve's, 5 min 50 s after hers.
    told = {ANN: 1800, BOB: 1800, CLEO: 1800, DAN: 21 * 60 + 10, EVE: 5 * 60 + 50}
    assert waits(found) == told
    assert found.results[0].outcome.gave_up == 3


def test_whose_server_would_end_before_it_starts_gives_up() -> None:
    found = planned({}, deadline="1h", instance_launch="50m")
    # Bob's would have ended at 08:41:00, and so he waited 40 min 20 s for nothing.
    assert waits(found)[BOB] == 41 * 60 - 40
    # Ann's is there at 08:51:10, and cleo's, which ends at 08:52:00.
    assert waits(found)[ANN] == 51 * 60 + 10 - 30
    assert waits(found)[CLEO] == 51 * 60 + 10 - 70
    assert found.results[0].outcome.gave_up == 1


@pytest.mark.parametrize("daily", [False, True])
def test_who_clicks_before_midnight_is_paid_to_the_end(daily: bool) -> None:
    found = planned({}, visits=NIGHT, daily=daily)
    # 23:31:00: two from none, ready at 23:32:30, and she has hers at 23:32:40.
    assert waits(found) == {ANN: 130}
    # The second is too many from 23:32 on, which 16 looks say at 23:47. From 00:11, when her server
    # ends, the first is: 00:26.
    after_midnight = [("00:00", 1), ("00:26", 0)] if daily else [("00:00", 0)]
    assert sizes(found) == [*after_midnight, ("23:31", 2), ("23:47", 1)]
    # 2 * 16 min + 13 min until midnight and 26 after it = 71 min, and 2 * 1 min to shut down.
    assert found.results[0].cost == pytest.approx(73 / 60)


@pytest.mark.parametrize("daily", [False, True])
def test_the_night_of_a_machine_that_is_always_there_is_paid_once(daily: bool) -> None:
    found = planned({"minimum": 1}, visits=NIGHT, daily=daily)
    assert waits(found) == {ANN: 10}
    assert found.results[0].cost == pytest.approx(24)


@pytest.mark.parametrize("daily", [False, True])
def test_a_warm_pool_is_paid_across_midnight(daily: bool) -> None:
    found = planned({"warm_pool": 100}, visits=NIGHT, daily=daily, disk="100G", disk_price=0.08)
    # One is prepared: ready at 23:31:30. Machines as without it, and 5 min to prepare it anew.
    assert waits(found) == {ANN: 70}
    # Disks: the prepared one's all day, in pool or group; the second's 16 min; 2 * 1 min.
    disks = (24 + 18 / 60) * 100 * 0.08 / 730.5
    assert found.results[0].cost == pytest.approx(78 / 60 + disks)
    # It is out of the pool from 23:31 to 00:26.
    assert found.results[0].outcome.pooled == 24 * 3600 - 55 * 60


@pytest.mark.parametrize("daily", [False, True])
def test_midnight_cuts_no_wait(daily: bool) -> None:
    late = [Visit(ANN, 24 * 3600 - 30, "one", 10 * 60)]
    found = planned({}, visits=late, daily=daily)
    # 24:00:00: the next look. Ready at 00:01:30, hers at 00:01:40: 2 min 10 s after 23:59:30.
    assert waits(found) == {ANN: 130}
    assert found.results[0].outcome.gave_up == 0


def test_every_day_she_finds_the_server_of_the_evening_before() -> None:
    # 23:50:30 and 10 minutes after midnight, when hers runs until 00:31:00. In a trace the first
    # line is the first that is known of her: she starts a server.
    visits = [Visit(ANN, 10 * 60, "one", 60), Visit(ANN, HALF_PAST_ELEVEN + 1230, "one", 10 * 60)]
    assert len(planned({}, visits=visits).results[0].outcome.waits) == 2
    daily = planned({}, visits=visits, daily=True)
    assert [server.click for server in daily.world.starts] == [24 * 3600 + visits[1].start]
    assert waits(daily) == {ANN: 130}
    # It ends half an hour after 00:11:00, at 00:41:00, and its machine goes at 00:56. 2 machines
    # from 23:51 for 16 min are past midnight as well: 2 * 16 min + 49 min and 2 * 1 min.
    assert daily.results[0].cost == pytest.approx(83 / 60)


def test_servers_that_never_end_are_paid_all_day_every_day() -> None:
    daily = planned({}, visits=NIGHT, daily=True, stop_after="0s")
    # The server of the day before is still there: nobody starts one, and one machine stays.
    assert daily.results[0].outcome.waits == []
    assert daily.results[0].p95 == 0
    assert daily.results[0].cost == pytest.approx(24)
    # A trace has no end then, so its last midnight is one: 2 * 16 min + 13 min, and 1 to shut down.
    trace = planned({}, visits=NIGHT, stop_after="0s")
    assert trace.results[0].cost == pytest.approx(46 / 60)
