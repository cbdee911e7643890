"""What a container says of itself: shared, limited, and never trusted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from workroom_hub.portal.figures import Asker, Figures, Home, parse
from workroom_hub.portal.home_folder import HomeFolder, amount

GIB = 2**30
GOOD = {
    "cpu": 0.5,
    "cpu_limit": 2,
    "memory": GIB,
    "memory_limit": 4 * GIB,
    "home": {"used": GIB, "free": 3 * GIB, "size": 4 * GIB, "counted_at": None},
    "idle": {"last_activity": "2026-01-02T03:04:05.678Z", "reason": "kernel python3 is busy"},
}
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def container(answer: Answer) -> AsyncIterator[str]:
    """Stand for a server: `answer` has all its requests."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}/user/ann/"
    finally:
        await runner.cleanup()


@pytest.fixture
async def asker() -> AsyncIterator[Asker]:
    asker = Asker(within=0.5, shared_for=0.3)
    yield asker
    await asker.close()


def test_a_good_answer_becomes_numbers() -> None:
    assert parse(json.dumps(GOOD).encode()) == Figures(
        cpu=0.5,
        memory=GIB,
        home=Home(GIB, 3 * GIB, 4 * GIB),
        last_activity=datetime(2026, 1, 2, 3, 4, 5),
        reason="kernel python3 is busy",
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"[" * 4000, b"\xff\xfe", b"9" * 4096, b'{"cpu": 1'],
)
def test_what_is_no_answer_is_none(body: bytes) -> None:
    assert parse(body) is None


@pytest.mark.parametrize(
    "value", ["-1", "true", '"1"', "1e999", "NaN", "Infinity", "[1]", "{}", "1" + "0" * 300]
)
def test_what_is_no_number_is_none(value: str) -> None:
    told = parse(f'{{"cpu": {value}, "memory": {value}, "home": {value}}}'.encode())
    assert told == Figures(None, None, None, None, "")


def test_text_is_short_and_plain() -> None:
    said = {"idle": {"reason": "a\x00\x1b[31m\n\u202eb " + "x" * 3000, "last_activity": 5}}
    told = parse(json.dumps(said).encode())
    assert told is not None
    assert told.reason.startswith("a [31m b xxx")
    assert len(told.reason) == 100
    assert told.last_activity is None


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:00", "?"])
def test_moments_out_of_time(moment: str) -> None:
    told = parse(json.dumps({"idle": {"last_activity": moment}}).encode())
    assert told is not None
    assert told.last_activity is None


def test_nobody_works_in_the_future() -> None:
    soon = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    told = parse(json.dumps({"idle": {"last_activity": soon}}).encode())
    assert told is not None
    assert told.last_activity is not None
    assert told.last_activity <= datetime.now(UTC).replace(tzinfo=None)


def test_a_home_that_grows_with_what_is_in_it() -> None:
    told = parse(json.dumps({"home": {"used": 6144, "free": 2**63, "size": 2**63}}).encode())
    assert told is not None
    assert told.home == Home(6144, 2**63, 2**63)


def test_a_home_with_more_free_than_there_is() -> None:
    told = parse(b'{"home": {"free": 5, "size": 4}}')
    assert told is not None
    assert told.home is None


async def test_one_question_for_all_who_ask(asker: Asker) -> None:
    asked: list[Any] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.path, request.headers["X-Workroom-Token"]))
        await asyncio.sleep(0.05)
        return web.json_response(GOOD)

    async with container(answer) as url:
        told = await asyncio.gather(*(asker.ask(url, "secret") for _ in range(20)))
        assert {figures and figures.cpu for figures in told} == {0.5}
        assert asked == [("/user/ann/api/workroom/now", "secret")]
        await asker.ask(url, "secret")
        assert len(asked) == 1
        assert asker.last(url, "secret", 5) == told[0]
        assert asker.last(url, "another", 5) is None
        await asker.ask(url, "another")  # another server at the same address
        assert len(asked) == 2
        await asyncio.sleep(0.35)
        await asker.ask(url, "secret")
        assert len(asked) == 3


async def test_who_gives_up_does_not_spoil_it_for_others(asker: Asker) -> None:
    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(0.1)
        return web.json_response(GOOD)

    async with container(answer) as url:
        first = asyncio.create_task(asker.ask(url, "t"))
        await asyncio.sleep(0.02)
        second = asyncio.create_task(asker.ask(url, "t"))
        await asyncio.sleep(0.02)
        first.cancel()
        told = await second
        assert told is not None
        assert told.cpu == 0.5


async def slow(_: web.Request) -> web.Response:
    await asyncio.sleep(5)
    return web.json_response(GOOD)


async def trickling(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    for _ in range(50):
        await answer.write(b" ")
        await asyncio.sleep(0.1)
    return answer


async def huge(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    for _ in range(1000):
        await answer.write(b" " * 100_000)
    return answer


async def just_too_long(_: web.Request) -> web.Response:
    return web.Response(body=json.dumps(GOOD).encode() + b" " * 4096)


async def packed(_: web.Request) -> web.Response:
    answer = web.json_response(GOOD)
    answer.enable_compression()
    return answer


async def refusing(_: web.Request) -> web.Response:
    return web.json_response(GOOD, status=403)


async def failing(_: web.Request) -> web.Response:
    raise web.HTTPInternalServerError


async def no_json(_: web.Request) -> web.Response:
    return web.Response(text="<h1>hello</h1>")


@pytest.mark.parametrize(
    "answer", [slow, trickling, huge, just_too_long, refusing, failing, no_json]
)
async def test_a_bad_answer_is_none_and_soon(asker: Asker, answer: Answer) -> None:
    async with container(answer) as url:
        async with asyncio.timeout(3):
            assert await asker.ask(url, "t") is None


async def test_nothing_is_unpacked(asker: Asker) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.headers["Accept-Encoding"])
        return await packed(request)

    async with container(answer) as url:
        await asker.ask(url, "t")
        assert asked == ["identity"]


async def test_it_is_not_led_elsewhere_and_carries_nothing_along(asker: Asker) -> None:
    reached: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        reached.append(request.headers.get("Cookie", ""))
        return web.json_response(GOOD)

    async with container(elsewhere) as other:

        async def leading(_: web.Request) -> web.Response:
            answer = web.Response(status=302, headers={"Location": other})
            answer.set_cookie("session", "fixed")
            return answer

        async with container(leading) as url:
            assert await asker.ask(url, "t") is None
            assert reached == []
            await asker.ask(other, "t")
            assert reached == [""]


async def test_a_server_that_is_gone(asker: Asker) -> None:
    async with container(no_json) as url:
        pass
    assert await asker.ask(url, "t") is None


@pytest.mark.parametrize(
    ("free", "size", "level", "text"),
    [
        (50 * GIB, 100 * GIB, "ok", "2 GiB used · disk 50 % full, 50 GiB free"),
        (9 * GIB, 100 * GIB, "low", "2 GiB used · disk 91 % full, 9 GiB free"),
        (GIB - 1, 4 * GIB, "low", "2 GiB used · disk 75 % full, 1024 MiB free"),
        (2**20, 4 * GIB, "full", "2 GiB used · disk 100 % full, 1 MiB free"),
        (0, 4 * GIB, "full", "2 GiB used · disk 100 % full, 0 MiB free"),
        (2**63 - 1, 2**63, "ok", "2 GiB used"),
    ],
)
def test_how_full_a_home_is(free: int, size: int, level: str, text: str) -> None:
    folder = HomeFolder(datetime(2026, 1, 1), Home(2 * GIB, free, size))
    assert folder.level == level
    assert folder.text == text
    assert bool(folder.warning) == (level != "ok")
    assert 0 <= folder.share <= 1


def test_amounts() -> None:
    assert [amount(n) for n in (0, 2**19, 700 * 2**20, 1.25 * GIB, 250 * GIB, 3 * 2**40)] == [
        *("0 MiB", "0.5 MiB", "700 MiB", "1.25 GiB", "250 GiB", "3 TiB")
    ]
