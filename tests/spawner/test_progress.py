import asyncio

from workroom_spawner.progress import ECS_STAGES, LOCAL_STAGES, Progress


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def states(progress: Progress) -> list[tuple[str, float | None]]:
    return [(s["state"], s["seconds"]) for s in progress.event()["stages"]]


def test_stages_take_the_time_they_take() -> None:
    clock = Clock()
    progress = Progress(LOCAL_STAGES, clock)
    clock.now += 1
    progress.enter("creating", "Creating your container (Small)")
    clock.now += 2.5
    event = progress.event()
    assert {k: event[k] for k in ("progress", "message", "stage", "elapsed")} == {
        "progress": 15,
        "message": "Creating your container (Small)",
        "stage": "creating",
        "elapsed": 3.5,
    }
    assert states(progress) == [
        ("done", 1.0),
        ("active", 2.5),
        ("waiting", None),
        ("waiting", None),
    ]


def test_failure_marks_its_stage() -> None:
    progress = Progress(LOCAL_STAGES, Clock())
    progress.enter("creating")
    progress.fail("The disk is full.")
    assert [s for s, _ in states(progress)] == ["done", "failed", "waiting", "waiting"]
    assert progress.event()["message"] == "The disk is full."


async def test_every_follower_sees_the_present_and_every_change() -> None:
    progress = Progress(LOCAL_STAGES)
    seen: list[list[str]] = [[], []]

    async def follow(into: list[str]) -> None:
        async for event in progress.events():
            into.append(event["stage"])

    first = asyncio.create_task(follow(seen[0]))
    await asyncio.sleep(0)
    progress.enter("creating")
    await asyncio.sleep(0)
    late = asyncio.create_task(follow(seen[1]))
    await asyncio.sleep(0)
    progress.enter("starting")
    await asyncio.sleep(0)
    first.cancel()
    late.cancel()
    assert seen == [["requested", "creating", "starting"], ["creating", "starting"]]


def test_what_was_passed_over_is_done_and_took_no_time() -> None:
    progress = Progress(ECS_STAGES, Clock())
    progress.enter("queued")
    progress.reach("starting")  # the image is there already
    progress.reach("pulling")  # news that come late change nothing
    assert [s for s, _ in states(progress)] == [
        *("done", "done", "done", "done", "active", "waiting"),
    ]
    machine, pulling = progress.event()["stages"][2:4]
    assert machine["seconds"] is None
    assert pulling["seconds"] is None
