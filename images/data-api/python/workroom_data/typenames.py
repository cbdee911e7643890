"""The exact text of an Arrow type, both ways, as commits keep it.

Plain types are written as Arrow writes them ("timestamp[us, tz=UTC]"). Nested ones have field
names as JSON text, so that any name can be read back:

    struct<"a, b": int64 not null, "c": list<"item": string>>
    dictionary<values=string, indices=int8, ordered=1>
"""

from __future__ import annotations

import json
import re
from typing import Any

import pyarrow as pa

from workroom_data.errors import Damaged

_PLAIN: dict[str, Any] = {
    str(made): made
    for made in (
        *(pa.null(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64()),
        *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float16(), pa.float32(), pa.float64(), pa.date32(), pa.date64()),
        *(pa.string(), pa.large_string(), pa.string_view()),
        *(pa.binary(), pa.large_binary(), pa.binary_view()),
    )
}
_DECIMALS = {32: pa.decimal32, 64: pa.decimal64, 128: pa.decimal128, 256: pa.decimal256}
_STRING = json.JSONDecoder()


def arrow_name(arrow_type: Any) -> str:
    """Return the text of an Arrow type that `storage_type` takes; metadata is left out."""
    kind = pa.types
    if kind.is_dictionary(arrow_type):
        return (
            f"dictionary<values={arrow_name(arrow_type.value_type)}, "
            f"indices={arrow_type.index_type}, ordered={int(arrow_type.ordered)}>"
        )
    if kind.is_struct(arrow_type):
        return f"struct<{', '.join(_field(field) for field in arrow_type)}>"
    if kind.is_map(arrow_type):
        return f"map<{_field(arrow_type.key_field)}, {_field(arrow_type.item_field)}>"
    if kind.is_fixed_size_list(arrow_type):
        return f"fixed_size_list<{_field(arrow_type.value_field)}>[{arrow_type.list_size}]"
    if kind.is_list(arrow_type) or kind.is_large_list(arrow_type):
        word = "list" if kind.is_list(arrow_type) else "large_list"
        return f"{word}<{_field(arrow_type.value_field)}>"
    return str(arrow_type)


def _field(field: Any) -> str:
    need = "" if field.nullable else " not null"
    return f"{json.dumps(field.name)}: {arrow_name(field.type)}{need}"


def arrow_from_name(text: str) -> Any:
    """Return the Arrow type that `arrow_name` wrote.

    Raises:
        Damaged: The text is none (of a later version, or not ours).
    """
    reader = _Reader(text)
    try:
        found = reader.type()
    except (ValueError, KeyError, OverflowError, RecursionError, pa.ArrowException) as error:
        raise _unreadable(text) from error
    if reader.at != len(text):
        raise _unreadable(text)
    return found


def _unreadable(text: str) -> Damaged:
    return Damaged(
        f"{text!r} is not an Arrow type that this version of workroom-data knows.",
        "Update workroom-data, or load an earlier batch.",
    )


class _Reader:
    """Reads a type from the front of a text, moving `at`; ValueError where it is none."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def type(self) -> Any:
        if found := self._take(r"timestamp\[(s|ms|us|ns)(?:, tz=([^\]]+))?\]"):
            return pa.timestamp(found[1], tz=found[2])
        if found := self._take(r"decimal(32|64|128|256)\((\d+), (-?\d+)\)"):
            return _DECIMALS[int(found[1])](int(found[2]), int(found[3]))
        if found := self._take(r"fixed_size_binary\[(\d+)\]"):
            return pa.binary(int(found[1]))
        if self._take("dictionary<values="):
            return self._dictionary()
        if self._take("struct<"):
            return pa.struct(self._fields())
        if self._take("map<"):
            key, value = self._fields()
            return pa.map_(key, value)
        if found := self._take(r"(fixed_size_|large_)?list<"):
            return self._list(found[1])
        found = self._need(r"[a-z0-9_]+(\[(day|ms)\])?")
        return _PLAIN[found[0]]

    def _list(self, size: str | None) -> Any:
        (field,) = self._fields()
        if size == "fixed_size_":
            return pa.list_(field, int(self._need(r"\[(\d+)\]")[1]))
        return pa.large_list(field) if size else pa.list_(field)

    def _dictionary(self) -> Any:
        values = self.type()
        found = self._need(r", indices=([a-z0-9]+), ordered=([01])>")
        return pa.dictionary(_PLAIN[found[1]], values, ordered=found[2] == "1")

    def _fields(self) -> list[Any]:
        fields: list[Any] = []
        while not self._take(">"):
            if fields:
                self._need(", ")
            name, self.at = _STRING.raw_decode(self.text, self.at)
            self._need(": ")
            kind = self.type()
            fields.append(pa.field(name, kind, nullable=not self._take(" not null")))
        return fields

    def _take(self, pattern: str) -> re.Match[str] | None:
        found = re.compile(pattern).match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def _need(self, pattern: str) -> re.Match[str]:
        found = self._take(pattern)
        if not found:
            raise ValueError(f"expected {pattern} at {self.at}")
        return found
