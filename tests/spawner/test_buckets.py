"""Token buckets on virtual time: who gets which token when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from workroom_spawner.buckets import Priority, TokenBucket, Turn
from workroom_spawner.ecs_settings import Bucket

STOP, LIVE, BACKGROUND = Priority.STOP, Priority.LIVE, Priority.BACKGROUND


class Granted:
    """Writes down who was granted a token, in order, with the loop time."""

    def __init__(self) -> None:
        self.who: list[object] = []
        self.when: list[float] = []
        self.tasks: list[asyncio.Task[None]] = []

    def wait(self, turn: Turn, who: object = None) -> asyncio.Task[None]:
        async def note() -> None:
            await turn
            self.who.append(who)
            self.when.append(asyncio.get_running_loop().time())

        task = asyncio.create_task(note())
        self.tasks.append(task)
        return task

    async def all(self) -> None:
        await asyncio.gather(*self.tasks)


@pytest.fixture
def granted() -> Granted:
    return Granted()


def now() -> float:
    return asyncio.get_running_loop().time()


def empty(bucket: TokenBucket, tokens: int) -> None:
    """Take what a full bucket has."""
    for _ in range(tokens):
        assert bucket.line_up(LIVE).place == 0


@pytest.mark.looptime
async def test_a_thousand_at_once_get_the_burst_and_then_the_rate(granted: Granted) -> None:
    bucket = TokenBucket(Bucket(100, 40))
    for number in range(1000):
        granted.wait(bucket.line_up(LIVE), number)
    await granted.all()
    assert granted.who == list(range(1000))
    assert granted.when[99] == 0
    expected = [0.0] * 100 + [n / 40 for n in range(1, 901)]
    assert granted.when == pytest.approx(expected, abs=0.01)


@pytest.mark.looptime
async def test_one_timer_serves_a_line_of_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = TokenBucket(Bucket(1, 1))
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []
    call_at = loop.call_at

    def counted(*args: object, **kwargs: object) -> asyncio.TimerHandle:
        timers.append(call_at(*args, **kwargs))  # type: ignore[arg-type]
        return timers[-1]

    monkeypatch.setattr(loop, "call_at", counted)
    for _ in range(1000):
        bucket.line_up(LIVE)
    assert len(timers) == 1


@pytest.mark.looptime
async def test_a_bucket_that_rested_holds_the_burst_and_no_more(granted: Granted) -> None:
    bucket = TokenBucket(Bucket(3, 1))
    empty(bucket, 3)
    await asyncio.sleep(3600)
    for _ in range(5):
        granted.wait(bucket.line_up(LIVE))
    await granted.all()
    assert granted.when == pytest.approx([3600, 3600, 3600, 3601, 3602], abs=0.01)


@pytest.mark.looptime
async def test_stops_go_before_spawns_and_spawns_before_the_rest(granted: Granted) -> None:
    bucket = TokenBucket(Bucket(2, 1))
    empty(bucket, 2)
    for number in range(2):
        for priority in (BACKGROUND, LIVE, STOP):
            granted.wait(bucket.line_up(priority), (priority, number))
    await granted.all()
    assert granted.who == [
        (STOP, 0),
        (STOP, 1),
        (LIVE, 0),
        (LIVE, 1),
        (BACKGROUND, 0),
        (BACKGROUND, 1),
    ]


@pytest.mark.looptime
async def test_background_takes_only_what_would_run_over(granted: Granted) -> None:
    bucket = TokenBucket(Bucket(20, 1))
    for _ in range(30):
        granted.wait(bucket.line_up(BACKGROUND), "background")
    await asyncio.sleep(4.5)
    assert len(granted.when) == 5
    # A burst of spawns finds all of the bucket but one token; only then background goes on.
    for _ in range(20):
        granted.wait(bucket.line_up(LIVE), "spawn")
    await granted.all()
    assert granted.when[:5] == pytest.approx([0, 1, 2, 3, 4], abs=0.01)
    assert granted.who[5:25] == ["spawn"] * 20
    assert granted.when[5:25] == pytest.approx([4.5] * 19 + [5], abs=0.01)
    assert granted.when[25:28] == pytest.approx([25, 26, 27], abs=0.02)


@pytest.mark.looptime
async def test_background_never_delays_a_spawn_by_more_than_one_token(granted: Granted) -> None:
    """Spawns beside a long background line against the same spawns alone."""

    async def spawns(bucket: TokenBucket) -> list[float]:
        seen = Granted()
        begun = now()
        for pause in (0, 0, 0.3, 0.5, 2.2, 1.1, 0, 0, 5, 0.1, 30, 0, 0, 0, 0, 0.7, 0.7):
            await asyncio.sleep(pause)
            seen.wait(bucket.line_up(LIVE))
        await seen.all()
        return [when - begun for when in seen.when]

    alone = await spawns(TokenBucket(Bucket(4, 1)))
    bucket = TokenBucket(Bucket(4, 1))
    behind = [bucket.line_up(BACKGROUND) for _ in range(1000)]
    beside = await spawns(bucket)
    assert max(b - a for a, b in zip(alone, beside, strict=True)) <= 1 + 0.01
    assert sum(turn.place == 0 for turn in behind) > 10  # the comparison was one


@pytest.mark.looptime
async def test_places_count_down_and_hold_for_all_priorities() -> None:
    bucket = TokenBucket(Bucket(1, 1))
    empty(bucket, 1)
    background, first, second = (bucket.line_up(p) for p in (BACKGROUND, LIVE, LIVE))
    assert (first.place, second.place, background.place) == (1, 2, 3)
    stop = bucket.line_up(STOP)
    assert (stop.place, first.place, second.place, background.place) == (1, 2, 3, 4)
    assert (bucket.waiting(), bucket.waiting(LIVE), bucket.waiting(STOP)) == (4, 2, 1)
    await asyncio.sleep(2.01)
    assert (stop.place, first.place, second.place, background.place) == (0, 0, 1, 2)


@pytest.mark.looptime
async def test_ten_thousand_wait_and_everybody_may_read_her_place() -> None:
    bucket = TokenBucket(Bucket(10, 40))
    empty(bucket, 10)
    begun = time.process_time()
    turns = [bucket.line_up(LIVE) for _ in range(10_000)]
    assert [turn.place for turn in turns] == list(range(1, 10_001))
    for turn in turns[1::2]:
        turn.cancel()
    assert [turn.place for turn in turns[::2]] == list(range(1, 5_001))
    await asyncio.gather(*turns[::2])
    spent = time.process_time() - begun
    assert now() == pytest.approx(5_000 / 40, abs=0.1)
    assert bucket.waiting() == 0
    assert spent < 5, "about 0.3 s; a line that is searched from its start takes minutes"


@pytest.mark.looptime
async def test_who_is_cancelled_gives_place_and_token_to_the_next(granted: Granted) -> None:
    bucket = TokenBucket(Bucket(1, 1))
    empty(bucket, 1)
    waiting = [granted.wait(bucket.line_up(LIVE), number) for number in range(4)]
    await asyncio.sleep(0.5)
    waiting[0].cancel()
    waiting[2].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert granted.who == [1, 3]
    assert granted.when == pytest.approx([1, 2], abs=0.01)


@pytest.mark.looptime
async def test_a_token_granted_and_not_taken_is_not_lost(granted: Granted) -> None:
    bucket = TokenBucket(Bucket(1, 1))
    mine = bucket.line_up(LIVE)
    hers = bucket.line_up(LIVE)
    assert (mine.place, hers.place) == (0, 1)
    mine.cancel()
    assert hers.place == 0
    await hers
    assert now() == 0


@pytest.mark.looptime
async def test_a_task_cancelled_in_the_very_moment_of_its_grant_gives_it_back() -> None:
    bucket = TokenBucket(Bucket(1, 1))
    first, mine, hers = (bucket.line_up(LIVE) for _ in range(3))
    task = asyncio.create_task(mine.granted())
    await asyncio.sleep(0)
    first.cancel()
    assert (mine.place, hers.place) == (0, 1)  # granted, and its task has not run since
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert hers.place == 0


@pytest.mark.looptime
async def test_a_task_cancelled_just_before_its_grant_is_passed_over() -> None:
    bucket = TokenBucket(Bucket(1, 1))
    first, mine, hers = (bucket.line_up(LIVE) for _ in range(3))
    task = asyncio.create_task(mine.granted())
    await asyncio.sleep(0)
    task.cancel()  # which it learns in the next round of the loop
    first.cancel()
    assert hers.place == 0
    await asyncio.gather(task, return_exceptions=True)
    assert bucket.waiting() == 0


@pytest.mark.looptime
async def test_taken_tokens_cannot_be_given_back() -> None:
    bucket = TokenBucket(Bucket(1, 1))
    turn = bucket.line_up(LIVE)
    await turn
    turn.cancel()
    assert bucket.line_up(LIVE).place == 1


@pytest.mark.looptime
async def test_a_turn_given_up_raises_where_it_is_waited_for() -> None:
    bucket = TokenBucket(Bucket(1, 1))
    empty(bucket, 1)
    turn = bucket.line_up(LIVE)
    task = asyncio.create_task(turn.granted())
    await asyncio.sleep(0.1)
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bucket.waiting() == 0


@pytest.mark.looptime
async def test_drained_the_whole_line_waits_and_the_throttled_call_is_first(
    granted: Granted,
) -> None:
    bucket = TokenBucket(Bucket(100, 1))
    turn = bucket.line_up(LIVE)
    await turn
    bucket.drain()
    granted.wait(bucket.line_up(LIVE), "later")
    granted.wait(turn.again(), "throttled")
    await granted.all()
    assert granted.who == ["throttled", "later"]
    assert granted.when == pytest.approx([1, 2], abs=0.01)


@pytest.mark.looptime
async def test_who_waits_is_told_about_once_a_second() -> None:
    bucket = TokenBucket(Bucket(2, 10))
    empty(bucket, 2)
    ahead = [bucket.line_up(LIVE) for _ in range(30)]
    told: list[tuple[float, int]] = []
    turn = bucket.line_up(LIVE)
    await asyncio.sleep(0.05)
    turn.on_move(lambda place: told.append((round(now(), 2), place)))
    await turn
    await asyncio.sleep(10)
    assert told == [(1.05, 21), (2.05, 11), (3.05, 1), (3.1, 0)]
    assert all(not each.place for each in ahead)


@pytest.mark.looptime
async def test_a_listener_that_raises_harms_nobody() -> None:
    bucket = TokenBucket(Bucket(1, 1))
    empty(bucket, 1)
    told: list[int] = []

    def broken(_: int) -> None:
        raise RuntimeError("a page is gone")

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    callbacks: list[Callable[[int], None]] = [broken, told.append]
    turns = [bucket.line_up(LIVE) for _ in range(2)]
    for turn, callback in zip(turns, callbacks, strict=True):
        turn.on_move(callback)
    await asyncio.gather(*turns)
    await asyncio.sleep(0)
    assert told == [1, 0]


@pytest.mark.looptime
async def test_telling_thousands_never_holds_the_loop_for_long() -> None:
    bucket = TokenBucket(Bucket(2, 40))
    empty(bucket, 2)
    rounds: list[int] = []  # calls in each round of the event loop in which there were any
    counting: list[asyncio.Task[None]] = []

    async def count_rounds() -> None:
        empty_rounds = 0
        while empty_rounds < 3:
            rounds.append(0)
            await asyncio.sleep(0)
            empty_rounds = 0 if rounds[-1] else empty_rounds + 1

    def told(place: int) -> None:
        if bucket.waiting() < 1000:
            return
        if not counting or counting[-1].done():
            counting.append(asyncio.create_task(count_rounds()))
            rounds.append(0)
        rounds[-1] += 1

    for _ in range(2000):
        bucket.line_up(LIVE).on_move(told)
    await asyncio.sleep(26)  # half are granted, and told so one by one
    assert max(rounds) <= 60
    assert 5_000 < sum(rounds) <= (500 + 40) * 25 + 2000


async def test_a_bucket_that_never_fills_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        TokenBucket(Bucket(10, 0))
