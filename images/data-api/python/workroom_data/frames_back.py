"""Arrow to pandas: the dtype each column was stored with."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from workroom_data.categories import codes
from workroom_data.commits import StoredColumn
from workroom_data.errors import DataWarning
from workroom_data.frames_pandas import CATEGORY, NULLABLE, unportable
from workroom_data.refusals import shown

_NULLABLE = {
    pa.bool_(): "boolean",
    **{getattr(pa, f"int{n}")(): f"Int{n}" for n in (8, 16, 32, 64)},
    **{getattr(pa, f"uint{n}")(): f"UInt{n}" for n in (8, 16, 32, 64)},
}

_SAMPLE = 4096
"""Values that are looked at to see whether a column of text repeats."""


def to_pandas(columns: list[Any], stored: tuple[StoredColumn, ...], rows: int) -> pd.DataFrame:
    """Return a frame.

    Args:
        columns: One ChunkedArray a column, of its original Arrow type. Emptied on the way, so
            that a column's Arrow memory can go as soon as pandas has its own.
        stored: Name and dtype of each.
        rows: Number of rows, for the index.
    """
    series: dict[str, Any] = {}
    for column in stored:
        series[column.name] = _as_told(columns.pop(0), column)
    return pd.DataFrame(series, index=pd.RangeIndex(rows), copy=False)


def _as_told(values: Any, column: StoredColumn) -> Any:
    """Return a column as its commit tells; as goes best if that is nonsense, which hides no row."""
    try:
        return to_series(values, column.pandas)
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
        if not column.pandas:
            raise
        made = _best(values)
        warnings.warn(
            f"Column {column.name!r} is said to be {shown(column.pandas)} in pandas, which it "
            f"cannot be ({type(error).__name__}): it comes as {made.dtype}.",
            DataWarning,
            stacklevel=5,
        )
        return made


def to_series(values: Any, dtype: str) -> Any:
    """Return a column as pandas has it.

    Args:
        values: pa.ChunkedArray of the original Arrow type.
        dtype: What `StoredColumn.pandas` says; "" for what goes best with the Arrow type.
    """
    if dtype == "object":
        return pd.Series(_objects(values), dtype=object)
    if dtype == "arrow":
        return pd.Series(pd.arrays.ArrowExtensionArray(values))
    if dtype.startswith(CATEGORY) and pa.types.is_dictionary(values.type):
        return _categorical(values, json.loads(dtype.removeprefix(CATEGORY)))
    if dtype.startswith(("string[", "str[")):
        if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
            raise ValueError("values that are no text")
        word, _, storage = dtype.rstrip("]").partition("[")
        na_value = pd.NA if word == "string" else np.nan
        made = pd.StringDtype(storage, na_value=na_value)
        return pd.Series(made.__from_arrow__(values.cast(pa.large_string())))
    if dtype in NULLABLE:
        made = pd.api.types.pandas_dtype(dtype)
        return pd.Series(made.__from_arrow__(values))
    return _best(values)


def _best(values: Any) -> Any:
    """Return the dtype of no surprises: exact, and numpy's own where there are no NULLs."""
    kind = values.type
    if kind in _NULLABLE and values.null_count:
        return to_series(values, _NULLABLE[kind])
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pd.Series(_objects(values), dtype=object)
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        # pandas reads the zone itself: Arrow would make a pytz zone of an offset.
        instants = _best(values.cast(pa.timestamp(kind.unit)))
        return instants.dt.tz_localize("UTC").dt.tz_convert(kind.tz)
    if pa.types.is_dictionary(kind) and kind.index_type == pa.uint64():
        values = values.cast(pa.dictionary(pa.int64(), kind.value_type, kind.ordered))
    made = values.to_pandas()
    array = made.to_numpy() if isinstance(made.dtype, np.dtype) else None
    if array is not None and not array.flags.writeable:
        made = made.copy()  # shared with Arrow, and so not to be written to
    return made


def _objects(values: Any) -> Any:
    """Return Python objects, None for NULL: shape (rows,), dtype object."""
    kind = pa.types
    if kind.is_string(values.type) or kind.is_large_string(values.type):
        with pd.option_context("future.infer_string", False):
            made = values.to_pandas(deduplicate_objects=_repeats(values))
            return made.to_numpy(dtype=object)
    made = np.empty(len(values), dtype=object)
    made[:] = values.to_pylist()
    return made


def _repeats(values: Any) -> bool:
    """Guess from a sample whether text repeats: one object for equal values saves memory then, and
    the table of values seen costs four times the conversion if they do not."""
    step = max(1, len(values) // _SAMPLE)
    sample = values.take(np.arange(0, len(values), step)[:_SAMPLE])
    return bool(pc.count_distinct(sample).as_py() <= len(sample) // 2)


def _categorical(values: Any, told: dict[str, Any]) -> Any:
    kind = values.type.value_type
    if "values" in told:
        held = unportable(told["values"], kind)
    else:
        held = pc.unique(pa.chunked_array([c.dictionary for c in values.chunks], kind)).drop_null()
        held = held.take(pc.array_sort_indices(held))
    categories = pd.Index(to_series(pa.chunked_array([held]), told["of"]))
    found = codes(values, held)
    if np.count_nonzero(found < 0) != values.null_count:
        raise ValueError("values that are none of the categories")
    return pd.Series(pd.Categorical.from_codes(found, categories, ordered=told["ordered"]))
