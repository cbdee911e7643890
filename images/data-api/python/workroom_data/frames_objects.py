"""pandas columns of Python objects: one kind of value in each, or a refusal.

pandas puts text, decimals, dates, and whatever did not fit elsewhere into columns of dtype object,
where None, NaN, NaT and pd.NA all mean that there is no value. They become NULL and come back as
None.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from workroom_data.errors import FrameError
from workroom_data.refusals import at, first_row, refusal

_NOTHING = (type(None), type(pd.NA), type(pd.NaT))
_DIGITS = 38  # of a decimal, in Arrow and in Hive
_KINDS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((bool, np.bool_), "bool"),
    ((str,), "str"),
    ((bytes,), "bytes"),
    ((int, np.integer), "int"),
    ((float, np.float16, np.float32, np.float64), "float"),
    ((Decimal,), "Decimal"),
    ((dt.datetime,), "datetime"),
    ((dt.date,), "date"),
)
"""Kinds of values; bool before int and datetime before date, whose subclasses they are."""
_NESTED = (list, tuple, dict, set, frozenset, np.ndarray, pd.Series, pd.DataFrame)


def object_array(name: str, values: Any, labels: Sequence[Any] | None) -> tuple[Any, str]:
    """Return a column of objects as Arrow, and the pandas dtype to give back ("object" or "").

    Args:
        name: The column's name.
        values: Its values, shape (rows,), dtype object.
        labels: The frame's index, for messages.

    Raises:
        FrameError: Values of several kinds, or of one that no column can hold.
    """
    text = _if_text(values)
    if text is not None:
        return text, ""
    kind = _only_kind(name, values, labels)
    if kind is None:
        return pa.nulls(len(values)), ""
    return _MAKERS[kind](name, values, labels)


def _if_text(values: Any) -> Any:
    """Return a column of nothing but text and NULL, else None. One pass, for the commonest kind."""
    first = next((value for value in values if not isinstance(value, _NOTHING)), None)
    if not isinstance(first, str):
        return None
    try:
        made = pa.array(values, from_pandas=True)
    except (pa.ArrowException, UnicodeError, OverflowError, TypeError, ValueError):
        return None
    return made if pa.types.is_string(made.type) else None


def kind_of(given: type) -> str:
    """Return the kind of values of a type: "str", "int" …, or the type's own name."""
    for types, kind in _KINDS:
        if issubclass(given, types) and given is not np.timedelta64:  # numpy's is an integer
            return kind
    return given.__name__


def _only_kind(name: str, values: Any, labels: Sequence[Any] | None) -> str | None:
    """Return the kind of all values, None if there are none.

    Raises:
        FrameError: There are several kinds, or one that cannot be stored.
    """
    kinds: dict[type, str] = {t: kind_of(t) for t in set(map(type, values)) if t not in _NOTHING}
    floats = {t for t, kind in kinds.items() if kind == "float"}
    if len(floats) < len(kinds) and _all_nan(values, floats):
        kinds = {t: kind for t, kind in kinds.items() if t not in floats}
    elif floats and _all_nan(values, floats):
        return None
    for given, kind in kinds.items():
        if kind not in _MAKERS:
            raise _unknown_kind(name, values, labels, given)
    found = set(kinds.values())
    if len(found) > 1:
        raise _mixed(name, values, labels, kinds)
    return found.pop() if found else None


def _all_nan(values: Any, floats: set[type]) -> bool:
    return all(value != value for value in values if type(value) in floats)


def _mixed(
    name: str, values: Any, labels: Sequence[Any] | None, kinds: dict[type, str]
) -> FrameError:
    """Return the refusal that names the first value of a rarer kind than the commonest."""
    count: Counter[str] = Counter()
    for given, times in Counter(map(type, values)).items():
        if given in kinds:
            count[kinds[given]] += times
    usual = count.most_common(1)[0][0]
    row, value = first_row(values, lambda v: kinds.get(type(v), usual) != usual and v == v)
    fix = f"Make them one type, such as df[{name!r}] = df[{name!r}].astype(str)."
    if set(count) == {"int", "float"}:
        fix = f"Make them one type: df[{name!r}] = df[{name!r}].astype(float)."
    elif set(count) == {"datetime", "date"}:
        fix = f"Make them one type: df[{name!r}] = pd.to_datetime(df[{name!r}])."
    return refusal(name, row, value, f"({type(value).__name__}) among {usual}", fix, labels)


def _unknown_kind(name: str, values: Any, labels: Sequence[Any] | None, given: type) -> FrameError:
    row, value = first_row(values, lambda v: type(v) is given)
    why = f"is a {given.__name__}, which no Hive column holds"
    fix = f"Store text: df[{name!r}] = df[{name!r}].astype(str)."
    if issubclass(given, _NESTED):
        why = f"is nested (a {given.__name__})"
        fix = (
            "Store JSON text (json.dumps), or give an Arrow table of lists or structs and create "
            "the table with format='parquet'."
        )
    elif issubclass(given, dt.timedelta | np.timedelta64):
        fix = f"Store a number: pd.to_timedelta(df[{name!r}]).dt.total_seconds()."
    elif issubclass(given, np.datetime64):
        fix = f"Use df[{name!r}] = pd.to_datetime(df[{name!r}])."
    elif issubclass(given, bytearray | memoryview):
        fix = f"Use df[{name!r}] = df[{name!r}].map(bytes)."
    elif issubclass(given, complex | np.complexfloating):
        fix = "Store the real and the imaginary part as two columns."
    return refusal(name, row, value, why, fix, labels)


# ---- One maker a kind ---------------------------------------------------------------------


def _text(name: str, values: Any, labels: Sequence[Any] | None) -> tuple[Any, str]:
    try:
        return pa.array(values, pa.string(), from_pandas=True), ""
    except UnicodeEncodeError as error:
        row, value = first_row(values, lambda v: isinstance(v, str) and v.encode() is None)
        raise refusal(
            name,
            row,
            value,
            "has half of a surrogate pair, which is not Unicode text",
            f"Use df[{name!r}].str.encode('utf-8', 'replace').str.decode('utf-8').",
            labels,
        ) from error


def _integers(name: str, values: Any, labels: Sequence[Any] | None) -> tuple[Any, str]:
    try:
        return pa.array(values, pa.int64(), from_pandas=True), "object"
    except OverflowError as error:
        row, value = first_row(values, lambda v: kind_of(type(v)) == "int" and v.bit_length() > 63)
        fix = "Store text (astype(str)): no number in Hive has so many digits."
        if abs(value) < 10**_DIGITS:
            fix = f"Use df[{name!r}].map(decimal.Decimal, na_action='ignore'): up to 38 digits."
        raise refusal(name, row, value, "does not fit in 64 bits", fix, labels) from error


def _decimals(name: str, values: Any, labels: Sequence[Any] | None) -> tuple[Any, str]:
    numbers = [None if _is_nothing(value) else value for value in values]
    odd = next((i for i, v in enumerate(numbers) if v is not None and not v.is_finite()), None)
    if odd is not None:
        fix = "Use None, or a column of floating-point numbers."
        raise refusal(name, odd, numbers[odd], "is no number that a decimal holds", fix, labels)
    # Zeros at the end count where there is room for them: 1.10 has two decimals.
    precision, scale = _digits(numbers)
    if precision > _DIGITS:
        numbers = [None if v is None else v.normalize(_EXACT) for v in numbers]
        precision, scale = _digits(numbers)
    if precision > _DIGITS:
        raise _too_many_digits(name, numbers, labels)
    unit = Decimal(1).scaleb(-scale)
    same = [None if v is None else v.quantize(unit, context=_EXACT) for v in numbers]
    return pa.array(same, pa.decimal128(precision, scale)), "object"


def _is_nothing(value: Any) -> bool:
    """Say whether a value of a column of decimals is none; a signalling NaN cannot be compared."""
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, _NOTHING) or bool(value != value)


def _digits(numbers: Iterable[Decimal | None]) -> tuple[int, int]:
    """Return precision and scale of the smallest decimal type that holds all of them exactly."""
    whole = scale = 0
    for number in numbers:
        if number is None:
            continue
        _, digits, exponent = number.as_tuple()
        scale = max(scale, -int(exponent))
        if number:
            whole = max(whole, len(digits) + int(exponent))
    return max(whole + scale, 1), scale


def _too_many_digits(
    name: str, numbers: list[Decimal | None], labels: Sequence[Any] | None
) -> FrameError:
    fix = f"Round them (df[{name!r}].map(lambda d: round(d, 2))), or store text."
    try:
        row, value = first_row(numbers, lambda v: v is not None and _digits([v])[0] > _DIGITS)
    except LookupError:
        precision, scale = _digits(numbers)
        return FrameError(
            f"{at(name)} needs {precision - scale} digits before the point and {scale} after it; "
            f"a decimal has {_DIGITS} in all.",
            fix,
        )
    return refusal(name, row, value, f"has more than {_DIGITS} digits", fix, labels)


def _times(name: str, values: Any, labels: Sequence[Any] | None) -> tuple[Any, str]:
    zones = _zones(name, values, labels)
    unit = "ns" if any(getattr(value, "nanosecond", 0) for value in values) else "us"
    try:
        made = pa.array(values, pa.timestamp(unit, tz=zones), from_pandas=True)
    except (pa.ArrowInvalid, OverflowError) as error:
        row, value = first_row(
            values, lambda v: pa.array([v], pa.timestamp(unit, tz=zones), from_pandas=True) is None
        )
        fix = "Round all to microseconds (.floor('us')): with nanoseconds, years are 1678 to 2261."
        raise refusal(name, row, value, f"does not fit beside {unit}", fix, labels) from error
    return made, "object"


def _zones(name: str, values: Any, labels: Sequence[Any] | None) -> str | None:
    """Return the time zone of all values, None if they have none.

    Raises:
        FrameError: Some have one and some have none, or they have several.
    """
    seen: dict[Any, str | None] = {}  # few different tzinfo objects, many values
    first: str | None = None
    begun = False
    for row, value in enumerate(values):
        if not isinstance(value, dt.datetime) or value is pd.NaT:
            continue
        zone = value.tzinfo
        if zone not in seen:
            seen[zone] = None if zone is None else zone_name(name, zone)
        if not begun:
            first, begun = seen[zone], True
        elif seen[zone] != first:
            why = "is among times of another time zone"
            fix = f"Use df[{name!r}] = pd.to_datetime(df[{name!r}], utc=True)."
            if None in (seen[zone], first):
                has = "has a time zone" if first is None else "has no time zone"
                why = f"{has}, those before it {'have none' if first is None else 'have one'}"
                fix = "Give all of them one (.replace(tzinfo=…)) or none."
            raise refusal(name, row, value, why, fix, labels)
    return first


def zone_name(name: str, zone: dt.tzinfo) -> str:
    """Return Arrow's name of a time zone.

    Raises:
        FrameError: It has none that can be read back.
    """
    try:
        text = str(pa.lib.tzinfo_to_string(zone))
        pa.lib.string_to_tzinfo(text)
    except (pa.ArrowException, ValueError, KeyError) as error:
        raise FrameError(
            f"{at(name)} has the time zone {zone!r}, which has no usual name.",
            f"Convert it: df[{name!r}].dt.tz_convert('UTC').",
        ) from error
    return text


def _plain(arrow_type: Any, pandas: str) -> Callable[..., tuple[Any, str]]:
    return lambda _name, values, _labels: (pa.array(values, arrow_type, from_pandas=True), pandas)


_EXACT = Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX)
_MAKERS: dict[str, Callable[..., tuple[Any, str]]] = {
    "bool": _plain(pa.bool_(), "object"),
    "str": _text,
    "bytes": _plain(pa.binary(), ""),
    "int": _integers,
    "float": _plain(pa.float64(), "object"),
    "Decimal": _decimals,
    "datetime": _times,
    "date": _plain(pa.date32(), ""),
}
