"""Values of partition keys: the one text of each, and what it is compared by.

The text of a value is what counts everywhere: `'2016'`, of an int key `'7'` and never `'007'`, of a
date `'2016-03-01'`.
"""

from __future__ import annotations

import operator
import re
import unicodedata
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from workroom_data.catalogue import Column
from workroom_data.errors import PartitionError
from workroom_data.types import arrow_type

NULL = "__HIVE_DEFAULT_PARTITION__"
"""What Hive and Spark write for a key that is NULL."""

_NUMBER = re.compile(r"[+-]?[0-9]+")
_BITS = {"tinyint": 8, "smallint": 16, "int": 32, "bigint": 64}
_NO_TEXT = ("Cc", "Cs")  # control characters, halves of characters


def text(value: Any, key: Column) -> str:
    """Return the one text of a value of a key.

    Args:
        value: Text, an integer, or a date; NumPy's and pandas' as well.
        key: The key, whose type decides.

    Raises:
        PartitionError: It is no value of that type, or none that a partition can have.
    """
    if several(value):
        raise _unusable(value, key, "It takes one value.")
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        raise _unusable(value, key, "There is no partition for NULL: use a text such as 'none'.")
    if key.hive in _BITS:
        return str(_integer(value, key))
    if key.hive == "date":
        return _date(value, key).isoformat()
    return _string(value, key)


def several(given: Any) -> bool:
    """Say whether it is a list, set, range, array, Series or Index, and not one value."""
    return hasattr(given, "__iter__") and not isinstance(given, (str, bytes, Mapping))


def _integer(value: Any, key: Column) -> int:
    fix = f"Key {key.name!r} is {key.hive}: use whole numbers."
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        number = int(value) if len(value) <= 20 else 1 << 64
    elif isinstance(value, str) or _is_bool(value):
        raise _unusable(value, key, fix)
    else:
        try:
            number = operator.index(value)
        except TypeError as error:
            raise _unusable(value, key, fix) from error
    half = 1 << (_BITS[key.hive] - 1)
    if not -half <= number < half:
        raise _unusable(value, key, f"A {key.hive} is between {-half} and {half - 1}.")
    return number


def _date(value: Any, key: Column) -> date:
    if isinstance(value, np.datetime64):
        value = pd.Timestamp(value)
    if isinstance(value, datetime):
        if value.utcoffset():  # of the same moment the day is another one elsewhere
            fix = f"Key {key.name!r} is a date, which has no time zone: use value.date()."
            raise _unusable(value, key, fix)
        finer = getattr(value, "nanosecond", 0)
        if (value.hour, value.minute, value.second, value.microsecond, finer) == (0, 0, 0, 0, 0):
            return value.date()
        raise _unusable(value, key, f"Key {key.name!r} is a date: leave out the time of day.")
    if isinstance(value, date):
        return value
    try:
        # Python's own reader takes other spellings too; one spelling is one partition.
        if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise _unusable(value, key, f"Key {key.name!r} is a date: use '2016-03-01' or a date.")


def _string(value: Any, key: Column) -> str:
    if isinstance(value, datetime):
        raise _unusable(value, key, "Use text, such as '2016-03-01'.")
    if isinstance(value, date):
        return str(value)
    if not isinstance(value, str):
        if _is_bool(value) or not hasattr(value, "__index__"):
            raise _unusable(value, key, f"Key {key.name!r} is text: use text or a whole number.")
        value = str(operator.index(value))
    if not value:
        raise _unusable(value, key, "Hive has no partition of empty text: use 'none', say.")
    if value == NULL:
        raise _unusable(value, key, "That is what Hive writes for NULL: use another text.")
    for letter in value:
        if unicodedata.category(letter) in _NO_TEXT or letter in "\ufffe\uffff":
            raise _unusable(value, key, f"{letter!r} cannot be in the name of a partition.")
    if value != value.strip():
        # To many a metastore's database 'a ' and 'a' are the same.
        raise _unusable(value, key, f"Leave out the blanks around it: {value.strip()!r}.")
    return str(value)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool) or str(getattr(value, "dtype", "")) == "bool"


def _unusable(value: object, key: Column, fix: str) -> PartitionError:
    shown = repr(value)
    shown = shown if len(shown) <= 300 else f"{shown[:80]}…"
    return PartitionError(f"{shown} cannot be the value of partition key {key.name!r}.", fix)


def parsed(given: str, key: Column) -> int | date | str | None:
    """Return a value to compare by; None for NULL, and for what is no value of the key's type.

    The text may be a stranger's: Spark's INSERT writes what it likes.
    """
    if given in (NULL, ""):
        return None
    try:
        if key.hive in _BITS:
            return int(given)
        return date.fromisoformat(given) if key.hive == "date" else given
    except ValueError:
        return None


def scalar(given: str, key: Column) -> Any:
    """Return a value as an Arrow scalar of the key's type (pa.Scalar)."""
    return pa.scalar(parsed(given, key), arrow_type(key.hive))
