"""Traces: what is read, and what people are told about each wrong line."""

from __future__ import annotations

import csv
import re
import sqlite3
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from workroom_hub.errors import PlanError
from workroom_hub.plan import trace
from workroom_hub.plan.visits import Visit
from workroom_spawner import usage

ROOT = Path(__file__).resolve().parents[2]
PROFILES = ["small", "large"]


def read(tmp_path: Path, text: str) -> list[Visit]:
    path = tmp_path / "day.csv"
    path.write_text(text)
    return trace.read(path, PROFILES)


def test_times_of_day(tmp_path: Path) -> None:
    found = read(
        tmp_path, "user,start,profile,used\nbob,09:02:30,large,45m\nann,08:55,small,2h\n\n"
    )
    assert found == [
        Visit("ann", 8 * 3600 + 55 * 60, "small", 7200),
        Visit("bob", 9 * 3600 + 2 * 60 + 30, "large", 2700),
    ]


def test_dates_columns_in_another_order_more_columns_and_a_byte_order_mark(tmp_path: Path) -> None:
    text = (
        "\ufeffstart,User,used,note,profile\n"
        "2026-11-30T08:00,ann,90,x,small\n"
        "2026-12-01 00:30,ann,90s,,small\n"
    )
    assert read(tmp_path, text) == [
        Visit("ann", 8 * 3600, "small", 90),
        Visit("ann", 86_400 + 1800, "small", 90),
    ]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (",08:55,small,2h", "day.csv:3: user: '' is empty; write a name"),
        ("ann,25:00,small,2h", "day.csv:3: start: '25:00' is not a time; write 08:55"),
        (
            "ann,2026-11-30T08:00+05:00,small,2h",
            "day.csv:3: start: '2026-11-30T08:00+05:00' has a time zone; write all lines in the "
            "same one, without it, such as 2026-11-30T08:00",
        ),
        ("ann,2026-11-30T03:00Z,small,2h", "day.csv:3: start: '2026-11-30T03:00Z' has a time zone"),
        (
            "ann,08:55+01:00,small,2h",
            "without it, such as 08:55",
        ),
        ("ann,,small,2h", "day.csv:3: start: '' is not a time"),
        ("ann,08:55,smal,2h", "day.csv:3: profile: 'smal' is not a profile; choose from small, l"),
        ("ann,08:55,small,soon", "day.csv:3: used: 'soon' is not a time; write a time such as"),
        ("ann,08:55,small,0s", "day.csv:3: used: '0s' is not between 1s and 31d"),
        ("ann,08:55,small,99d", "day.csv:3: used: '99d' is not between 1s and 31d"),
        ("ann,08:55,small", "day.csv:3: used: '' is not a time"),
        ("ann,2026-11-30T08:55,small,1h", "write a date in all lines or in none"),
        ('ann,08:55,small,"2h', "day.csv:3: not CSV"),
    ],
)
def test_a_wrong_line_is_named_with_field_value_and_fix(
    tmp_path: Path, line: str, told: str
) -> None:
    with pytest.raises(PlanError) as error:
        read(tmp_path, f"user,start,profile,used\nbob,09:00,small,1h\n{line}\n")
    assert told in error.value.message
    assert "user,start,profile,used" in error.value.fix


def test_many_wrong_lines_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(PlanError) as error:
        read(tmp_path, "user,start,profile,used\n" + "ann,late,small,1h\n" * 25)
    assert "25 problems" in error.value.message
    assert error.value.message.count("day.csv:") == 10
    assert "… and 15 more" in error.value.message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "day.csv:1: the header has no 'user'"),
        ("user,start,used\n", "day.csv:1: the header has no 'profile'; it says 'user,start,used'"),
        ("user,start,profile,used\n\n", "no lines below its header"),
        (
            "user,start,profile,used\na,2026-01-01T08:00,small,1h\na,2026-03-01T08:00,small,1h\n",
            "day.csv:3: start: '2026-03-01T08:00:00' is more than 31 days",
        ),
    ],
)
def test_a_file_that_is_no_trace(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(PlanError, match=told.replace("(", r"\(")):
        read(tmp_path, text)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="cannot be read: no such file"):
        trace.read(tmp_path / "none.csv", PROFILES)
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(PlanError, match="not text in UTF-8"):
        trace.read(tmp_path / "picture.csv", PROFILES)


def test_the_pages_query_makes_a_trace_of_the_hubs_table(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "capacity.md").read_text()
    [query] = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    [seconds] = re.findall(r"For `SECONDS` write `([^`]+)` in SQLite", page)
    database = tmp_path / "hub.sqlite"
    with Session(create_engine(f"sqlite:///{database}")) as db:
        for hour, reason in enumerate(("idle", "stopped", "failed: full", "cancelled", "died: x")):
            usage.record(
                db,
                user="ann",
                server="",
                groups=[],
                profile="small",
                image="i",
                start=datetime(2026, 11, 30, 8 + hour, 5, 7),
                stop=datetime(2026, 11, 30, 11 + hour, 5, 7),
                reason=reason,
            )
    found = sqlite3.connect(database).execute(query.replace("SECONDS", seconds))
    with (tmp_path / "day.csv").open("w") as file:
        lines = csv.writer(file)
        lines.writerow([name for name, *_ in found.description])
        lines.writerows(found)
    at = 8 * 3600 + 5 * 60 + 7
    # Three hours each; who was idle at the end did nothing in the last two.
    assert trace.read(tmp_path / "day.csv", PROFILES) == [
        Visit("ann", at, "small", 3600),
        Visit("ann", at + 3600, "small", 10_800),
        Visit("ann", at + 4 * 3600, "small", 10_800),
    ]
