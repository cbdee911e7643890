"""The turnstile before JupyterHub's own part of a start."""

from __future__ import annotations

import asyncio

import pytest

from workroom_hub.turnstile import Pass, Turnstile


async def rounds(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_only_a_few_get_in_in_one_round_of_the_loop_although_each_leaves_at_once() -> None:
    turnstile, inside = Turnstile(2), 0

    async def start() -> None:
        nonlocal inside
        passed = await turnstile.enter()
        inside += 1
        passed.leave()

    starts = [asyncio.ensure_future(start()) for _ in range(20)]
    before = 0
    while inside < 20:
        await rounds(1)
        assert inside - before <= 2
        before = inside
    await asyncio.gather(*starts)


async def test_first_come_first_served_and_who_gives_up_holds_up_nobody() -> None:
    turnstile, order = Turnstile(1), []

    async def start(name: str) -> Pass:
        passed = await turnstile.enter()
        order.append(name)
        return passed

    first = await start("first")
    others = [asyncio.ensure_future(start(name)) for name in ("second", "third")]
    await rounds(2)
    assert turnstile.waiting == 2
    others[0].cancel()
    first.leave()
    first.leave()
    (await others[1]).leave()
    await rounds(2)
    assert order == ["first", "third"]
    (await asyncio.wait_for(start("fourth"), 1)).leave()


@pytest.mark.looptime
async def test_one_that_stays_inside_holds_up_the_others_for_a_moment_only() -> None:
    turnstile = Turnstile(1)
    await turnstile.enter()
    begin = asyncio.get_running_loop().time()
    await turnstile.enter()
    assert asyncio.get_running_loop().time() - begin == pytest.approx(0.25, abs=0.01)


async def test_a_cancelled_start_that_had_been_let_in_passes_it_on() -> None:
    turnstile = Turnstile(1)
    first = await turnstile.enter()
    second = asyncio.ensure_future(turnstile.enter())
    await rounds(1)
    first.leave()
    await rounds(1)  # the second was told, and has not run yet
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    (await asyncio.wait_for(turnstile.enter(), 0.2)).leave()
