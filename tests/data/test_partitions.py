"""Partition keys, values and names; which partitions a load means."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workroom_data import conditions
from workroom_data import partitions as parts
from workroom_data.catalogue import Column
from workroom_data.errors import PartitionError
from workroom_data.selections import select

YEAR, MONTH, DAY = Column("year", "string"), Column("month", "int"), Column("day", "date")
KEYS = (YEAR, MONTH)
TWO = [("2016", "3"), ("2015", "1")]
THERE = [(year, month) for year in ("2015", "2016", "2017") for month in ("1", "2", "11")]


def chosen(partitions: Any = None, where: str | None = None) -> list[tuple[str, ...]]:
    """Return what a selection keeps of THERE."""
    selection = select(KEYS, partitions, where)
    return [values for values in THERE if selection.keeps(values)]


class TestKeys:
    @pytest.mark.parametrize(
        ("given", "keys", "made"),
        [
            (None, None, ()),
            ([], None, ()),
            ({}, None, ()),
            ({"Year": "2016"}, None, (YEAR,)),
            ({"year": 2016, "month": 3}, None, (YEAR, Column("month", "string"))),
            (["2016"], ["Year"], (YEAR,)),
            ("2016", "year", (YEAR,)),
            (["2016", 3], {"year": "string", "month": "INT"}, KEYS),
            ({"month": 3, "year": "2016"}, {"year": "string", "month": "integer"}, KEYS),
        ],
    )
    def test_of_a_new_table(self, given: Any, keys: Any, made: tuple[Column, ...]) -> None:
        assert parts.keys_of(given, keys) == made

    @pytest.mark.parametrize(
        ("given", "keys", "says"),
        [
            (["2016"], None, "partitions={'KEY': '2016'}"),
            ("2016", None, "partitions={'KEY': '2016'}"),
            (["2016", 3], None, "{'KEY1': '2016', 'KEY2': 3}"),
            (None, ["year"], "partitioned by year, and no partition"),
            ({"a b": 1}, None, "'a b' cannot be the name of a partition key"),
            ({"2016": 1}, None, "'2016' cannot be"),
            ({"a/b": 1}, None, "'a/b' cannot be"),
            ({"": 1}, None, "'' cannot be"),
            ({3: 1}, None, "3 cannot be"),
            ({"größe": 1}, None, "'größe' cannot be"),
            ({"a": 1, "A": 2}, None, "a, A are the same"),
            (["1", "2"], ["a", "a"], "a, a are the same"),
            ({"a": 1}, {"a": "double"}, "type 'double'.*bigint"),
        ],
    )
    def test_refused(self, given: Any, keys: Any, says: str) -> None:
        with pytest.raises(PartitionError, match=says):
            parts.keys_of(given, keys)


class TestValues:
    @pytest.mark.parametrize(
        "given",
        [
            ["2016", "3"],
            ("2016", 3),
            {"month": "03", "year": "2016"},
            {"YEAR": 2016, "Month": np.int8(3)},
            {"year": np.str_("2016"), "month": "+3"},
        ],
    )
    def test_however_they_are_given(self, given: Any) -> None:
        assert parts.values(KEYS, given) == ("2016", "3")

    def test_one_alone_for_one_key(self) -> None:
        assert parts.values([YEAR], "2016") == parts.values([YEAR], 2016) == ("2016",)
        assert parts.values([], None) == parts.values([], []) == ()

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            (None, "no value for year, month"),
            (["2016"], "no value for month"),
            ({"month": 3}, "no value for year"),
            ({"yaer": 2016, "month": 3}, "'yaer' is no partition key.*year .string., month .int."),
            ({"year": 2016, "YEAR": 2016, "month": 3}, "'YEAR' is given twice"),
            (["2016", "3", "1"], "has 3 values"),
            ({"year": ["2015", "2016"], "month": 3}, "'year' has several values"),
            ({"year": np.array(["2015"]), "month": 3}, "'year' has several values"),
            ({"year": ("2015", "2016"), "month": 3}, "'year' has several values"),
        ],
    )
    def test_that_do_not_fit_the_keys(self, given: Any, says: str) -> None:
        with pytest.raises(PartitionError, match=says):
            parts.values(KEYS, given)

    def test_of_a_table_without_keys(self) -> None:
        with pytest.raises(PartitionError, match=r"has no partitions.*2016"):
            parts.values([], ["2016"])

    @pytest.mark.parametrize(
        ("value", "key", "text"),
        [
            (2016, YEAR, "2016"),
            ("007", YEAR, "007"),
            ("007", MONTH, "7"),
            (np.uint64(7), MONTH, "7"),
            ("-0", MONTH, "0"),
            (-(2**31), MONTH, "-2147483648"),
            (date(2016, 3, 1), YEAR, "2016-03-01"),
            (date(1, 1, 1), DAY, "0001-01-01"),
            ("2016-03-01", DAY, "2016-03-01"),
            (datetime(2016, 3, 1), DAY, "2016-03-01"),
            (pd.Timestamp("2016-03-01"), DAY, "2016-03-01"),
            (np.datetime64("2016-03-01"), DAY, "2016-03-01"),
        ],
    )
    def test_one_text_of_each(self, value: Any, key: Column, text: str) -> None:
        found = parts.text(value, key)
        assert found == text
        assert type(found) is str

    @pytest.mark.parametrize("value", [None, pd.NA, pd.NaT, float("nan"), np.nan])
    @pytest.mark.parametrize("key", [YEAR, MONTH, DAY])
    def test_null(self, value: Any, key: Column) -> None:
        with pytest.raises(PartitionError, match=f"{key.name!r}.*NULL"):
            parts.text(value, key)

    @pytest.mark.parametrize(
        "value",
        ["", " ", " a", "a ", "a\n", "\ta", "a\u00a0", "a\0b", "a\x7fb", "a\x85b", "\ud800",
         "a\uffff", "__HIVE_DEFAULT_PARTITION__", 2016.0, True, np.True_, b"a", {"a": 1}, ["a"],
         object(), datetime(2016, 3, 1)],
    )  # fmt: skip
    def test_no_text_of_a_partition(self, value: Any) -> None:
        with pytest.raises(PartitionError, match=r"cannot be the value of partition key 'year'\. "):
            parts.text(value, YEAR)

    @pytest.mark.parametrize(
        ("value", "key"),
        [
            *((value, MONTH) for value in ("", "x", " 7", "7 ", "1_0", "7.0", 7.0, True)),
            *((value, MONTH) for value in ("\u0667", "1e3", 2**31, -(2**31) - 1, "9" * 5000)),
            *((value, MONTH) for value in (np.True_, np.array([7]), Decimal(7))),
            (128, Column("k", "tinyint")),
            (2**63, Column("k", "bigint")),
            *((value, DAY) for value in ("2016-3-1", "20160301", "2016-W09-2", "2016-02-30", "")),
            *((value, DAY) for value in (0, np.int64(0), datetime(2016, 3, 1, 1), "x" * 5000)),
        ],
    )
    def test_no_value_of_the_keys_type(self, value: Any, key: Column) -> None:
        with pytest.raises(PartitionError, match=f"value of partition key {key.name!r}"):
            parts.text(value, key)

    def test_too_long(self) -> None:
        assert parts.values([YEAR], "x" * 256) == ("x" * 256,)
        with pytest.raises(PartitionError, match="'year' has 257 characters"):
            parts.values([YEAR], "x" * 257)
        with pytest.raises(PartitionError, match="name has 773 characters"):
            parts.values([YEAR], "=" * 256)

    def test_as_arrow(self) -> None:
        null = parts.scalar("__HIVE_DEFAULT_PARTITION__", YEAR)
        assert null == pa.scalar(None, pa.string())
        assert parts.scalar("2016", YEAR) == pa.scalar("2016")
        assert parts.scalar("007", MONTH) == pa.scalar(7, pa.int32())
        assert parts.scalar("seven", MONTH) == pa.scalar(None, pa.int32())
        assert parts.scalar("2016-03-01", DAY) == pa.scalar(date(2016, 3, 1))

    def test_order(self) -> None:
        null = "__HIVE_DEFAULT_PARTITION__"
        assert parts.ordered([MONTH], [("11",), (null,), ("2",), ("-1",)]) == [
            ("-1",),
            ("2",),
            ("11",),
            (null,),
        ]
        assert parts.ordered(KEYS, [("b", "1"), ("a", "2"), ("a", "1"), ("B", "1")]) == [
            ("B", "1"),
            ("a", "1"),
            ("a", "2"),
            ("b", "1"),
        ]


class TestNames:
    def test_as_hive_makes_them(self) -> None:
        assert parts.name(KEYS, ("2016", "3")) == "year=2016/month=3"
        assert parts.name([], ()) == ""
        for value, text in {
            "a/b": "a%2Fb", "a=b": "a%3Db", "a%b": "a%25b", "..": "..", "a b": "a b", "é😀": "é😀",
            "#'\"*:?\\{[]^\x7f\x01": "%23%27%22%2A%3A%3F%5C%7B%5B%5D%5E%7F%01", "}~&": "}~&",
        }.items():  # fmt: skip
            assert parts.name([YEAR], [value]) == f"year={text}"
        assert parts.name([YEAR], [""]) == "year=__HIVE_DEFAULT_PARTITION__"

    def test_folders(self) -> None:
        assert parts.folder("s3://b/t", [YEAR], ["../x"]) == "s3://b/t/year=..%2Fx"
        assert parts.folder("s3://b/t", [], []) == "s3://b/t"

    @settings(max_examples=500)
    @given(st.text())
    def test_there_and_back(self, value: str) -> None:
        name = parts.escape(value)
        assert parts.unescape(name) == value
        assert "/" not in name
        assert "=" not in name

    @settings(max_examples=500)
    @given(st.text(max_size=60))
    def test_a_value_is_itself_or_refused(self, value: str) -> None:
        try:
            found = parts.values([YEAR], value)
        except PartitionError:
            return
        assert found == (value,)
        assert parts.scalar(value, YEAR).as_py() == value

    @given(st.integers(-(2**31), 2**31 - 1), st.dates())
    def test_numbers_and_dates_there_and_back(self, number: int, day: date) -> None:
        assert parts.scalar(parts.text(number, MONTH), MONTH).as_py() == number
        assert parts.scalar(parts.text(day, DAY), DAY).as_py() == day


class TestSelections:
    @pytest.mark.parametrize(
        ("partitions", "values"),
        [
            (["2016", 3], [("2016", "3")]),
            ({"month": "03", "year": 2016}, [("2016", "3")]),
            ([{"year": 2016, "month": 3}, {"year": 2015, "month": 1}], TWO),
            ([("2016", 3), ["2015", 1], ("2016", 3)], TWO),
            ((("2016", 3),), [("2016", "3")]),
            (
                {"year": ["2015", "2016"], "month": [1, 2, "01"]},
                [("2015", "1"), ("2015", "2"), ("2016", "1"), ("2016", "2")],
            ),
            ({"year": ["2016"], "month": range(1, 3)}, [("2016", "1"), ("2016", "2")]),
            ({"year": pd.Series(["2016"]), "month": np.array([1])}, [("2016", "1")]),
        ],
    )  # fmt: skip
    def test_by_all_their_values(self, partitions: Any, values: list[tuple[str, ...]]) -> None:
        selection = select(KEYS, partitions, None)
        assert list(selection.values or ()) == values
        assert selection.filter == ""
        assert all(map(selection.keeps, values))

    @pytest.mark.parametrize(
        ("partitions", "kept", "filter"),
        [
            (None, THERE, ""),
            (["2016"], THERE[3:6], "year = '2016'"),
            ("2016", THERE[3:6], "year = '2016'"),
            ({"month": 11}, THERE[2::3], "month = 11"),
            ({"year": ["2015", "2017"]}, THERE[:3] + THERE[6:], "(year = '2015' or year = '2017')"),
            ({"year": ("2016", "2017")}, THERE[3:], "(year >= '2016' and year <= '2017')"),
            ({"month": (2, None)}, [one for one in THERE if one[1] != "1"], "month >= 2"),
            ({"month": (None, "02")}, [one for one in THERE if one[1] != "11"], "month <= 2"),
            ({"month": (2, 2)}, THERE[1::3], "(month >= 2 and month <= 2)"),
            (
                [{"year": "2015"}, {"year": "2016", "month": 1}],
                THERE[:4],
                "(year = '2015' or (year = '2016' and month = 1))",
            ),
        ],
    )
    def test_by_some_of_their_values(
        self, partitions: Any, kept: list[tuple[str, ...]], filter: str
    ) -> None:
        selection = select(KEYS, partitions, None)
        assert selection.values is None
        assert selection.filter == filter
        assert chosen(partitions) == kept

    @pytest.mark.parametrize(
        ("partitions", "says"),
        [
            ([], "names no partition"),
            ({}, "names no partition"),
            ([{}], "names no partition"),
            ([["2016"], []], "names no partition"),
            ({"year": []}, "'year' is to be one of no values"),
            (["2016", {"year": "2015"}], "mixes values and whole partitions"),
            (["2015", "2016", "2017"], "has 3 values"),
            ({"yaer": "2016"}, "'yaer' is no partition key"),
            ({"year": ("2015", "2016", "2017")}, "range of two ends"),
            ({"year": (None, None)}, "range of two ends"),
            ({"month": (11, 2)}, r"ends before it begins.*\(2, 11\)"),
            ({"month": ["x"]}, "'x' cannot be the value"),
            ({"month": None}, "NULL"),
            ({"year": map(str, range(1000)), "month": range(1000)}, "1,000,000 partitions"),
        ],
    )
    def test_refused(self, partitions: Any, says: str) -> None:
        with pytest.raises(PartitionError, match=says):
            select(KEYS, partitions, None)

    def test_of_a_table_without_keys(self) -> None:
        assert select([], None, None).keeps(())
        assert select([], [], None).keeps(())
        for partitions, where in ((["2016"], None), (None, "year = '2016'")):
            with pytest.raises(PartitionError, match="has no partitions"):
                select([], partitions, where)

    def test_with_a_condition_too(self) -> None:
        assert chosen({"year": "2016"}, "month > 1") == [("2016", "2"), ("2016", "11")]
        both = select(KEYS, [("2016", 1), ("2016", 2)], "month = 2")
        assert both.values == (("2016", "2"),)

    def test_what_must_be_there(self) -> None:
        def unmet(partitions: Any) -> str:
            return select(KEYS, partitions, None).unmet(THERE)

        assert unmet({"year": "2O16"}) == "year=2O16"
        assert unmet({"year": ["2016", "2018"]}) == "year=2018"
        assert unmet([{"year": "2016"}, {"month": 12}]) == "month=12"
        assert unmet({"year": "2016"}) == unmet({"year": ("2030", None)}) == unmet(None) == ""
        assert select(KEYS, {"year": "2018"}, "month = 1").unmet(THERE) == ""

    def test_many_values_are_not_pushed(self) -> None:
        few = select(KEYS, {"month": range(conditions.MOST)}, None)
        many = select(KEYS, {"month": range(conditions.MOST + 1)}, None)
        assert few.filter.count("=") == conditions.MOST
        assert many.filter == ""
        assert many.keeps(("2016", "100"))
        assert not many.keeps(("2016", "101"))


class TestConditions:
    @pytest.mark.parametrize(
        ("where", "filter"),
        [
            ("year >= '2016' and month = 3", "(year >= '2016' and month = 3)"),
            ("YEAR == '2016' OR Month <> 1", ""),
            ("year = '2016' and month != 1", "year = '2016'"),
            ("(year = '2015' or year='2016')and month<3",
             "((year = '2015' or year = '2016') and month < 3)"),
            ("year = '2015' or year = '2016' and month = 1",
             "(year = '2015' or (year = '2016' and month = 1))"),
            ("month between -1 and +2 and year = '2016'",
             "((month >= -1 and month <= 2) and year = '2016')"),
            ("month in (1, '02')", "(month = 1 or month = 2)"),
            ("((month = 1))", "month = 1"),
            ("year = 'it''s'", "year = \"it's\""),
            ('year = "a ""b"""', "year = 'a \"b\"'"),
            ("year = 'it''s \"so\"'", ""),
            ("year = 'a\\'", ""),
            ("year < 'm'", ""),
        ],
    )  # fmt: skip
    def test_what_the_metastore_is_asked(self, where: str, filter: str) -> None:
        assert select(KEYS, None, where).filter == filter

    @pytest.mark.parametrize(
        ("where", "kept"),
        [
            ("month != 1 and year < '2016'", [("2015", "2"), ("2015", "11")]),
            ("year = '2015' or year = '2016' and month = 1", THERE[:4]),
            ("(year = '2015' or year = '2016') and month = 1", [THERE[0], THERE[3]]),
            ("month between 2 and 11 and year in ('2016')", THERE[4:6]),
            ("month >= 02 and year > '2016'", THERE[7:]),
            ("year = 'nothing'", []),
        ],
    )
    def test_what_is_chosen(self, where: str, kept: list[tuple[str, ...]]) -> None:
        assert chosen(None, where) == kept

    @pytest.mark.parametrize(
        ("where", "says"),
        [
            ("", "where is ''"),
            (3, "where is 3"),
            ("year", "'its end' is where key 'year' should be compared"),
            ("year =", "'its end' is where a text"),
            ("price > 3", "'price' is where a partition key should be"),
            ("'2016' = year", "where a partition key should be"),
            ("year = month", "'month' is where a text in quotes"),
            ("year = 2016", "'year' is a string: put 2016 in quotes"),
            ("month = 'x'", "'x' cannot be the value"),
            ("month = 3.5", "'3.5'|'.5'"),
            ("month = 3 or", "'its end' is where a partition key"),
            ("month = 3 month = 4", "'month' comes where it should end"),
            ("(month = 3", "'its end' is where '\\)'"),
            ("month = 3)", "'\\)' comes where it should end"),
            ("month in ()", "is where a text"),
            ("month like 3", "'like' is where key 'month' should be compared"),
            ("not month = 3", "'not' is where a partition key"),
            ("month = 3; drop table t", "'; drop table t' is none"),
            ("year = 'open", "none of its signs"),
            ("f(year) = '1'", "'f' is where a partition key"),
            ("(" * 10_000 + "month = 1", "more than 50 parentheses"),
        ],
    )
    def test_refused(self, where: Any, says: str) -> None:
        with pytest.raises(PartitionError, match=says):
            select(KEYS, None, where)

    def test_the_example_in_the_message_can_be_read(self) -> None:
        """Of a table whose keys are texts, as keys are unless somebody says otherwise."""
        texts = [Column("year", "string"), Column("month", "string")]
        with pytest.raises(PartitionError) as caught:
            select(texts, None, "month = 3")
        example = str(caught.value).split('"')[1]
        assert select(texts, None, example).keeps(("2016", "3"))

    def test_null_meets_nothing(self) -> None:
        null = ("__HIVE_DEFAULT_PARTITION__", "x")
        for where in ("year = 'a'", "year != 'a'", "month != 1", "month < 1"):
            assert not select(KEYS, None, where).keeps(null)

    def test_keys_that_filters_have_as_words(self) -> None:
        selection = select([Column("in", "string")], None, "in = 'a' and in >= '1'")
        assert selection.filter == ""
        assert selection.keeps(("a",))

    @given(st.data())
    def test_the_metastore_is_never_asked_for_less(self, data: st.DataObject) -> None:
        """What Python makes of the filter chooses at least what the condition chooses."""
        keys = (Column("a", "int"), Column("b", "string"))
        texts = st.sampled_from(["1", "10", "2", "x", "it's", 'a"', "'\"", "\\", "z"])
        leaf = st.one_of(
            st.builds(
                conditions.Compare,
                st.just(keys[0]),
                st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
                st.sampled_from(["1", "10", "2"]),
            ),
            st.builds(
                conditions.Compare,
                st.just(keys[1]),
                st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
                texts,
            ),
        )
        condition: Any = data.draw(
            st.recursive(
                leaf,
                lambda inner: st.one_of(
                    st.builds(conditions.Both, st.lists(inner, max_size=3).map(tuple)),
                    st.builds(conditions.Either, st.lists(inner, max_size=3).map(tuple)),
                ),
                max_leaves=8,
            )
        )
        row: Mapping[str, str] = {"a": data.draw(st.sampled_from(["1", "2", "10"])),
                                  "b": data.draw(texts)}  # fmt: skip
        asked = condition.filter()
        if condition.holds(row) and asked:
            program = asked.replace(" = ", " == ").replace("\\", "\\\\")
            assert eval(program, {"a": int(row["a"]), "b": row["b"]})  # noqa: S307
