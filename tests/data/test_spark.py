"""Spark SQL of the notebook image reads what `store_dataframe` wrote, on the same metastore.

One Spark session answers all of them; it starts while the first tables are stored.
"""

# ruff: noqa: S608 - the tables of these queries are the tests' own

from __future__ import annotations

import dataclasses
import datetime as dt
import subprocess
from collections.abc import Iterator

import pandas as pd
import pyarrow as pa
import pytest

from tests.data.spark_values import GAP, adversarial, differences
from tests.support.data_servers import BUCKET, SECRET, DataServers
from tests.support.spark_sql import SparkSql
from workroom_data import load_dataframe, rollback, session, store_dataframe
from workroom_data.errors import DataWarning

pytestmark = pytest.mark.docker

FORMATS = ("text", "parquet")
DB = "read_by_spark"
ROWS = 1500
ODD = ("a/b=c%", "é  😀", "back\\slash:", "[1]{2}^", "%2F", "o'clock", 'a "b" #?*')


@pytest.fixture(scope="module")
def spark(data_servers: DataServers) -> Iterator[SparkSql]:
    """A Spark session, and this process connected to the same warehouse."""
    settings = dataclasses.replace(data_servers.settings, warehouse=f"s3://{BUCKET}/spark")
    running = SparkSql(settings)
    running.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "_current", None)
        session.connect(settings)
        try:
            yield running
        finally:
            session.current().catalogue.close()
            running.stop()


def frame(*values: object, name: str = "a") -> pd.DataFrame:
    """A frame of one column."""
    return pd.DataFrame({name: list(values)})


def read(spark: SparkSql, table: str, tail: str = "") -> list[list[str | None]]:
    """All rows of a table, as text."""
    return spark.rows(f"select * from {DB}.{table} {tail}")


@pytest.mark.parametrize("form", FORMATS)
def test_every_value_of_every_type(spark: SparkSql, form: str) -> None:
    table = adversarial(ROWS, seed=4, nested=form == "parquet")
    stored = store_dataframe(table, DB, f"every_{form}", {"p": "x"}, format=form)
    said = read(spark, f"every_{form}", "order by n")
    assert {row[-1] for row in said} == {"x"}
    assert differences(table, said) == []
    # Names are Hive's, in lower case, and can be asked for.
    assert [name for name, _ in spark.columns(f"select * from {DB}.every_{form}")] == [
        *(name.lower() for name in table.column_names), "p",
    ]  # fmt: skip
    odd = spark.rows(f"select `Double.Precision`, `grüße``x``` from {DB}.every_{form} where n = 5")
    assert odd == [["4.9E-324", None]]
    # To Spark they have the types that the store said.
    types = {column.name.lower(): column.hive for column in stored.columns}
    described = spark.rows(f"describe {DB}.every_{form}")
    assert {row[0]: row[1] for row in described[: len(types)]} == types


def test_times_of_nanoseconds_are_cut_to_what_spark_has(spark: SparkSql) -> None:
    counts = [1_123_456_789, -1, 0, -(2**62)]
    table = pa.table({"t": pa.array(counts, pa.int64()).cast(pa.timestamp("ns")), "n": range(4)})
    store_dataframe(table, DB, "nanoseconds")
    shorter = pa.array([count // 1000 for count in counts], pa.int64()).cast(pa.timestamp("us"))
    expected = pa.table({"t": shorter, "n": table["n"]})
    assert differences(expected, read(spark, "nanoseconds", "order by n")) == []


def test_ten_days_that_hives_calendar_does_not_have(spark: SparkSql) -> None:
    """docs/data-types.md: in text, Hive's reader takes them for the ten days that follow."""
    days = [GAP[0] - dt.timedelta(days=1), *GAP, GAP[1] + dt.timedelta(days=1)]
    for form, shift in (("text", 10), ("parquet", 0)):
        store_dataframe(frame(*days), DB, f"gap_{form}", format=form)
        shown = [days[0], *(day + dt.timedelta(days=shift) for day in GAP), days[3]]
        assert sorted(read(spark, f"gap_{form}")) == sorted([str(day)] for day in shown)
        assert list(load_dataframe(DB, f"gap_{form}")["a"]) == days


@pytest.mark.parametrize("form", FORMATS)
def test_partitions(spark: SparkSql, form: str) -> None:
    name = f"parts_{form}"
    keys = {"city": "string", "level": "int", "day": "date"}
    for level, city in enumerate(ODD):
        place = {"city": city, "level": level, "day": dt.date(2026, 3, 1)}
        store_dataframe(frame(level), DB, name, place, partition_keys=keys, format=form)
    said = read(spark, name, "order by a")
    assert said == [[str(n), city, str(n), "2026-03-01"] for n, city in enumerate(ODD)]
    assert len(spark.rows(f"show partitions {DB}.{name}")) == len(ODD)
    [first] = spark.rows(f"show partitions {DB}.{name} partition (level=0)")
    assert first == ["city=a%2Fb%3Dc%25/level=0/day=2026-03-01"]
    assert len(read(spark, name, "where level between 2 and 4 and day > date'2026-01-01'")) == 3
    for level, city in enumerate(ODD if form == "text" else ODD[:1]):
        quoted = city.replace("\\", "\\\\").replace("'", "\\'")
        assert [row[0] for row in read(spark, name, f"where city = '{quoted}'")] == [str(level)]


@pytest.mark.parametrize("form", FORMATS)
def test_an_added_column_is_null_in_older_batches(spark: SparkSql, form: str) -> None:
    name = f"added_{form}"
    store_dataframe(frame(1), DB, name, {"p": "old"}, format=form)
    wide = frame(2).assign(More="m", when=pd.Timestamp("2026-03-01 12:00:00.000001"))
    store_dataframe(wide, DB, name, {"p": "new"})
    assert read(spark, name, "order by a") == [
        ["1", None, None, "old"],
        ["2", "m", "2026-03-01 12:00:00.000001", "new"],
    ]
    assert spark.rows(f"select a from {DB}.{name} where more is null") == [["1"]]


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_current_is_read_in_the_same_session(spark: SparkSql, form: str) -> None:
    for name, place in ((f"whole_{form}", None), (f"part_{form}", {"p": "x"})):
        first = store_dataframe(frame(1, 2), DB, name, place, format=form)
        ask = f"select a from {DB}.{name} order by a"
        assert spark.rows(ask) == [["1"], ["2"]]
        store_dataframe(frame(3), DB, name, place)
        assert spark.rows(ask) == [["3"]]
        rollback(DB, name, place, batch_id=first.batch_id)
        assert spark.rows(ask) == [["1"], ["2"]]
        # A frame of no rows is current too, and does not keep the other partitions from readers.
        store_dataframe(frame(1).head(0), DB, name, place)
        assert spark.rows(ask) == []
        if place:
            store_dataframe(frame(4), DB, name, {"p": "y"})
            assert spark.rows(ask) == [["4"]]


def test_what_the_metastore_says_is_standard(spark: SparkSql) -> None:
    serde = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"
    parquet = "org.apache.hadoop.hive.ql.io.parquet"
    wanted = {
        "text": {
            "Serde Library": serde,
            "InputFormat": "org.apache.hadoop.mapred.TextInputFormat",
            "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
            "Storage Properties": {
                "escape.delim=\\",
                "serialization.format=0",
                "serialization.escape.crlf=true",
                "field.delim=0",
            },
        },
        "parquet": {
            "Serde Library": f"{parquet}.serde.ParquetHiveSerDe",
            "InputFormat": f"{parquet}.MapredParquetInputFormat",
            "OutputFormat": f"{parquet}.MapredParquetOutputFormat",
            "Storage Properties": {"serialization.format=1"},
        },
    }
    for form, properties in wanted.items():
        batch = store_dataframe(frame(1), DB, f"standard_{form}", {"p": "x"}, format=form)
        for tail in ("", " partition (p='x')"):
            found = described(spark, f"standard_{form}{tail}")
            shown = set(found["Storage Properties"].strip("[]").split(", "))
            assert {**found, "Storage Properties": shown} | properties == {
                **found, "Storage Properties": shown,
            }  # fmt: skip
        assert found["Location"] == batch.location
        assert found["Partition Statistics"] == f"{batch.size} bytes, 1 rows"
        whole = described(spark, f"standard_{form}")
        assert (whole["Type"], whole["Provider"]) == ("EXTERNAL", "hive")


def described(spark: SparkSql, what: str) -> dict[str, str]:
    """What Spark says of a table or partition, by name."""
    rows = spark.rows(f"describe formatted {DB}.{what}")
    # Of a partition, Spark tells of the table as well, at the end.
    return {str(name): str(value) for name, value, _ in reversed(rows)}


@pytest.mark.parametrize("form", FORMATS)
def test_what_spark_inserts_is_loaded_with_a_warning(spark: SparkSql, form: str) -> None:
    name = f"inserted_{form}"
    values = pd.DataFrame({"a": ["é\0\n\\N", "", None], "b": [1.5, float("inf"), None]})
    store_dataframe(values, DB, name, {"p": "ours"}, format=form)
    spark.rows(f"insert into {DB}.{name} partition (p='theirs') select a, b from {DB}.{name}")
    with pytest.warns(DataWarning, match="written by another program"):
        found = load_dataframe(DB, name, {"p": "theirs"})
    pd.testing.assert_frame_equal(found[["a", "b"]], values)
    store_dataframe(values.head(1), DB, name, {"p": "theirs"})
    assert read(spark, name, "where p = 'theirs'") == [["é\0\n\\N", "1.5", "theirs"]]


def test_the_key_is_in_no_log_and_no_list_of_processes(spark: SparkSql) -> None:
    spark.rows("select 1")
    listed = subprocess.run(
        ["ps", "-eo", "args", "-ww"], capture_output=True, text=True, check=True
    ).stdout
    assert "org.apache.spark.deploy.SparkSubmit" in listed
    assert SECRET not in listed
    assert SECRET not in "".join(spark.said)
