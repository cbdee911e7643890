"""pandas to Arrow, column by column, exactly; what would change on the way is refused.

Where pandas and Arrow mean the same (numbers, times) memory is shared, not copied.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from workroom_data.categories import without_views
from workroom_data.commits import StoredColumn
from workroom_data.errors import FrameError
from workroom_data.frames_objects import object_array, zone_name
from workroom_data.refusals import at, check_names
from workroom_data.typenames import arrow_name
from workroom_data.types import hive_type

CATEGORY = "category "
"""Begins the dtype of a categorical column; JSON follows."""
MANY_CATEGORIES = 10_000
"""Above this, categories without an order are not listed in the commit: they come back sorted, and
without those that no row has."""

NULLABLE = frozenset(
    ["boolean", "Float32", "Float64"] + [f"{u}Int{n}" for u in ("", "U") for n in (8, 16, 32, 64)]
)
"""pandas dtypes with a mask, where NULL and NaN differ."""

_ADVICE = {
    "period": "Use df[c].dt.to_timestamp() or df[c].astype(str).",
    "interval": "Store the two ends: df[c].array.left and df[c].array.right.",
    "Sparse": "Use df[c].sparse.to_dense().",
    "timedelta": "Hive has no durations: store a number, such as df[c].dt.total_seconds().",
    "complex": "Store the real and the imaginary part as two columns.",
    "float128": "Use df[c].astype('float64').",
}


def from_pandas(df: pd.DataFrame, index: bool) -> tuple[pa.Table, tuple[StoredColumn, ...]]:
    """Return a frame as Arrow, with what is needed to give back its names and dtypes.

    Args:
        df: The frame.
        index: Put the index in front, as columns: with its names, or those of `reset_index`.

    Raises:
        FrameError: It has something that cannot be stored exactly.
    """
    labels = None if isinstance(df.index, pd.RangeIndex) and df.index.start == 0 else df.index
    series = [df.iloc[:, position] for position in range(df.shape[1])]
    names: list[Any] = list(df.columns)
    if index:
        levels = [df.index.get_level_values(i) for i in range(df.index.nlevels)]
        series = [level.to_series(index=df.index) for level in levels] + series
        names = _index_names(df.index) + names
    check_names(names)
    arrays: list[Any] = []
    columns: list[StoredColumn] = []
    for name, values in zip(names, series, strict=True):
        array, dtype = column_array(name, values, labels)
        hive = hive_type(array.type, "parquet", name)
        arrays.append(array)
        columns.append(StoredColumn(name, hive, arrow_name(array.type), dtype))
    return pa.Table.from_arrays(arrays, names=names), tuple(columns)


def _index_names(index: pd.Index) -> list[Any]:
    if index.nlevels == 1:
        return ["index" if index.name is None else index.name]
    return [f"level_{i}" if name is None else name for i, name in enumerate(index.names)]


def column_array(
    name: str, series: pd.Series, labels: Sequence[Any] | None = None
) -> tuple[Any, str]:
    """Return a column as an Arrow array, and the pandas dtype to give back ("" for Arrow's own).

    Raises:
        FrameError: It has something that cannot be stored exactly.
    """
    dtype = series.dtype
    if isinstance(dtype, np.dtype):
        return _numpy_array(name, series, labels)
    if isinstance(dtype, pd.CategoricalDtype):
        return _categories(name, series)
    if isinstance(dtype, pd.DatetimeTZDtype):
        zone = pa.timestamp(dtype.unit, tz=zone_name(name, dtype.tz))
        instants = series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
        return pa.array(instants, pa.timestamp(dtype.unit)).cast(zone), ""
    if isinstance(dtype, pd.ArrowDtype):
        return without_views(pa.chunked_array(series.array.__arrow_array__())), "arrow"
    if isinstance(dtype, pd.StringDtype):
        return _text_array(name, series, labels)
    if str(dtype) in NULLABLE:
        return series.array.__arrow_array__(), str(dtype)
    raise _no_column(name, dtype)


def _numpy_array(name: str, series: pd.Series, labels: Sequence[Any] | None) -> tuple[Any, str]:
    dtype = series.dtype
    values = series.to_numpy()
    if dtype.kind == "O":
        return object_array(name, values, labels)
    if dtype.kind not in "biufM" or dtype.itemsize > 8:
        raise _no_column(name, dtype)
    if not dtype.isnative:
        values = values.astype(dtype.newbyteorder("="))
    return pa.array(values, from_pandas=False), ""


def _text_array(name: str, series: pd.Series, labels: Sequence[Any] | None) -> tuple[Any, str]:
    dtype = series.dtype
    word = "string" if dtype.na_value is pd.NA else "str"
    if dtype.storage == "python":
        array, _ = object_array(name, series.array.to_numpy(dtype=object), labels)
        array = array.cast(pa.string())
    else:
        array = series.array.__arrow_array__()
    return array, f"{word}[{dtype.storage}]"


def _categories(name: str, series: pd.Series) -> tuple[Any, str]:
    held = series.cat.categories
    values, dtype = column_array(name, held.to_series(index=range(len(held))))
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    codes = series.cat.codes.to_numpy()
    ordered = bool(series.cat.ordered)
    indices = pa.array(codes, mask=codes < 0)
    array = pa.DictionaryArray.from_arrays(indices, values, ordered=ordered)
    told: dict[str, Any] = {"ordered": ordered, "of": dtype}
    if ordered or len(held) <= MANY_CATEGORIES:
        told["values"] = portable(values).to_pylist()
    return array, CATEGORY + json.dumps(told, ensure_ascii=False)


def portable(values: Any) -> Any:
    """Return categories as values that JSON holds exactly: text, integers, booleans.

    Numbers with a point become their shortest text, times a count of units; `unportable` is the
    way back.
    """
    kind = pa.types
    if kind.is_temporal(values.type):
        wide = kind.is_date32(values.type)
        return values.cast(pa.int32() if wide else pa.int64())
    if kind.is_floating(values.type) or kind.is_decimal(values.type):
        return values.cast(pa.string())
    if kind.is_binary(values.type) or kind.is_large_binary(values.type):
        return pa.array([value.as_py().hex() for value in values], pa.string())
    return values


def unportable(told: list[Any], arrow_type: Any) -> Any:
    """Return the categories that `portable` made, as `arrow_type`."""
    kind = pa.types
    if kind.is_temporal(arrow_type):
        wide = kind.is_date32(arrow_type)
        return pa.array(told, pa.int32() if wide else pa.int64()).cast(arrow_type)
    if kind.is_floating(arrow_type) or kind.is_decimal(arrow_type):
        return pa.array(told, pa.string()).cast(arrow_type)
    if kind.is_binary(arrow_type) or kind.is_large_binary(arrow_type):
        return pa.array([bytes.fromhex(value) for value in told], arrow_type)
    return pa.array(told, arrow_type)


def _no_column(name: str, dtype: Any) -> FrameError:
    text = str(dtype)
    advice = next((fix for word, fix in _ADVICE.items() if text.startswith(word)), "")
    fix = advice.replace("df[c]", f"df[{name!r}]") or "Convert it to text or to numbers first."
    return FrameError(f"{at(name)} has the dtype {text}, which no Hive column holds.", fix)
