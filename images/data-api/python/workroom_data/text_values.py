"""Values as the text format writes them: one Arrow array in, one array of strings out.

The rules are those of Hive's LazySimpleSerDe, which reads what breaks them as NULL, in silence:
`NaN` and `Infinity`, not `nan` and `inf`; `true`, not `1`; binary as base64; decimals without an
exponent (which Hive would take, other readers may not).
"""

from __future__ import annotations

import binascii
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workroom_data.errors import FrameError

ESCAPES = (("\\", "\\\\"), ("\0", "\\\0"), ("\n", "\\n"), ("\r", "\\r"))
"""What is escaped and how; the backslash first."""

_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31, in days of 1970
_PER_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
_ALPHABET = np.zeros(256, dtype=bool)
_ALPHABET[list(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")] = True


def as_text(name: str, values: pa.Array) -> pa.Array:
    """Return the values as strings, escaped; NULL stays null.

    Args:
        name: The column's, for messages.
        values: Of an Arrow type that `types.storage_type` gives, without a time zone or with.

    Raises:
        FrameError: A date or time is outside the years 1 to 9999.
    """
    kind = values.type
    if pa.types.is_string(kind):
        return escaped(values)
    if pa.types.is_binary(kind):
        return to_base64(values)
    if pa.types.is_floating(kind):
        return _float(values)
    if pa.types.is_decimal(kind):
        return _decimal(values)
    if pa.types.is_timestamp(kind):
        _check_years(name, values, _PER_DAY[kind.unit])
        return _shortest(values).cast(pa.string())
    if pa.types.is_date(kind):
        _check_years(name, values, 1)
    return values.cast(pa.string())


def content(values: pa.Array) -> Any:
    """Return the bytes of a string or binary array as a numpy view, without those of a wider array
    that it is a slice of."""
    if not len(values):
        return np.empty(0, dtype=np.uint8)
    offsets = np.frombuffer(values.buffers()[1], dtype=np.int32)
    first, last = offsets[values.offset], offsets[values.offset + len(values)]
    data = values.buffers()[2]
    if data is None or first == last:
        return np.empty(0, dtype=np.uint8)
    return np.frombuffer(data, dtype=np.uint8)[first:last]


def escaped(values: pa.Array) -> pa.Array:
    """Escape strings; most have nothing to escape, which two passes over the bytes show."""
    held = content(values)
    if not ((held == 92).any() or (held < 14).any()):
        return values
    for plain, written in ESCAPES:
        if (held == ord(plain)).any():
            values = pc.replace_substring(values, plain, written)
    return values


def _float(values: pa.Array) -> pa.Array:
    written = values.cast(pa.string())  # the shortest that reads back the same, for 32 and 64 bits
    finite = pc.is_finite(values)
    if pc.all(finite, min_count=0).as_py():
        return written
    words = pc.if_else(pc.greater(values, pa.scalar(0, values.type)), "Infinity", "-Infinity")
    words = pc.if_else(pc.is_nan(values), "NaN", words)
    return pc.if_else(finite, written, words)


def _decimal(values: pa.Array) -> pa.Array:
    """Decimals in plain notation: Arrow writes the small ones with an exponent (`1E-10`)."""
    written = values.cast(pa.string())
    scale = values.type.scale
    if scale <= 6 or not pc.any(pc.match_substring(written, "E"), min_count=0).as_py():
        return written
    whole = pa.Array.from_buffers(
        pa.decimal128(38, 0), len(values), values.buffers(), offset=values.offset
    )
    digits = whole.cast(pa.string())
    negative = pc.starts_with(digits, "-")
    digits = pc.utf8_lpad(pc.replace_substring(digits, "-", ""), scale + 1, "0")
    plain = pc.binary_join_element_wise(
        pc.if_else(negative, "-", ""),
        pc.utf8_slice_codeunits(digits, 0, -scale),
        ".",
        pc.utf8_slice_codeunits(digits, -scale),
        "",
    )
    return pc.if_else(pc.match_substring(written, "E"), plain, written)


def _check_years(name: str, values: pa.Array, per_day: int) -> None:
    width = pa.int32() if pa.types.is_date32(values.type) else pa.int64()
    ends = pc.min_max(values.view(width)).as_py()
    first, end = _FIRST_DAY * per_day, (_LAST_DAY + 1) * per_day
    if ends["min"] is not None and (ends["min"] < first or ends["max"] >= end):
        raise FrameError(
            f"Column {name!r} has a date or time outside the years 1 to 9999.",
            "Hive can hold no other; clip it, or store it as a string.",
        )


def _shortest(values: pa.Array) -> pa.Array:
    """Return timestamps in the coarsest unit that loses nothing: it decides the digits written."""
    for unit in ("s", "ms", "us"):
        try:
            return values.cast(pa.timestamp(unit))
        except pa.ArrowInvalid:
            continue
    return values.cast(pa.timestamp("ns"))


def to_nanoseconds(text: pa.Array) -> pa.Array:
    """Read times in nanoseconds, those of the first second that 64 bits hold included.

    Arrow counts the whole seconds first, and those of a time in 1677-09-21 00:12:43 do not fit.

    Raises:
        pa.ArrowInvalid: A value is no time, or does not fit.
    """
    first = pc.starts_with(text, "1677-09-21 00:12:43.")
    next_second = pc.replace_substring(text, "00:12:43.", "00:12:44.", max_replacements=1)
    counts = pc.if_else(first, next_second, text).cast(pa.timestamp("ns")).cast(pa.int64())
    back = pc.if_else(first, pa.scalar(10**9), pa.scalar(0))
    return pc.subtract_checked(counts, back).cast(pa.timestamp("ns"))


def to_base64(values: pa.Array) -> pa.Array:
    """Encode all values at once: each is filled up to a multiple of three bytes, so that one pass
    over all of them gives each its own characters, whose last become `=`."""
    if not len(values):
        return values.cast(pa.string())
    lengths = pc.binary_length(values.fill_null(b""))
    lack = np.asarray((-lengths.to_numpy(zero_copy_only=False)) % 3)
    fill = pa.array([b"", b"\0", b"\0\0"], pa.binary()).take(pa.array(lack))
    padded = pc.binary_join_element_wise(values.fill_null(b""), fill, b"")
    text = np.frombuffer(bytearray(binascii.b2a_base64(content(padded), newline=False)), np.uint8)
    offsets = np.frombuffer(padded.buffers()[1], np.int32)[: len(values) + 1] // 3 * 4
    ends = offsets[1:]
    text[ends[lack >= 1] - 1] = ord("=")
    text[ends[lack == 2] - 2] = ord("=")
    return _strings(pa.string(), text, offsets, values)


def from_base64(values: pa.Array) -> pa.Array:
    """Decode all values at once, the reverse of `to_base64`.

    A value that is not padded base64 is read as Hive reads it, one by one: missing `=` are
    supplied, and what has characters outside the alphabet is not base64 but the bytes themselves.
    """
    if not len(values):
        return values
    given = values.fill_null(b"")
    text = content(given)
    count = len(given)
    offsets = np.frombuffer(given.buffers()[1], np.int32)[given.offset : given.offset + count + 1]
    offsets = offsets - offsets[0]
    lengths = np.diff(offsets)
    ends = offsets[1:][lengths > 0]
    lack = np.zeros(len(lengths), dtype=np.int32)
    lack[lengths > 0] += text[ends - 1] == ord("=")
    lack[lengths > 0] += (text[ends - 1] == ord("=")) & (text[ends - 2] == ord("="))
    if (lengths % 4).any() or np.count_nonzero(_ALPHABET[text]) + lack.sum() != len(text):
        decoded = [None if v is None else _lenient(v) for v in values.to_pylist()]
        return pa.array(decoded, pa.binary())
    letters = np.where(text == ord("="), np.uint8(ord("A")), text)
    plain = np.frombuffer(binascii.a2b_base64(letters.tobytes()), np.uint8)
    filled = offsets[1:] // 4 * 3
    kept = np.ones(len(plain), dtype=bool)
    kept[filled[lack >= 1] - 1] = False
    kept[filled[lack == 2] - 2] = False
    sizes = lengths // 4 * 3 - lack
    bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return _strings(pa.binary(), plain[kept], bounds, values)


def _lenient(value: bytes) -> bytes:
    letters = value.rstrip(b"=")
    if not all(_ALPHABET[byte] for byte in letters):
        return value
    letters = letters[: len(letters) - (len(letters) % 4 == 1)]  # six bits make no byte
    return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4))


def _strings(kind: pa.DataType, data: Any, offsets: Any, like: pa.Array) -> pa.Array:
    """Make a string or binary array of bytes and offsets, null where `like` is."""
    array = pa.Array.from_buffers(
        kind, len(like), [None, pa.py_buffer(np.ascontiguousarray(offsets)), pa.py_buffer(data)]
    )
    return pc.if_else(like.is_null(), pa.scalar(None, kind), array) if like.null_count else array
