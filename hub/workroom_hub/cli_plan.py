"""`workroom plan`: how long people would wait on AWS, and what it would cost."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from workroom_hub.plan.study import Result, Study
    from workroom_hub.settings import Settings

_PICTURE = Path("workroom-plan.svg")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(plan)


def plan(
    users: Annotated[
        int | None, typer.Option("--users", min=1, max=100_000, help="People of the day.")
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace", help="A CSV file of a real day instead: user,start,profile,used a line."
        ),
    ] = None,
    target_wait: Annotated[
        str | None,
        typer.Option(
            "--target-wait", metavar="TIME", help="The wait 95 of 100 shall not exceed: 30s, 2m."
        ),
    ] = None,
    assume: Annotated[
        list[str] | None,
        typer.Option("--assume", metavar="NAME=VALUE", help="Replace an assumption; repeatable."),
    ] = None,
    assumptions: Annotated[
        bool, typer.Option("--assumptions", help="List what is assumed, with sources; do nothing.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Another day of the same kind.")
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", help=f"Where to draw, .svg or .png; default: {_PICTURE} here."),
    ] = None,
    no_picture: Annotated[bool, typer.Option("--no-picture", help="Draw nothing.")] = False,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print JSON, for programs; draws only with --picture."),
    ] = False,
) -> None:
    """Simulate a day on AWS: how long people wait, what it costs, which quota breaks first.

    Compares ways to keep machines ready and recommends the cheapest that keeps 95 of 100 waits
    under a target. It asks nobody and starts nothing. The day, the policies and everything that is
    assumed can be changed in workroom.yaml under `plan`; docs/capacity.md explains how to read it.

    Examples: `workroom plan`, `workroom plan --users 1000`, `workroom plan --trace day.csv`,
    `workroom plan --assume instance_launch=2m`.
    """
    from workroom_hub.plan import picture as pictures
    from workroom_hub.plan import report, study

    _only_of_a_described_day(trace, {"--users": users, "--seed": seed})
    settings = _settings(users, target_wait, assume or [], seed)
    if assumptions:
        _list_assumptions(settings, json=json)
        return
    into = None if no_picture else picture or (None if json else _PICTURE)
    if into:
        pictures.check(into)
    simulate = partial(study.study, settings, _visits(settings, trace), daily=trace is None)
    if json:
        found = simulate()
    else:
        from workroom_hub.machine.console import Reporter

        with Reporter().step("Simulating the day") as step:
            found = simulate(step.update)
            step.result = f"{len(found.results)} policies"
    if into:
        pictures.write(found, into)
    if json:
        _print_json({**report.as_dict(found), "picture": str(into.resolve()) if into else None})
    else:
        _show(found, into)


def _only_of_a_described_day(trace: Path | None, given: dict[str, int | None]) -> None:
    """Refuse what a trace would leave without effect."""
    from workroom_hub.errors import PlanError

    told = next((name for name, value in given.items() if value is not None), None)
    if trace and told:
        raise PlanError(
            f"{told}: '{given[told]}' does not go with --trace '{trace}', whose people and times "
            "are those of its lines.",
            f"Leave out {told}, or --trace.",
        )


def _settings(
    users: int | None, target_wait: str | None, assume: list[str], seed: int | None
) -> Settings:
    """Return the settings with what the command line says instead."""
    from workroom_hub import config_file
    from workroom_hub.errors import PlanError
    from workroom_hub.fields import parse_span
    from workroom_hub.plan.assumptions import changed

    settings = config_file.load()
    planned = settings.plan
    replaced: dict[str, Any] = {"assumptions": changed(planned.assumptions, assume)}
    told = {"users": users, "seed": seed}
    day = {name: value for name, value in told.items() if value is not None}
    replaced["day"] = planned.day.model_copy(update=day)
    if target_wait is not None:
        digits = target_wait.isascii() and target_wait.isdigit()
        try:
            replaced["target_wait"] = parse_span(int(target_wait) if digits else target_wait)
        except ValueError as error:
            raise PlanError(
                f"--target-wait: '{target_wait}' is not a time.", f"{error}."
            ) from error
        if not 1 <= replaced["target_wait"] <= 31 * 86_400:
            raise PlanError(
                f"--target-wait: '{target_wait}' is not a wait.", "Write 1s to 31d, such as 30s."
            )
    return settings.model_copy(update={"plan": planned.model_copy(update=replaced)})


def _visits(settings: Settings, trace: Path | None) -> list[Any]:
    from workroom_hub.plan import trace as traces
    from workroom_hub.plan import visits

    if trace is None:
        return list(visits.describe(settings))
    return list(traces.read(trace, [profile.name for profile in visits.planned(settings)]))


def _show(found: Study, into: Path | None) -> None:
    from rich.console import Console

    from workroom_hub.plan import advice, report

    console = Console(highlight=False)
    console.print(f"\n{report.introduction(found)}\n")
    console.print(_policies(found))
    console.print(
        "p95: 95 of 100 people wait no longer, from the click until their server answers.",
        style="dim",
    )
    console.print(f"\n[bold]{report.recommendation(found)}[/]")
    gave_up = found.best.outcome.gave_up
    if gave_up:
        console.print(f"With it {gave_up:,} starts are given up: whoever waits for them leaves.")
    console.print(f"\n{report.first_quota(found)}")
    _show_quotas(console, found)
    console.print(f"\nFor a deployment, in workroom.yaml:\n\n{advice.block(found)}\n", markup=False)
    for sentence in advice.missing(found):
        console.print(sentence)
    if into:
        console.print(f"Picture: {into.resolve()}", soft_wrap=True)
    console.print(
        "\nA simulation: workroom plan --assumptions lists what it takes for granted, "
        "docs/capacity.md how to read it.",
        style="dim",
    )


def _policies(found: Study) -> Any:
    """Return the table of policies; kinds of headroom that none has get no column."""
    from rich.table import Table

    from workroom_hub.plan import report

    kinds: dict[str, Callable[[Result], str]] = {
        "target": lambda result: f"{result.policy.target} %",
        "spare": lambda result: f"{result.policy.spare:,}" if result.policy.spare else "",
        "min": lambda result: f"{result.policy.minimum:,}" if result.policy.minimum else "",
        "pool": lambda r: f"to {r.outcome.prepared:,}" if r.policy.warm_pool else "",
    }
    shown = {
        title: told
        for title, told in kinds.items()
        if title == "target" or any(told(result) for result in found.results)
    }
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("  Policy", no_wrap=True)
    for title in (*shown, "p50", "p95", "p99", "a day", "machines"):
        table.add_column(title, justify="right", no_wrap=True)
    for result in found.results:
        best = result is found.best
        table.add_row(
            f"{'→' if best else ' '} {result.policy.name}",
            *(told(result) for told in shown.values()),
            *(f"{value:,.0f} s" for value in (result.p50, result.p95, result.p99)),
            report.money(result.cost),
            f"{result.outcome.largest:,}",
            style="bold green" if best else "",
        )
    return table


def _show_quotas(console: Any, found: Study) -> None:
    """Show the quotas that break, and the two that come next and can be told."""
    from rich.table import Table

    from workroom_hub.plan import report

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Quota", no_wrap=True)
    for title in ("allowed", "this day", "full at"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("default from")
    breaking = sum(quota.breaks for quota in found.quotas)
    for quota in [each for each in found.quotas if each.telling][: breaking + 2]:
        table.add_row(
            quota.name,
            f"{report.number(quota.limit)} {quota.unit}",
            report.number(quota.needed),
            quota.full_at,
            quota.source,
            style="red" if quota.breaks else "",
        )
    console.print(table)


def _list_assumptions(settings: Settings, *, json: bool) -> None:
    from workroom_hub.plan.assumptions import listed

    found = listed(settings.plan.assumptions)
    if json:
        _print_json([vars(each) for each in found])
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for title in ("Assumption", "Value", "What it is", "Source"):
        # Longer than its column, a name of AWS goes on in the next line.
        table.add_column(title, overflow="fold")
    for each in found:
        value = f"{each.value} (changed)" if each.changed else each.value
        table.add_row(each.name, value, each.about, each.source)
    console = Console(highlight=False)
    console.print(table)
    console.print(
        "\nChange one for a run with --assume NAME=VALUE, or for good in workroom.yaml under "
        "plan.assumptions.",
        style="dim",
    )


def _print_json(value: Any) -> None:
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
