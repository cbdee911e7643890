"""Equality without forgiveness: dtypes, names, order, NULL against NaN, 0.0 against -0.0.

`pandas.testing` takes None, NaN and NA for one another, and 0.0 for -0.0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa


def assert_frames(back: pd.DataFrame, df: pd.DataFrame) -> None:
    """See that two pandas frames are the same; NaN is NaN, whatever its bits."""
    assert back.columns.tolist() == df.columns.tolist()
    assert len(back) == len(df)
    for position, name in enumerate(df.columns):
        got, wanted = back.iloc[:, position], df.iloc[:, position]
        assert described(got) == described(wanted), name


def assert_tables(back: pa.Table, table: pa.Table) -> None:
    """See that two Arrow tables have one schema, and the same values."""
    assert back.schema == table.schema
    assert [values(column) for column in back.columns] == [values(c) for c in table.columns]


def described(series: pd.Series) -> tuple[Any, ...]:
    """Return all there is to know of a column, in what Python compares exactly."""
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        held = described(dtype.categories.to_series())
        return "category", bool(dtype.ordered), held, series.cat.codes.tolist()
    if isinstance(dtype, pd.ArrowDtype):
        return (
            "arrow",
            dtype.pyarrow_dtype,
            values(pa.chunked_array(series.array.__arrow_array__())),
        )
    if isinstance(dtype, pd.DatetimeTZDtype):
        return str(dtype), series.array.asi8.tolist()
    if isinstance(dtype, np.dtype) and dtype.kind == "M":
        return str(dtype), series.to_numpy().view("int64").tolist()
    if isinstance(dtype, pd.StringDtype):
        return "text", dtype.storage, dtype.na_value is pd.NA, series.isna().tolist(), list(series)
    if isinstance(dtype, np.dtype):
        return str(dtype), [exact(value) for value in series.tolist()]
    masked, held = series.array._mask, series.array._data
    return str(dtype), masked.tolist(), [exact(value) for value in held[~masked].tolist()]


def values(column: pa.ChunkedArray) -> list[str]:
    """Return values as Python writes them: None is not 'None', and -0.0 not 0.0."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp(column.type.unit)).cast(pa.int64())
    return [repr(value) for value in column.to_pylist()]


def exact(value: Any) -> tuple[str, Any]:
    """Return a value with its type; of a float its text, since NaN is not equal to itself."""
    return type(value).__name__, repr(value) if isinstance(value, float) else value
