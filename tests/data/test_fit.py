"""A frame and its table: order, new columns, narrower types, and what is refused."""

from __future__ import annotations

import dataclasses
from decimal import Decimal

import pyarrow as pa
import pytest

from workroom_data.catalogue import Column, Table
from workroom_data.commits import Commit, StoredColumn
from workroom_data.errors import SchemaError
from workroom_data.fit import fit, fit_newest, hive_column, narrower
from workroom_data.frames import to_arrow
from workroom_data.types import UTC_COMMENT


def table(*columns: Column) -> Table:
    return Table("db", "t", columns, (), "text", "/w/db/t", "/w/db/t")


def fitted(data: pa.Table, *columns: Column) -> tuple[list[str], list[str], list[str]]:
    """Return names and Hive types of what is stored, and the names that are new."""
    found = fit(data, to_arrow(data)[1], table(*columns))
    assert found.data.column_names == [column.name for column in found.columns]
    return (
        found.data.column_names,
        [column.hive for column in found.columns],
        [column.name for column in found.added],
    )


ID, NAME = Column("id", "bigint"), Column("name", "string")


def test_the_tables_order_new_columns_last_in_the_frames_order() -> None:
    data = pa.table({"Z": [1.5], "NAME": ["x"], "a": [b"y"], "Id": [1]})
    names, hives, added = fitted(data, ID, NAME)
    assert names == ["Id", "NAME", "Z", "a"]
    assert hives == ["bigint", "string", "double", "binary"]
    assert added == ["z", "a"]


def test_rows_go_with_their_columns() -> None:
    data = pa.table({"name": ["x", "y"], "id": [1, 2]})
    found = fit(data, to_arrow(data)[1], table(ID, NAME))
    assert found.data.to_pydict() == {"id": [1, 2], "name": ["x", "y"]}
    assert found.added == ()


def test_columns_that_are_missing_are_named_with_their_types() -> None:
    with pytest.raises(SchemaError) as caught:
        fitted(pa.table({"id": [1]}), ID, NAME, Column("more", "date"))
    assert str(caught.value) == (
        "The frame lacks 'name' (string), 'more' (date) of db.t, which has 'id', 'name', 'more'. "
        "Columns are never dropped; give the frame the column (df['name'] = None for NULLs)."
    )


WIDER = {
    "tinyint": ["smallint", "int", "bigint"],
    "smallint": ["int", "bigint"],
    "int": ["bigint"],
    "float": ["double"],
    "decimal(5,2)": [
        "decimal(5,2)",
        "decimal(6,2)",
        "decimal(6,3)",
        "decimal(38,10)",
        "decimal(38,35)",
    ],
}
TYPES = [
    *("boolean", "tinyint", "smallint", "int", "bigint", "float", "double", "string", "binary"),
    *("date", "timestamp", "decimal(5,2)", "decimal(6,2)", "decimal(6,3)", "decimal(38,10)"),
    *("decimal(38,35)", "decimal(38,36)", "decimal(5,1)", "decimal(4,2)", "array<int>"),
]


@pytest.mark.parametrize("given", ["tinyint", "smallint", "int", "float", "decimal(5,2)", "string"])
@pytest.mark.parametrize("wanted", TYPES)
def test_narrower_is_where_every_value_fits(given: str, wanted: str) -> None:
    assert narrower(given, wanted) == (wanted in WIDER.get(given, []))


@pytest.mark.parametrize(
    ("values", "hive"),
    [
        (pa.array([1], pa.int8()), "bigint"),
        (pa.array([1], pa.uint8()), "int"),
        (pa.array([1.5], pa.float32()), "double"),
        (pa.array([Decimal("1.5")]), "decimal(38,10)"),
        (pa.array([None, None]), "array<int>"),
        (pa.array([None]), "timestamp"),
    ],
    ids=str,
)
def test_a_narrower_column_is_stored_as_the_tables_type(values: pa.Array, hive: str) -> None:
    assert fitted(pa.table({"a": values}), Column("a", hive)) == (["a"], [hive], [])


def test_what_a_load_gives_back_is_the_frames_own_type_still() -> None:
    data = pa.table({"a": pa.array([1], pa.int8())})
    (column,) = fit(data, to_arrow(data)[1], table(Column("a", "bigint"))).columns
    assert (column.hive, column.arrow) == ("bigint", "int8")


def test_a_comment_of_somebody_elses_does_not_decide_about_time_zones() -> None:
    data = pa.table({"a": pa.array([0], pa.timestamp("us", "UTC"))})
    fitted(data, Column("a", "timestamp", "when it was sold"))
    fitted(data, Column("a", "timestamp", UTC_COMMENT))
    with pytest.raises(SchemaError, match="times without a time zone"):
        fitted(data, Column("a", "timestamp"))


def test_hives_column_is_in_lower_case() -> None:
    assert hive_column(StoredColumn("GRÖSSE", "int", "int32")) == Column(
        "größe".upper().lower(), "int"
    )


# ---- The newest commit --------------------------------------------------------------------


OURS = (StoredColumn("Id", "bigint", "int64"), StoredColumn("t", "timestamp", "timestamp[us]"))


def newest(*columns: StoredColumn, format: str = "text") -> Commit:
    where = ("now", "host", "db", "t", (), (), format, "/w/db/t/b")
    return Commit(7, "b", "store", "ada", *where, columns, (), 0, 0, "workroom-data")


@pytest.mark.parametrize(
    "columns",
    [
        OURS,
        OURS[:1],  # it is we who add one
        (dataclasses.replace(OURS[0], name="iD", arrow="int8", pandas="Int8"), OURS[1]),
        (OURS[0], dataclasses.replace(OURS[1], arrow="timestamp[ns]")),
        (OURS[0], dataclasses.replace(OURS[1], arrow="null")),
    ],
)
def test_a_commit_that_ours_may_follow(columns: tuple[StoredColumn, ...]) -> None:
    fit_newest(OURS, "text", newest(*columns))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ((*OURS, StoredColumn("More", "int", "int32")), "gave db.t the column 'More' (int)"),
        ((OURS[1], OURS[0]), "gave db.t the column 't' (timestamp)"),
        ((dataclasses.replace(OURS[0], hive="int"),), "'Id' of db.t is int (int64) since commit 7"),
        (
            (OURS[0], dataclasses.replace(OURS[1], arrow="timestamp[us, tz=UTC]")),
            "'t' of db.t is timestamp (timestamp[us, tz=UTC]) since commit 7 of ada",
        ),
        (
            (
                OURS[0],
                dataclasses.replace(
                    OURS[1],
                    arrow="dictionary<values=timestamp[s, tz=UTC], indices=int8, ordered=0>",
                ),
            ),
            "'t' of db.t is timestamp (dictionary<values=timestamp[s, tz=UTC]",
        ),
    ],
)
def test_a_commit_that_ours_may_not_follow(columns: tuple[StoredColumn, ...], said: str) -> None:
    with pytest.raises(SchemaError) as caught:
        fit_newest(OURS, "text", newest(*columns))
    assert said in str(caught.value)


def test_a_commit_of_another_format() -> None:
    with pytest.raises(SchemaError, match="has batches of format 'parquet' since commit 7"):
        fit_newest(OURS, "text", newest(*OURS, format="parquet"))
