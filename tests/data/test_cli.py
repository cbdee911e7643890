"""`workroom-data`: what it prints, for people and for programs, and how it fails."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer

from tests.fakes.catalogue_in_memory import CatalogueInMemory
from workroom_data import (
    anchor,
    cli,
    cli_show,
    cli_words,
    connect,
    history,
    load_dataframe,
    rollback,
    session,
    store_dataframe,
)
from workroom_data.catalogue import Pointer, Table
from workroom_data.errors import DataWarning
from workroom_data.session import Session
from workroom_data.settings import Settings

FRAME = pd.DataFrame(
    {
        "Id": [1, 2, 3],
        "name": ["a", None, "ü"],
        "at": pd.to_datetime(["2026-03-01T12:00:00"] * 3, utc=True),
    }
)


@dataclass(frozen=True)
class Said:
    """What a command has said."""

    out: str
    err: str
    code: int

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Said]


class Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")

    def isatty(self) -> bool:
        return True

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode()  # type: ignore[attr-defined,no-any-return]


@pytest.fixture
def run(local: Session, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line in this process, on the warehouse of the test."""
    monkeypatch.setattr(cli._Options, "debug", False)

    def run(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["workroom-data", *words])
        code: Any = 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("warnings.showwarning", None)  # put back what main sets
            try:
                cli.main()
            except SystemExit as end:
                code = end.code or 0
        out, err = capsys.readouterr()
        return Said(out, err, code)

    return run


@pytest.fixture
def metastore(local: Session) -> CatalogueInMemory:
    assert isinstance(local.catalogue, CatalogueInMemory)
    return local.catalogue


@pytest.fixture
def orders(local: Session) -> Table:
    """sales.orders: two commits of 2016, one of 2017; and sales.prices without partitions."""
    store_dataframe(FRAME[:1], "sales", "orders", {"year": "2016"}, note="first")
    store_dataframe(FRAME, "sales", "orders", {"year": "2016"})
    store_dataframe(FRAME[:2], "sales", "orders", {"year": "2017"})
    store_dataframe(FRAME, "sales", "prices", format="parquet")
    table = local.catalogue.table("sales", "orders")
    assert table is not None
    return table


class TestLooking:
    def test_ls(self, run: Run, orders: Table) -> None:
        assert run("ls").out.split() == ["database", "tables", "sales", "2"]
        assert run("ls", "--json").json == [{"database": "sales", "tables": 2}]
        listed = run("ls", "sales", "--json").json
        assert [one["table"] for one in listed] == ["orders", "prices"]
        assert listed[0] | {"size": 0} == {
            "table": "orders",
            "format": "text",
            "keys": ["year"],
            "columns": 3,
            "partitions": 2,
            "rows": 5,
            "size": 0,
        }
        (first, second) = run("ls", "sales.orders", "--json").json
        assert (first["partition"], first["commit"], first["rows"]) == ("year=2016", 2, 3)
        assert second["partition"] == "year=2017"
        said = run("ls", "Sales.ORDERS")
        assert [line.split()[:2] for line in said.out.splitlines()] == [
            ["partition", "rows"],
            ["year=2016", "3"],
            ["year=2017", "2"],
        ]
        assert "(all)" in run("ls", "sales.prices").out

    def test_ls_of_what_others_made(
        self, run: Run, orders: Table, metastore: CatalogueInMemory
    ) -> None:
        metastore.altered.add(("sales", "prices"))
        assert "(not ours)" in run("ls", "sales").out
        metastore.point(
            orders, Pointer(("1999",), f"{orders.root}/x", 0, "", orders.columns), new=True
        )
        assert run("ls", "sales", "--json").json[0]["rows"] is None

    def test_ls_of_nothing(self, run: Run, local: Session) -> None:
        assert run("ls") == Said("Nothing is stored there yet.\n", "", 0)
        assert run("ls", "--json").json == []

    def test_describe(self, run: Run, orders: Table) -> None:
        said = run("describe", "sales.orders")
        assert "Partition keys: year (string)\n" in said.out
        assert "Rows:           5\n" in said.out
        assert [line.split()[:3] for line in said.out.splitlines()][-3:] == [
            ["Id", "bigint", "int64"],
            ["name", "string", "string"],
            ["at", "timestamp", "timestamp[ns,"],
        ]
        facts = run("describe", "sales.orders", "--json").json
        assert facts["keys"] == [{"name": "year", "hive": "string"}]
        assert [column["name"] for column in facts["columns"]] == ["Id", "name", "at"]
        assert (facts["rows"], facts["partitions"], facts["made_by"]) == (5, 2, "")

    def test_head(self, run: Run, orders: Table) -> None:
        said = run("head", "sales.orders", "-n", "4", "-c", "Id", "-c", "name", "-c", "year")
        assert [line.split() for line in said.out.splitlines()] == [
            ["Id", "name", "year"],
            ["1", "a", "2016"],
            ["2", "NULL", "2016"],
            ["3", "ü", "2016"],
            ["1", "a", "2017"],
        ]
        assert run("head", "sales.orders", "year=2017", "--json", "-n", "1").json == [
            {"Id": 1, "name": "a", "at": "2026-03-01T12:00:00+00:00", "year": "2017"}
        ]
        assert len(run("head", "sales.orders", "2016", "--json").json) == 3

    def test_head_of_an_earlier_state(self, run: Run, orders: Table) -> None:
        first = history("sales", "orders", ["2016"])["batch_id"][1]
        assert len(run("head", "sales.orders", "--json", "--batch-id", first).json) == 1
        anchor("sales", "prices", "march")
        store_dataframe(FRAME[:0], "sales", "prices")
        assert run("head", "sales.prices", "--json").json == []
        assert run("head", "sales.prices").out.split() == ["Id", "name", "at"]
        assert len(run("head", "sales.prices", "--json", "--anchor", "march").json) == 3

    def test_head_reads_no_more_partitions_than_it_needs(self, run: Run, orders: Table) -> None:
        for file in Path(orders.root, "year=2017").rglob("*.gz"):
            file.unlink()
        assert len(run("head", "sales.orders", "-n", "3", "--json").json) == 3
        assert run("head", "sales.orders", "-n", "4").code == 1

    def test_history(self, run: Run, orders: Table) -> None:
        rollback("sales", "orders", ["2016"])
        lines = run("history", "sales.orders", "year=2016").out.splitlines()
        assert [line.split()[0] for line in lines] == ["commit", "3", "2", "1"]
        assert "3 *" in lines[1]
        assert "rollback to 1" in lines[1]
        assert lines[3].rstrip().endswith("first")
        found = run("history", "sales.orders", "--json").json
        assert {one["partition"] for one in found} == {"year=2016", "year=2017"}
        assert found[0]["when"].endswith("+00:00")
        everything = run("history", "--limit", "2")
        assert len(everything.out.splitlines()) == 3
        assert everything.err == "3 older ones: --limit 5\n"
        assert len(run("history", "sales", "--json").json) == 5

    def test_history_with_a_damaged_commit(self, run: Run, orders: Table) -> None:
        Path(orders.root, "year=2016/_workroom/00000001.json").write_bytes(b"")
        said = run("history", "sales.orders", "2016")
        assert said.code == 0
        assert "damaged" in said.out.splitlines()[2]
        assert run("history", "sales.orders", "2016", "--json").json[1]["when"] is None

    def test_anchors(self, run: Run, orders: Table) -> None:
        assert run("anchors", "sales.orders").out.startswith("None yet")
        anchor("sales", "orders", "march", "board")
        assert run("anchors", "sales.orders").out.splitlines()[1].split()[:2] == ["march", "1"]
        assert run("anchors", "sales.orders", "--json").json[0]["partitions"] == 2


class TestActing:
    def test_rollback_says_what_it_did(self, run: Run, orders: Table) -> None:
        said = run("rollback", "sales.orders", "year=2016", "--yes", "--note", "oh", "--json")
        assert (said.code, said.json["number"], said.json["partition"]) == (0, 3, "year=2016")
        assert history("sales", "orders", ["2016"])["note"][0] == "oh"
        assert run("rollback", "sales.orders", "2016", "--number", "2", "-y").out.startswith(
            "Rolled back. sales.orders year=2016: 3 rows"
        )

    @pytest.mark.parametrize(("answer", "number", "code"), [("y", 3, 0), ("n", 2, 1), ("", 2, 1)])
    def test_rollback_asks(
        self,
        run: Run,
        orders: Table,
        monkeypatch: pytest.MonkeyPatch,
        answer: str,
        number: int,
        code: int,
    ) -> None:
        typed = io.StringIO(f"{answer}\n")
        monkeypatch.setattr(typed, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stdin", typed)
        said = run("rollback", "sales.orders", "year=2016")
        assert said.code == code
        assert "from commit 2, batch" in said.err
        assert "to   commit 1, batch" in said.err
        assert "Go back? [y/N]" in said.err
        assert history("sales", "orders", ["2016"])["number"][0] == number

    def test_rollback_where_nobody_can_be_asked(
        self, run: Run, orders: Table, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
        said = run("rollback", "sales.orders", "year=2016")
        assert (said.code, "--yes" in said.err, said.out) == (2, True, "")
        assert len(history("sales", "orders", ["2016"])) == 2

    def test_what_was_asked_about_is_what_is_done(
        self, run: Run, orders: Table, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def somebody_stores(*_: Any, **__: Any) -> bool:
            store_dataframe(FRAME, "sales", "orders", ["2016"])
            return True

        monkeypatch.setattr(typer, "confirm", somebody_stores)
        typed = io.StringIO()
        monkeypatch.setattr(typed, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stdin", typed)
        said = run("rollback", "sales.orders", "2016", "--number", "1")
        assert said.code == 1
        assert "made commit 3" in said.err
        assert len(history("sales", "orders", ["2016"])) == 3

    def test_check_and_fix(self, run: Run, orders: Table, metastore: CatalogueInMemory) -> None:
        assert run("check") == Said("All is well.\n", "", 0)
        assert run("check", "--json").json == []
        metastore.down_for = {"point"}
        with pytest.warns(DataWarning):
            store_dataframe(FRAME, "sales", "orders", ["2017"])
        metastore.down_for = set()
        said = run("check", "sales.orders")
        assert said.code == 1
        assert said.out.splitlines() == [
            "wrong: sales.orders year=2017: The metastore is at commit 1, its log at 2. "
            "`workroom-data check --fix` puts it right.",
            "1 wrong.",
        ]
        found = run("check", "sales", "--json")
        assert (found.code, found.json[0]["kind"]) == (1, "behind")
        fixed = run("check", "--fix")
        assert (fixed.code, fixed.out.splitlines()[1]) == (0, "All is well. 1 put right.")
        assert run("check").code == 0

    def test_a_note_of_check_is_no_failure(self, run: Run, orders: Table) -> None:
        Path(orders.root, "year=2016/20260101T000000Z-00000000").mkdir()
        said = run("check")
        assert (said.code, said.out.startswith("note:  sales.orders: 1 batch folder")) == (0, True)

    def test_rebuild(self, run: Run, orders: Table, metastore: CatalogueInMemory) -> None:
        assert run("rebuild").out == "The metastore says what the logs say.\n"
        metastore.lose_all()
        dry = run("rebuild", "--dry-run")
        assert dry.out.splitlines()[-1] == "4 to do."
        assert metastore.databases() == []
        assert len(run("rebuild", "sales.orders", "--json").json) == 3
        assert run("rebuild").out.splitlines() == [
            "sales.prices: new table of 3 columns",
            "1 done.",
        ]
        assert len(load_dataframe("sales", "orders")) == 5

    def test_warnings_are_notes(
        self, run: Run, orders: Table, metastore: CatalogueInMemory
    ) -> None:
        metastore.down_for = {"point"}
        said = run("rollback", "sales.orders", "2016", "--yes", "--json")
        assert said.code == 0
        assert said.err.startswith("Note: Rolled back to batch")
        assert said.json["number"] == 3


class TestFailing:
    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["ls", "sale"], "no database 'sale'. Did you mean 'sales'?"),
            (["ls", "sales.order"], "no table 'order' in 'sales'. Did you mean 'orders'?"),
            (["describe", "sales.order"], "no table 'order'"),
            (["head", "sales.orders", "1999"], "no partition year=1999"),
            (["head", "sales.orders", "--anchor", "x"], "no anchor 'x'"),
            (["head", "sales.orders", "--as-of", "noon"], "no point in time"),
            (["head", "sales.orders", "-c", "nope"], "no column 'nope'"),
            (["history", "sales.orders", "1999"], "no history of sales.orders year=1999"),
            (["rollback", "sales.orders", "2016", "--number", "9", "-y"], "no commit 9"),
            (["rollback", "sales.orders", "-y"], "no value for year"),
            (["anchors", "sale.orders"], "no database 'sale'"),
            (["check", "sales.order"], "no table 'order'"),
            (["rebuild", "sale"], "no database 'sale'"),
        ],
    )
    def test_one_line(self, run: Run, orders: Table, words: list[str], says: str) -> None:
        for more in ([], ["--json"]):
            said = run(*words, *more)
            assert (said.code, said.out) == (1, "")
            assert says in said.err
            assert said.err.count("\n") == 1

    @pytest.mark.parametrize(
        "words",
        [
            ["head"],
            ["head", "sales"],
            ["head", "a.b.c"],
            ["head", ".b"],
            ["describe", "sales."],
            ["head", "sales.orders", "year=2016", "3"],
            ["head", "sales.orders", "year="],
            ["head", "sales.orders", "year=1/year=2"],
            ["head", "sales.orders", "-n", "0"],
            ["head", "sales.orders", "-n", "9" * 21],
            ["history", "sales.orders", "-n", "9" * 21],
            ["rollback", "sales.orders", "--number", "x"],
            ["nothing"],
            ["ls", "--colour"],
        ],
    )
    def test_usage(self, run: Run, orders: Table, words: list[str]) -> None:
        said = run(*words)
        assert (said.code, said.out) == (2, "")
        assert said.err
        assert "unexpected" not in said.err

    def test_an_outage(self, run: Run, orders: Table, metastore: CatalogueInMemory) -> None:
        metastore.down = True
        for words in (["ls"], ["ls", "sales"], ["head", "sales.orders"], ["check"], ["rebuild"]):
            said = run(*words)
            assert (said.code, said.out) == (1, "")
            assert said.err == "The metastore does not answer. It is down on purpose.\n"

    def test_a_traceback_only_if_asked_and_never_a_secret(
        self, run: Run, orders: Table, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: Any) -> None:
            raise RuntimeError("a key of\ns3cr3t")

        monkeypatch.setenv("WORKROOM_DATA_S3_SECRET", "s3cr3t")
        monkeypatch.setattr(CatalogueInMemory, "databases", broken)
        said = run("ls")
        assert said == Said(
            "",
            "Something unexpected happened: RuntimeError: a key of *** (--debug shows where)\n",
            1,
        )
        assert "Traceback" in run("--debug", "ls").err

    def test_interrupted(self, run: Run, orders: Table, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(*_: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(CatalogueInMemory, "databases", interrupted)
        said = run("ls")
        assert said.code == 130
        assert "Traceback" not in said.err


class TestShown:
    def test_no_control_codes_in_a_pipe_and_nothing_wrapped(self, run: Run, orders: Table) -> None:
        note = "a long note " * 20
        store_dataframe(FRAME, "sales", "orders", ["2016"], note=note)
        for words in (["ls", "sales"], ["history", "sales.orders"], ["check"], ["--help"]):
            assert "\x1b" not in run(*words).out
        lines = run("history", "sales.orders", "2016").out.splitlines()
        assert len(lines) == 4

    def test_batch_ids_are_whole_on_a_narrow_terminal(
        self, run: Run, orders: Table, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store_dataframe(FRAME, "sales", "orders", ["2016"], note="a long note " * 20)
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setenv("NO_COLOR", "1")
        terminal = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", terminal)
            run("history", "sales.orders", "2016")
        lines = re.sub(r"\x1b\[[0-9;]*m", "", terminal.text()).splitlines()
        assert max(map(len, lines)) <= 100
        for batch_id in history("sales", "orders", ["2016"])["batch_id"]:
            assert any(batch_id in line for line in lines)

    def test_colour_on_a_terminal_unless_it_is_not_wanted(
        self, run: Run, orders: Table, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.delenv("NO_COLOR", raising=False)
        for wanted in (True, False):
            terminal = Terminal()
            with monkeypatch.context() as patch:
                patch.setattr(sys, "stdout", terminal)
                run("ls", "sales")
                assert ("\x1b[36m" in terminal.text()) is wanted
            monkeypatch.setenv("NO_COLOR", "1")

    def test_what_others_wrote_cannot_steer_the_terminal(self, run: Run, orders: Table) -> None:
        bidi = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
        evil = f"\x1b]0;owned\x07[red]\u202e\r\n{bidi}"
        frame = FRAME.assign(name=evil)
        store_dataframe(frame, "sales", "orders", ["2016"], note=evil)
        for words in (["history", "sales.orders"], ["head", "sales.orders"]):
            said = run(*words).out
            assert "\\x1b]0;owned\\x07[red]\\u202e\\r\\n" in said
            assert not {"\x1b", "\x07", "\r", *bidi} & set(said)
        assert run("head", "sales.orders", "--json").json[0]["name"] == evil

    def test_json_of_any_value(self) -> None:
        given = [float("nan"), 1.5, Decimal("1.10"), b"\0\xff", date(2026, 3, 1), None, True]
        assert cli_show.plain([*given, {1: timedelta(days=1)}]) == [
            "nan",
            1.5,
            "1.10",
            "AP8=",
            "2026-03-01",
            None,
            True,
            {"1": "1 day, 0:00:00"},
        ]

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ([], None),
            (["2016", "3"], ["2016", "3"]),
            (["year=2016/month=3"], {"year": "2016", "month": "3"}),
            (["year=2016", "month=3"], {"year": "2016", "month": "3"}),
            (["city=a%2Fb=c/"], {"city": "a/b=c"}),
        ],
    )
    def test_partitions(self, words: list[str], expected: Any) -> None:
        assert cli_words.partition(words) == expected


@pytest.mark.docker
def test_a_process_of_its_own_on_the_real_servers(
    settings: Settings, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_current", None)
    connect(settings)
    batch = store_dataframe(FRAME, database, "orders", {"year": "2016"})
    names = {
        "WAREHOUSE": settings.warehouse,
        "METASTORE": settings.metastore,
        "S3_ENDPOINT": settings.s3_endpoint,
        "S3_REGION": settings.s3_region,
        "S3_KEY_ID": settings.s3_key_id,
        "S3_SECRET": settings.s3_secret,
    }
    environment = {f"WORKROOM_DATA_{name}": value for name, value in names.items()}
    command = Path(sys.executable).with_name("workroom-data")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [command, *words],
            env={"PATH": os.environ["PATH"], **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    listed = run("ls", f"{database}.orders", "--json")
    assert json.loads(listed.stdout)[0]["batch_id"] == batch.batch_id
    asked = run("rollback", f"{database}.orders", "2016", "--number", "7", "--yes")
    assert (asked.returncode, asked.stdout, asked.stderr.count("\n")) == (1, "", 1)
    assert settings.s3_secret not in asked.stderr
