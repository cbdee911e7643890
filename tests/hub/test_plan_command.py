"""`workroom plan` as people meet it: its words, its picture, its errors."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from workroom_hub import cli
from workroom_hub.errors import PlanError
from workroom_hub.plan import assumptions, svg

ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"
Plan = Callable[..., str]


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Run the command in an empty folder; return what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORKROOM_CONFIG", raising=False)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: str) -> str:
        done = CliRunner().invoke(cli.app, ["plan", *words])
        if isinstance(done.exception, PlanError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output

    return run


def test_without_anything_it_explains_compares_and_recommends(plan: Plan, tmp_path: Path) -> None:
    said = plan("--users", "80")
    words = " ".join(said.split())
    assert "Simulated: a day of 80 people who start" in words
    for policy in ("no-headroom", "headroom-10", "headroom-25", "warm-pool", "warm-pool-10"):
        assert re.search(rf"{policy} .* s +\d+ s +\d+ s +\$[\d,.]+ ", said), policy
    assert said.count("→ ") == 1
    assert re.search(
        r"Take \S+ \(targetCapacity \d+.*\): 95 of 100 people wait \d+ s or less", words
    )
    assert "The first quota to break is On-demand vCPUs" in words
    assert f"Picture: {tmp_path / 'workroom-plan.svg'}" in said
    page = (ROOT / "docs" / "capacity.md").read_text()
    [pasted] = re.findall(r"```yaml\n(aws:.*?)```", page, re.DOTALL)
    assert pasted in said
    assert "None" not in said


def test_the_picture_names_axes_with_units_and_knows_both_themes(
    plan: Plan, tmp_path: Path
) -> None:
    plan("--users", "80", "--picture", "day.svg")
    drawn = ElementTree.parse(tmp_path / "day.svg").getroot()  # noqa: S314 - our own
    words = [element.text for element in drawn.iter(f"{SVG}text")]
    for label in ("cost of a day, dollars", "time of day", "servers that run", "people"):
        assert label in words
    assert any("wait, seconds" in word for word in words if word)
    assert {"no-headroom", "headroom-10", "warm-pool"} <= set(words)
    style = next(drawn.iter(f"{SVG}style")).text or ""
    assert "prefers-color-scheme: dark" in style
    # Everything is inside the picture.
    width, height = float(drawn.attrib["width"]), float(drawn.attrib["height"])
    for element in drawn.iter(f"{SVG}text"):
        assert 0 <= float(element.attrib["x"]) <= width
        assert 0 <= float(element.attrib["y"]) <= height


@pytest.mark.parametrize("users", ["80", "1000"])
def test_a_name_stands_beside_its_dot_or_has_a_line_to_it(
    plan: Plan, tmp_path: Path, users: str
) -> None:
    plan("--users", users, "--picture", "day.svg")
    drawn = ElementTree.parse(tmp_path / "day.svg").getroot()  # noqa: S314 - our own

    def numbers(tag: str, *names: str) -> list[tuple[float, ...]]:
        return [tuple(float(each.attrib[n]) for n in names) for each in drawn.iter(SVG + tag)]

    lines = numbers("line", "x1", "y1", "x2", "y2")
    [goal] = [
        float(each.attrib["y1"])
        for each in drawn.iter(f"{SVG}line")
        if "6 4" in each.attrib.get("stroke-dasharray", "")
    ]
    dots = [(x, y) for x, y in numbers("circle", "cx", "cy") if y < 400]
    names = [
        each
        for each in drawn.iter(f"{SVG}text")
        if each.attrib["font-size"] == "12" and 130 < float(each.attrib["y"]) < 385
    ]
    assert len(names) == len(dots) >= 5
    for name in names:
        x, middle = float(name.attrib["x"]), float(name.attrib["y"]) - 4
        # Its dot is ten away: level with it, or at the other end of a line.
        ends = [
            (x1, y1)
            for x1, y1, x2, y2 in lines
            if abs(x2 - x) == pytest.approx(2, abs=0.2) and y2 == pytest.approx(middle, abs=0.2)
        ]
        own = [
            (dx, dy)
            for dx, dy in dots
            if abs(dx - x) == pytest.approx(10, abs=0.2)
            and (dy == pytest.approx(middle, abs=0.2) or (dx, dy) in ends)
        ]
        assert len(own) == 1, name.text
        assert abs(middle - goal) >= 9.9, f"{name.text} is on the target's line"


def test_a_png_and_what_to_type_where_it_cannot_be_made(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan("--users", "5", "--picture", "day.png")
    assert (tmp_path / "day.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(PlanError, match="a PNG needs the package resvg-py") as error:
        plan("--users", "5", "--picture", "day.png")
    assert "pip install resvg-py" in error.value.fix


@pytest.mark.parametrize(
    ("file", "told"), [("day.pdf", "no kind of picture"), ("none/day.svg", "no folder 'none'")]
)
def test_a_picture_that_cannot_be(plan: Plan, file: str, told: str) -> None:
    with pytest.raises(PlanError, match=told):
        plan("--picture", file)


def test_json_is_for_programs_and_draws_only_when_asked(plan: Plan, tmp_path: Path) -> None:
    data = json.loads(plan("--users", "30", "--json"))
    assert data["people"] == 30
    assert data["picture"] is None
    assert not list(tmp_path.iterdir())
    data = json.loads(plan("--users", "30", "--json", "--picture", "a.svg"))
    assert data["picture"] == str(tmp_path / "a.svg")


def test_a_described_day_is_every_day_and_a_trace_is_not(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "workroom.yaml").write_text("idle: {stop_after: 0}\nplan: {day: {users: 5}}\n")
    (tmp_path / "day.csv").write_text("user,start,profile,used\nann,08:00,small,1h\n")
    # Servers that never end are there from the day before.
    data = json.loads(plan("--json", "--picture", "day.svg"))
    assert (data["people"], data["starts"]) == (5, 0)
    assert data["policies"][0]["wait"] == {"p50": 0, "p95": 0, "p99": 0, "longest": 0}
    assert json.loads(plan("--trace", "day.csv", "--json"))["starts"] == 1


def test_a_trace_and_a_target(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text(
        "user,start,profile,used\nann,08:00,small,1h\nbob,08:00,small,1h\nann,08:30,small,1h\n"
    )
    data = json.loads(plan("--trace", "day.csv", "--json", "--target-wait", "10m"))
    assert (data["people"], data["starts"], data["target_wait"]) == (2, 2, 600)
    assert data["recommended"]["policy"] == "no-headroom"
    for word in ("--users", "--seed"):
        with pytest.raises(PlanError, match=f"{word}: '30' does not go with --trace") as error:
            plan("--trace", "day.csv", word, "30")
        assert error.value.fix == f"Leave out {word}, or --trace."
    with pytest.raises(PlanError, match="--target-wait: 'soon' is not a time"):
        plan("--target-wait", "soon")
    for wrong in ("0s", "32d", "9999999999d"):
        with pytest.raises(PlanError, match=f"--target-wait: '{wrong}' is not a wait"):
            plan("--target-wait", wrong)


@pytest.mark.parametrize("trace", [False, True])
def test_profiles_that_all_have_a_gpu_are_not_planned(
    plan: Plan, tmp_path: Path, trace: bool
) -> None:
    (tmp_path / "workroom.yaml").write_text(
        "profiles: [{name: big, title: Big, cpu: 8, memory: 32G, gpu: 1}]\n"
    )
    (tmp_path / "day.csv").write_text("user,start,profile,used\nann,08:00,big,1h\n")
    with pytest.raises(PlanError, match="profiles: all of them have a GPU") as error:
        plan(*(["--trace", "day.csv"] if trace else []))
    assert error.value.fix == "Add a profile without a GPU."


def test_assumptions_are_listed_and_changed(plan: Plan) -> None:
    listed = json.loads(plan("--assumptions", "--json", "--assume", "price=9"))
    assert [each["name"] for each in listed if each["changed"]] == ["price"]
    said = plan("--assumptions", "--assume", "task_start=20")
    assert "20s (changed)" in said
    assert "…" not in said  # a long name of AWS goes on in the next line
    quick, slow = (
        json.loads(plan("--json", "--assume", f"task_start={seconds}")) for seconds in ("1s", "20s")
    )
    assert quick["policies"][0]["wait"]["p50"] == 1
    assert slow["policies"][0]["wait"]["p50"] == 20


def test_settings_and_seed(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "workroom.yaml").write_text(
        "plan:\n  day: {users: 12}\n  policies: [{name: ours, target: 80, spare: 4}]\n"
    )
    said = plan("--no-picture")
    assert "12 people" in said
    assert re.search(r"ours +80 % +4 ", said)
    assert not (tmp_path / "workroom-plan.svg").exists()
    one, two, again = (plan("--json", "--seed", seed) for seed in ("1", "2", "1"))
    assert one == again != two


def test_the_pages_table_is_the_codes() -> None:
    page = (ROOT / "docs" / "capacity.md").read_text()
    assert assumptions.table() in page


def test_marks_of_an_axis_are_round_and_reach_the_top() -> None:
    assert svg.round_ticks(93) == [0, 20, 40, 60, 80, 100]
    assert svg.round_ticks(100) == [0, 20, 40, 60, 80, 100]
    assert svg.round_ticks(7.5, 3) == [0, 2.5, 5, 7.5]
    assert svg.round_ticks(0)[0] == 0
