"""The catalogue against a real Hive Metastore: tables, partitions, filters, what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from workroom_data.catalogue import Column, Pointer, Table
from workroom_data.errors import Conflict, NotFound, PartitionError, SchemaError
from workroom_data.hive import HiveCatalogue
from workroom_data.settings import Settings

pytestmark = pytest.mark.docker

COLUMNS = (Column("id", "bigint"), Column("amount", "decimal(38,10)", "in euros"))
YEAR = Column("year", "string")
MONTH = Column("month", "int")


@pytest.fixture
def table(settings: Settings, database: str) -> Table:
    """A table by year and month that is not made yet."""
    root = f"{settings.warehouse}/{database}/orders"
    return Table(database, "orders", COLUMNS, (YEAR, MONTH), "text", root, root)


@pytest.fixture
def made(catalogue: HiveCatalogue, table: Table) -> Table:
    """The table, made, as the metastore has it."""
    assert catalogue.create(table)
    there = catalogue.table(table.database, table.name)
    assert there is not None
    return there


def pointer(table: Table, *values: str, number: int = 1) -> Pointer:
    batch = f"20260102T030405Z-{number:08x}"
    location = f"{table.root}/p/{batch}"
    return Pointer(tuple(values), location, number, batch, table.columns, 10 * number, 1000)


class TestTables:
    def test_a_table_is_as_it_was_made(
        self, catalogue: HiveCatalogue, table: Table, settings: Settings, raw: Any
    ) -> None:
        assert catalogue.table(table.database, "orders") is None
        assert catalogue.create(table)
        there = catalogue.table(table.database, "orders")
        assert there is not None
        assert dataclasses.replace(there, parameters={}, owner="") == table
        assert there.owner == settings.who
        assert table.database in catalogue.databases()
        assert catalogue.tables(table.database) == ["orders"]
        base = raw.get_database(table.database)
        assert base.locationUri == f"{settings.warehouse}/{table.database}"

    def test_the_properties_are_the_standard_ones(
        self, catalogue: HiveCatalogue, made: Table, raw: Any
    ) -> None:
        text = raw.get_table(made.database, "orders")
        assert text.tableType == "EXTERNAL_TABLE"
        assert text.parameters["EXTERNAL"] == "TRUE"
        assert text.parameters["workroom.format"] == "text"
        assert text.parameters["workroom.version"] == "1"
        assert text.sd.inputFormat == "org.apache.hadoop.mapred.TextInputFormat"
        assert text.sd.serdeInfo.serializationLib.endswith(".lazy.LazySimpleSerDe")
        assert text.sd.serdeInfo.parameters == {
            "field.delim": "0",
            "serialization.format": "0",
            "escape.delim": "\\",
            "serialization.escape.crlf": "true",
        }
        other = dataclasses.replace(made, name="parquet", format="parquet", parameters={})
        assert catalogue.create(other)
        parquet = raw.get_table(made.database, "parquet")
        assert parquet.sd.serdeInfo.serializationLib.endswith(".ParquetHiveSerDe")
        assert parquet.sd.inputFormat.endswith(".MapredParquetInputFormat")

    def test_the_second_to_make_a_table_hears_so(
        self, catalogue: HiveCatalogue, made: Table
    ) -> None:
        other = dataclasses.replace(made, columns=(Column("other", "int"),))
        assert not catalogue.create(other)
        assert catalogue.table(made.database, made.name) == made

    def test_without_a_database_there_are_no_tables(
        self, catalogue: HiveCatalogue, database: str, raw: Any
    ) -> None:
        with pytest.raises(NotFound, match=database):
            catalogue.tables(database)
        catalogue._make_database(database)
        assert catalogue.tables(database) == []

    def test_names_of_columns_that_spark_takes(
        self, catalogue: HiveCatalogue, table: Table
    ) -> None:
        names = ["with space", "a,b", "select", "a.b", "ü☃😀", "a`b", "%", "a=b", "x" * 255]
        columns = tuple(Column(name, "string") for name in names)
        assert catalogue.create(dataclasses.replace(table, columns=columns))
        there = catalogue.table(table.database, table.name)
        assert there is not None
        assert there.columns == columns

    def test_a_type_or_name_that_hive_refuses(self, catalogue: HiveCatalogue, table: Table) -> None:
        wrong = dataclasses.replace(table, columns=(Column("a", "wibble"),))
        with pytest.raises(SchemaError, match=r"'a' wibble") as caught:
            catalogue.create(wrong)
        assert "Invalid column type" not in str(caught.value)
        assert "Invalid column type" in str(caught.value.__cause__)
        with pytest.raises(SchemaError, match=r"a-b"):
            catalogue.create(dataclasses.replace(table, name="a-b"))

    def test_text_that_is_no_unicode(self, catalogue: HiveCatalogue, made: Table) -> None:
        with pytest.raises(SchemaError, match=r"no Unicode"):
            catalogue.table(made.database, "\ud800")
        assert catalogue.table(made.database, made.name) == made


class TestStrangers:
    """Tables that are there and not ours."""

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"tableType": "VIRTUAL_VIEW", "viewOriginalText": "select 1"}, "is a view"),
            ({"parameters": {"EXTERNAL": "TRUE"}}, "not made by workroom_data"),
            ({"version": "2"}, "version '2'"),
            ({"format": "orc"}, "format 'orc'"),
            ({"delimiter": ","}, r"field\.delim=','"),
            ({"library": "org.example.Serde"}, r"org\.example\.Serde"),
        ],
    )
    def test_is_refused_with_the_reason(
        self, catalogue: HiveCatalogue, made: Table, raw: Any, change: dict[str, Any], says: str
    ) -> None:
        strange = raw.get_table(made.database, made.name)
        strange.tableName = "strange"
        strange.sd.location = f"{made.root}-strange"
        for name, value in change.items():
            if name in ("version", "format"):
                strange.parameters[f"workroom.{name}"] = value
            elif name == "delimiter":
                strange.sd.serdeInfo.parameters["field.delim"] = value
            elif name == "library":
                strange.sd.serdeInfo.serializationLib = value
            else:
                setattr(strange, name, value)
        raw.create_table(strange)
        with pytest.raises(SchemaError, match=says) as caught:
            catalogue.table(made.database, "strange")
        assert f"{made.database}.strange" in str(caught.value)
        assert caught.value.fix

    def test_a_partition_of_a_stranger_has_number_0(
        self, catalogue: HiveCatalogue, made: Table, raw: Any
    ) -> None:
        assert catalogue.point(made, pointer(made, "2016", "1"), new=True)
        theirs = raw.get_partition(made.database, made.name, ["2016", "1"])
        theirs.values, theirs.parameters = ["2017", "1"], {"numRows": "-1"}
        theirs.sd.location = f"s3a://{made.root.removeprefix('s3://')}/year=2017/month=1"
        raw.add_partition(theirs)
        found = catalogue.pointers(made, [("2017", "1")])
        location = f"{made.root}/year=2017/month=1"
        assert found == [Pointer(("2017", "1"), location, 0, "", COLUMNS, None, None)]


class TestPointers:
    def test_added_and_moved(self, catalogue: HiveCatalogue, made: Table) -> None:
        first, second = (pointer(made, "2016", "1", number=n) for n in (1, 2))
        assert not catalogue.point(made, first, new=False)
        assert catalogue.pointers(made) == []
        assert catalogue.point(made, first, new=True)
        assert catalogue.pointers(made) == [first]
        assert not catalogue.point(made, second, new=True)
        assert catalogue.pointers(made) == [first]
        assert catalogue.point(made, second, new=False)
        assert catalogue.pointers(made) == [second]

    def test_a_partition_keeps_its_own_columns(self, catalogue: HiveCatalogue, made: Table) -> None:
        wide = dataclasses.replace(
            pointer(made, "2016", "1"), columns=(*COLUMNS, Column("extra", "string"))
        )
        assert catalogue.point(made, wide, new=True)
        assert catalogue.pointers(made) == [wide]
        changed = dataclasses.replace(wide, columns=(Column("id", "string"),))
        assert catalogue.point(made, changed, new=False)
        assert catalogue.pointers(made) == [changed]

    @pytest.mark.parametrize(
        "value",
        [
            "2016", "a/b", "a=b", "100%", "%2F", "ü☃😀", "..", ".", " lead", "trail ", "A",
            "q'u\"o", "tab\t", "line\nline", "\x01", "\x7f", "\\", "*", "{a}", "[a]", "^", "a:b",
            "#?",
            "x" * 250,
        ],
    )  # fmt: skip
    def test_values_of_every_kind(self, catalogue: HiveCatalogue, made: Table, value: str) -> None:
        wanted = pointer(made, value, "1")
        assert catalogue.point(made, pointer(made, "other", "1"), new=True)
        assert catalogue.point(made, wanted, new=True)
        assert catalogue.pointers(made, [(value, "1"), ("none", "1")]) == [wanted]
        moved = pointer(made, value, "1", number=2)
        assert catalogue.point(made, moved, new=False)
        assert catalogue.pointers(made, [(value, "1")]) == [moved]

    @pytest.mark.parametrize(("value", "says"), [("x" * 257, "256"), ("/" * 256, "767")])
    def test_values_longer_than_the_metastore_keeps(
        self, catalogue: HiveCatalogue, made: Table, value: str, says: str
    ) -> None:
        before = catalogue.calls
        with pytest.raises(PartitionError, match=says):
            catalogue.point(made, pointer(made, value, "1"), new=True)
        assert catalogue.calls == before

    def test_by_values_by_filter_and_all(self, catalogue: HiveCatalogue, made: Table) -> None:
        everything = [
            pointer(made, year, month, number=int(month))
            for year in ("2015", "2016")
            for month in ("1", "11", "2")
        ]
        for one in everything:
            assert catalogue.point(made, one, new=True)

        def chosen(filter: str) -> list[tuple[str, ...]]:
            return [one.values for one in catalogue.pointers(made, filter=filter)]

        assert catalogue.pointers(made) == everything
        wanted = [("2016", "2"), ("2015", "1"), ("2015", "1"), ("1999", "1")]
        assert catalogue.pointers(made, wanted) == [everything[0], everything[5]]
        assert catalogue.pointers(made, []) == []
        assert chosen("year = '2016' and month >= 2") == [("2016", "11"), ("2016", "2")]
        assert chosen("(month = 1 or month = 11) and year < '2016'") == [
            ("2015", "1"),
            ("2015", "11"),
        ]
        assert chosen("year between '2016' and '2017' and month != 1") == [
            ("2016", "11"),
            ("2016", "2"),
        ]
        assert chosen("year = '1999'") == []

    @pytest.mark.parametrize(
        "filter",
        ["nonsense", "amount = 1", "year in ('2016')", "month = 'x'", "year = 2016",
         "month = 99999999999999999999"],
    )  # fmt: skip
    def test_a_filter_that_cannot_be_used(
        self, catalogue: HiveCatalogue, made: Table, filter: str
    ) -> None:
        with pytest.raises(PartitionError) as caught:
            catalogue.pointers(made, filter=filter)
        assert repr(filter) in str(caught.value)
        assert "year (string), month (int)" in str(caught.value)
        assert "Exception" not in str(caught.value)

    def test_of_a_table_that_is_gone(self, catalogue: HiveCatalogue, made: Table, raw: Any) -> None:
        raw.drop_table(made.database, made.name, False)
        one = pointer(made, "2016", "1")
        for request in (
            lambda: catalogue.pointers(made),
            lambda: catalogue.pointers(made, [("2016", "1")]),
            lambda: catalogue.pointers(made, filter="year = '2016'"),
            lambda: catalogue.point(made, one, new=True),
            lambda: catalogue.point(made, one, new=False),
            lambda: catalogue.alter(made),
        ):
            with pytest.raises(NotFound, match=made.name):
                request()


class TestUnpartitioned:
    @pytest.fixture
    def plain(self, table: Table) -> Table:
        return dataclasses.replace(table, keys=())

    def test_the_table_is_its_own_pointer(
        self, catalogue: HiveCatalogue, plain: Table, raw: Any
    ) -> None:
        first, second = (pointer(plain, number=n) for n in (1, 2))
        assert catalogue.create(plain, first)
        there = catalogue.table(plain.database, plain.name)
        assert there is not None
        assert (there.location, there.root) == (first.location, plain.root)
        assert catalogue.pointers(there) == [first]
        wide = dataclasses.replace(second, columns=(*COLUMNS, Column("extra", "string")))
        for new in (True, False):
            assert catalogue.point(there, wide, new=new)
            assert catalogue.pointers(there) == [wide]
        there = catalogue.table(plain.database, plain.name)
        assert there is not None
        assert (there.location, there.root) == (second.location, plain.root)
        assert there.columns == wide.columns
        assert raw.get_table(plain.database, plain.name).parameters["numRows"] == "20"

    def test_without_a_batch_it_has_no_pointer(
        self, catalogue: HiveCatalogue, plain: Table
    ) -> None:
        assert catalogue.create(plain)
        assert catalogue.pointers(plain) == []
        assert catalogue.point(plain, pointer(plain), new=True)
        assert catalogue.pointers(plain) == [pointer(plain)]

    def test_altered_while_its_pointer_moves(self, catalogue: HiveCatalogue, plain: Table) -> None:
        assert catalogue.create(plain, pointer(plain))
        before = catalogue.table(plain.database, plain.name)
        assert before is not None
        moved = pointer(plain, number=2)
        assert catalogue.point(before, moved, new=False)
        extra = (*COLUMNS, Column("extra", "string"))
        catalogue.alter(dataclasses.replace(before, columns=extra))
        assert catalogue.pointers(plain) == [dataclasses.replace(moved, columns=extra)]

    def test_gone(self, catalogue: HiveCatalogue, plain: Table) -> None:
        with pytest.raises(NotFound, match=r"orders"):
            catalogue.pointers(plain)
        with pytest.raises(NotFound, match=r"orders"):
            catalogue.point(plain, pointer(plain), new=False)


class TestAlter:
    def test_adds_columns_and_leaves_partitions(
        self, catalogue: HiveCatalogue, made: Table, raw: Any
    ) -> None:
        one = pointer(made, "2016", "1")
        assert catalogue.point(made, one, new=True)
        extra = (*COLUMNS, Column("extra", "string"))
        catalogue.alter(
            dataclasses.replace(made, columns=extra, parameters={**made.parameters, "own": "x"})
        )
        there = catalogue.table(made.database, made.name)
        assert there is not None
        assert (there.columns, there.parameters["own"]) == (extra, "x")
        assert (there.owner, there.location) == (made.owner, made.location)
        assert catalogue.pointers(made) == [one]

    def test_two_who_add_different_columns(self, catalogue: HiveCatalogue, made: Table) -> None:
        first = dataclasses.replace(made, columns=(*COLUMNS, Column("first", "string")))
        second = dataclasses.replace(made, columns=(*COLUMNS, Column("second", "string")))
        catalogue.alter(first)
        catalogue.alter(first)  # with the same idea a moment later
        with pytest.raises(Conflict, match=r"orders"):
            catalogue.alter(second)
        there = catalogue.table(made.database, made.name)
        assert there is not None
        assert there.columns == first.columns


class TestCalls:
    def test_every_verb_is_one_request(self, catalogue: HiveCatalogue, table: Table) -> None:
        def sent(verb: Any, *given: Any, **more: Any) -> int:
            before = catalogue.calls
            verb(*given, **more)
            return catalogue.calls - before

        assert sent(catalogue.table, table.database, table.name) == 1
        assert sent(catalogue.create, table) == 2  # the database, whether it is there or not
        assert sent(catalogue.create, dataclasses.replace(table, name="second")) == 2
        assert sent(catalogue.databases) == 1
        assert sent(catalogue.tables, table.database) == 1
        for number in range(20):
            assert sent(catalogue.point, table, pointer(table, str(number), "1"), new=True) == 1
        assert sent(catalogue.point, table, pointer(table, "1", "1", number=2), new=False) == 1
        assert sent(catalogue.pointers, table) == 1
        assert sent(catalogue.pointers, table, [(str(n), "1") for n in range(20)]) == 1
        assert sent(catalogue.pointers, table, filter="year > '1'") == 1
        there = catalogue.table(table.database, table.name)
        assert there is not None
        extra = dataclasses.replace(there, columns=(*COLUMNS, Column("extra", "string")))
        assert sent(catalogue.alter, extra) == 1
