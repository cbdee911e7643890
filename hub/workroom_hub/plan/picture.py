"""The picture of a study: wait against cost of each policy, and the day under the best one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from workroom_hub.errors import PlanError
from workroom_hub.plan import report, svg
from workroom_hub.plan.study import Result, Study
from workroom_hub.plan.visits import DAY

_WIDTH, _HEIGHT = 900, 1260
_LEFT, _RIGHT = 70, 870
_KINDS = (".svg", ".png")


def check(path: Path) -> None:
    """Refuse a picture that could not be drawn, before anything is simulated.

    Raises:
        PlanError: The file's ending is not known, its folder is not there, or a PNG needs what is
            not installed.
    """
    if path.suffix.lower() not in _KINDS:
        raise PlanError(
            f"--picture: '{path}' is no kind of picture that can be drawn.",
            "End its name in .svg or .png.",
        )
    if not path.parent.is_dir():
        raise PlanError(
            f"--picture: there is no folder '{path.parent}'.", "Make it, or write another path."
        )
    if path.suffix.lower() == ".png":
        _rasteriser()


def write(study: Study, path: Path) -> None:
    """Draw a study into a file, SVG or PNG by its ending.

    Raises:
        PlanError: It cannot be written, or a PNG needs what is not installed.
    """
    if path.suffix.lower() == ".png":
        drawn = bytes(_rasteriser()(svg_string=draw(study, "light"), zoom=2))
    else:
        drawn = draw(study).encode()
    try:
        path.write_bytes(drawn)
    except OSError as error:
        why = (error.strerror or "it cannot be written").lower()
        raise PlanError(
            f"--picture: '{path}' cannot be written: {why}.", "Write another path."
        ) from error


def draw(study: Study, theme: svg.Theme = "auto") -> str:
    """Return the picture as SVG."""
    title = f"{study.people:,} people: how long they wait, and what it costs"
    parts = [
        svg.text(_LEFT - 40, 34, title, size=19),
        svg.text(_LEFT - 40, 56, _subtitle(study), "faint", 12),
        _policies(study),
        _servers(study),
        _waiting(study),
        _machines(study),
    ]
    return svg.document(_WIDTH, _HEIGHT, title, parts, theme)


def _subtitle(study: Study) -> str:
    kind = study.kind
    return (
        f"{len(study.best.outcome.waits):,} starts on {kind.name} "
        f"({report.money(kind.price)} an hour); recommended: {study.best.policy.name}"
    )


def _policies(study: Study) -> str:
    """Wait against cost: a dot a policy, with a line from its median to its 99th percentile."""
    results, goal = study.results, study.settings.plan.target_wait
    dearest = max(result.cost for result in results)
    cheapest = min(result.cost for result in results)
    margin = max((dearest - cheapest) * 0.15, dearest * 0.02, 0.01)
    ys = svg.round_ticks(max(goal, *(result.p99 for result in results)) * 1.05)
    low = max(0.0, cheapest - margin)
    axes = svg.Axes(
        svg.Scale(low, dearest + margin * 2, _LEFT, _RIGHT), svg.Scale(0, ys[-1], 380, 130)
    )
    xs = svg.round_ticks(dearest + margin * 2 - low, 6)
    step = xs[1]
    first = -(-low // step) * step
    marks = [first + step * n for n in range(len(xs) + 1) if first + step * n <= axes.x.high]
    parts = [
        axes.frame(
            "Each policy: wait and cost",
            "cost of a day, dollars",
            "wait, seconds: dot at 95 of 100 people, bar from half of them to 99 of 100",
            [(x, report.money(x).removesuffix(".00")) for x in marks],
            [(y, f"{y:g}") for y in ys],
        ),
        svg.line(_LEFT, axes.y.at(goal), _RIGHT, axes.y.at(goal), "green", "6 4"),
        svg.text(_RIGHT, axes.y.at(goal) - 6, f"target: {goal} s", "green", 11, "end"),
    ]
    # A name keeps off the line of the target, all dots and all bars. The best has the first choice;
    # then from the dearest on, so that names on the right keep the place right of their dots.
    taken = [_Taken(_LEFT, _RIGHT, axes.y.at(goal), 10)]
    taken.append(_Taken(_RIGHT - 90, _RIGHT, axes.y.at(goal) - 10, 12))
    for each in results:
        x, low, high = (axes.x.at(each.cost), axes.y.at(each.p50), axes.y.at(each.p99))
        taken.append(_Taken(x - 8, x + 8, axes.y.at(each.p95), 13))
        taken.append(_Taken(x - 3, x + 3, (low + high) / 2, (low - high) / 2 + 8))
    order = sorted(results, key=lambda each: (each is not study.best, -each.cost, each.p95))
    parts += [_policy(axes, each, each is study.best, taken) for each in order]
    return "\n".join(parts)


class _Taken(NamedTuple):
    """Where no name's middle is: from `start` to `end`, as near to the height `at` as `reach`."""

    start: float
    end: float
    at: float
    reach: float = 14


def _policy(axes: svg.Axes, result: Result, best: bool, taken: list[_Taken]) -> str:
    """Return one policy's dot, bar and name; names keep clear of each other."""
    x, y = axes.x.at(result.cost), axes.y.at(result.p95)
    kind, name = ("blue" if best else "orange"), result.policy.name
    start, at, anchor = _free_place(x, y, 7.2 * len(name), taken)
    # Further off, a line leads to the name.
    aside = start - 2 if anchor == "start" else start + 2
    leader = [svg.line(x, y, aside, at, "faint")] if at != y else []
    return "\n".join(
        [
            *leader,
            svg.line(x, axes.y.at(result.p50), x, axes.y.at(result.p99), kind),
            svg.dot(x, y, kind, 6 if best else 5),
            svg.text(start, at + 4, name, kind if best else "text", 12, anchor),
        ]
    )


def _free_place(x: float, y: float, width: float, taken: list[_Taken]) -> tuple[float, float, str]:
    """Return where a name goes: right of its dot, left of it, or higher."""
    at = y
    while True:
        for start, shown, anchor in ((x + 10, x + 10, "start"), (x - 10 - width, x - 10, "end")):
            inside = start > _LEFT and start + width < _WIDTH
            if inside and not any(
                abs(at - other.at) < other.reach
                and start < other.end
                and other.start < start + width
                for other in taken
            ):
                taken.append(_Taken(start, start + width, at))
                return shown, at, anchor
        at -= 5


def _servers(study: Study) -> str:
    """Servers that run, over the day."""
    outcome = study.best.outcome
    running = [(sample.at, sample.running) for sample in outcome.samples]
    axes, frame = _chart(study, "Servers over the day", "servers that run", running, 640, 490)
    return "\n".join([frame, axes.area(running, "blue"), axes.curve(running, "blue")])


def _waiting(study: Study) -> str:
    """People who wait for a machine, under the best policy and under the one with most waits."""
    best = [(sample.at, sample.waiting) for sample in study.best.outcome.samples]
    plain = [(sample.at, sample.waiting) for sample in _plainest(study).outcome.samples]
    axes, frame = _chart(study, "People waiting for a machine", "people", [*plain, *best], 900, 770)
    parts = [frame, axes.curve(plain, "orange"), axes.curve(best, "green"), _legend(study, 754)]
    return "\n".join(parts)


def _machines(study: Study) -> str:
    """Machines over the day: needed, and in the group."""
    samples = study.best.outcome.samples
    needed = [(sample.at, sample.needed) for sample in samples]
    best = [(sample.at, sample.group) for sample in samples]
    plain = [(sample.at, sample.group) for sample in _plainest(study).outcome.samples]
    unit = f"{study.kind.name} machines"
    axes, frame = _chart(study, "Capacity over the day", unit, [*plain, *best], 1200, 1030)
    parts = [
        frame,
        axes.area(needed, "blue"),
        axes.curve(plain, "orange", "5 3"),
        axes.curve(best, "green"),
        _legend(study, 1014, ("needed by servers", "blue")),
    ]
    return "\n".join(parts)


def _plainest(study: Study) -> Result:
    """Return the policy with the longest waits, to compare the best with."""
    return max(study.results, key=lambda result: (result.p95, -result.cost))


def _chart(
    study: Study,
    title: str,
    unit: str,
    points: Sequence[tuple[float, float]],
    low: float,
    high: float,
) -> tuple[svg.Axes, str]:
    """Return the axes of a chart over the day, and their frame."""
    ys = _whole(max((y for _, y in points), default=0))
    x = svg.Scale(0, study.days * DAY, _LEFT, _RIGHT)
    axes = svg.Axes(x, svg.Scale(0, ys[-1], low, high))
    if study.days == 1:
        label, marks = "time of day", [(h * 3600.0, f"{h:02d}:00") for h in range(0, 25, 2)]
    else:
        days = range(0, study.days + 1, max(1, study.days // 10))
        label, marks = "day of the trace", [(float(day * DAY), f"{day}") for day in days]
    return axes, axes.frame(title, label, unit, marks, [(y, f"{y:,.0f}") for y in ys])


def _whole(top: float) -> Sequence[float]:
    """Return marks for things that come in whole numbers."""
    return [mark for mark in svg.round_ticks(max(top, 5)) if mark == round(mark)]


def _legend(study: Study, y: float, *more: tuple[str, str]) -> str:
    """Return which colour is which policy, at the right."""
    plain = _plainest(study)
    entries = [*more, (study.best.policy.name, "green")]
    if plain is not study.best:
        entries.append((plain.policy.name, "orange"))
    widths = [32 + 6.6 * len(words) for words, _ in entries]
    parts, x = [], _RIGHT - sum(widths) + 14
    for (words, kind), width in zip(entries, widths, strict=True):
        parts += [svg.dot(x, y - 4, kind, 4), svg.text(x + 9, y, words, "text", 11)]
        x += width
    return "\n".join(parts)


def _rasteriser() -> Callable[..., bytes]:
    """Return what makes PNG of SVG.

    Raises:
        PlanError: It is not installed.
    """
    try:
        from resvg_py import svg_to_bytes
    except ImportError as error:
        raise PlanError(
            "--picture: a PNG needs the package resvg-py, which is not installed.",
            "Run: .venv/bin/python -m pip install resvg-py   (or end the name in .svg)",
        ) from error
    return cast("Callable[..., bytes]", svg_to_bytes)
