"""Columns of categories on their way from files: a code for each row, never the text of all rows.

A column of categories is a small fraction of its text. So each block of a file is encoded as it is
read, and blocks, files and partitions are put together by their dictionaries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workroom_data.commits import StoredColumn
from workroom_data.typenames import arrow_from_name

WIDER = (pa.int16(), pa.int32())
"""Indices that are taken where those of the original cannot tell all values apart."""


def dictionary_of(column: StoredColumn) -> Any:
    """Return the dictionary type that a column was stored from, None if it is another."""
    if not column.arrow.startswith("dictionary<"):
        return None
    return arrow_from_name(column.arrow)


def without_views(values: Any) -> Any:
    """Return a column (pa.ChunkedArray); of a dictionary of views, with plain text or bytes.

    Arrow neither casts nor puts together dictionaries of views.
    """
    plain = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    kind = values.type
    if not pa.types.is_dictionary(kind) or kind.value_type not in plain:
        return values
    made = [
        _made(c.indices, c.dictionary.cast(plain[kind.value_type]), kind.ordered)
        for c in values.chunks
    ]
    return pa.chunked_array(
        made, pa.dictionary(kind.index_type, plain[kind.value_type], kind.ordered)
    )


def encoded(values: Any, like: Any) -> Any:
    """Return one block of a column (pa.Array or pa.ChunkedArray) as one dictionary array.

    Args:
        values: The values, or a dictionary already.
        like: The original dictionary type, which says how wide indices are if they can be.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    index = next(
        kind for kind in (like.index_type, *WIDER) if len(values.dictionary) <= _room(kind)
    )
    return _made(values.indices.cast(index), values.dictionary, like.ordered)


def united(chunks: Sequence[Any], like: Any) -> Any:
    """Return dictionary arrays as one pa.ChunkedArray with one dictionary.

    Args:
        chunks: Of one type of values each.
        like: The original dictionary type. Indices are wider where its own do not do.
    """
    if not chunks:
        return pa.chunked_array([], like)
    values = chunks[0].type.value_type
    held = max(len(chunk.dictionary) for chunk in chunks)
    for index in (like.index_type, *WIDER):
        if held > _room(index):
            continue
        same = [_made(c.indices.cast(index), c.dictionary, like.ordered) for c in chunks]
        whole = pa.chunked_array(same, pa.dictionary(index, values, like.ordered))
        try:
            return whole.unify_dictionaries()
        except pa.ArrowInvalid:  # too many values for these indices, all together
            if index == WIDER[-1]:
                raise
    raise AssertionError("32 bits tell all values of a chunk apart")


def codes(values: Any, categories: Any) -> Any:
    """Return the place of each row's value among categories, -1 for NULL: shape (rows,).

    Args:
        values: pa.ChunkedArray of a dictionary type; each chunk may have its own dictionary.
        categories: pa.Array of their values.
    """
    smallest = next(d for d in (np.int8, np.int16, np.int32) if len(categories) <= np.iinfo(d).max)
    found = np.full(len(values), -1, dtype=smallest)
    categories, start = unsigned(categories), 0
    seen: tuple[Any, ...] = ()
    places: Any = None
    for chunk in values.chunks:
        held = chunk.dictionary
        this = (len(held), held.offset, *(b and b.address for b in held.buffers()))
        if this != seen:  # most chunks share one
            places = pc.index_in(unsigned(held), value_set=categories).fill_null(-1)
            places, seen = places.to_numpy(zero_copy_only=False).astype(smallest), this
        if len(held):
            indices = chunk.indices
            part = places[indices.fill_null(0).to_numpy()]
            if indices.null_count:
                part[indices.is_null().to_numpy(zero_copy_only=False)] = -1
            found[start : start + len(chunk)] = part
        start += len(chunk)
    return found


def unsigned(values: Any) -> Any:
    """Return values with 0.0 for -0.0, which Arrow tells apart and categories do not."""
    return pc.add(values, 0.0) if pa.types.is_floating(values.type) else values


def only_used(chunk: Any) -> Any:
    """Return a dictionary array without the values that no row has."""
    used = pc.unique(chunk.indices).drop_null()
    if len(used) == len(chunk.dictionary):
        return chunk
    indices = pc.index_in(chunk.indices, value_set=used, skip_nulls=True)
    kind = chunk.type
    return _made(indices.cast(kind.index_type), chunk.dictionary.take(used), kind.ordered)


def _made(indices: Any, dictionary: Any, ordered: bool) -> Any:
    return pa.DictionaryArray.from_arrays(indices, dictionary, ordered=ordered)


def _room(kind: Any) -> int:
    """Return how many values indices of a type tell apart."""
    return int(1 << (kind.bit_width - int(pa.types.is_signed_integer(kind))))
