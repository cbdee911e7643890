"""Partition keys, the values people give for them, and folders' names: `year=2016/city=a%2Fb`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workroom_data.catalogue import Column
from workroom_data.errors import PartitionError
from workroom_data.key_values import NULL, parsed, scalar, several, text

__all__ = [
    "by_name", "escape", "folder", "key_columns", "keys_of", "listed", "name", "ordered", "parsed",
    "scalar", "several", "short_enough", "text", "unescape", "values",
]  # fmt: skip

TYPES = ("string", "tinyint", "smallint", "int", "bigint", "date")
"""Hive types of keys: those whose values all engines write as the same text."""

LONGEST_VALUE = 256
"""Characters of a value that a metastore's database holds."""

LONGEST_NAME = 767
"""Characters of a partition's whole name that it holds."""

_KEY = re.compile(r"[a-z][a-z0-9_]{0,127}")
_ESCAPED = frozenset({*map(chr, range(0x20)), *"\"#%'*/:=?\\\x7f{[]^"})

Values = tuple[str, ...]


# ---- Keys ---------------------------------------------------------------------------------


def keys_of(given: Any, keys: Sequence[str] | Mapping[str, str] | None) -> tuple[Column, ...]:
    """Return the partition keys of a table that is to be made; none if nothing speaks of any.

    Args:
        given: The partition, as the caller of a store names it.
        keys: Names of the keys, or names and Hive types; None to take them from `given`.

    Raises:
        PartitionError: Nothing names the keys, or a name or type is unusable.
    """
    if isinstance(keys, str):
        keys = [keys]
    if not keys:
        if _nothing(given):
            return ()
        if not isinstance(given, Mapping):
            raise PartitionError(
                f"The table is new, and partitions={given!r} does not say by which keys.",
                f"Name them: partitions={_as_mapping(given)}, or add partition_keys=[…].",
            )
        keys = list(given)
    elif _nothing(given):
        raise PartitionError(
            f"The table is to be partitioned by {', '.join(map(str, keys))}, and no partition is "
            "given.",
            "Say which one: partitions={" + ", ".join(f"{str(name)!r}: …" for name in keys) + "}.",
        )
    return key_columns(keys)


def key_columns(keys: Sequence[str] | Mapping[str, str]) -> tuple[Column, ...]:
    """Return partition keys as columns, of text where no types are given.

    Raises:
        PartitionError: A name or type is unusable.
    """
    if isinstance(keys, str):
        keys = [keys]
    types = keys if isinstance(keys, Mapping) else dict.fromkeys(keys, "string")
    made = tuple(Column(_key_name(name), _key_type(name, types[name])) for name in keys)
    if len({key.name for key in made}) < len(made) or len(types) < len(keys):
        raise PartitionError(
            f"Two of the partition keys {', '.join(map(str, keys))} are the same to Hive.",
            "Use names that differ by more than upper and lower case.",
        )
    return made


def _key_name(name: object) -> str:
    if isinstance(name, str) and name.isascii() and _KEY.fullmatch(name.lower()):
        return name.lower()
    raise PartitionError(
        f"{name!r} cannot be the name of a partition key.",
        "Use ASCII letters, digits and '_', 128 at most, the first a letter.",
    )


def _key_type(name: str, given: object) -> str:
    hive = str(given).strip().lower()
    hive = {"integer": "int", "str": "string", "long": "bigint"}.get(hive, hive)
    if hive in TYPES:
        return hive
    raise PartitionError(
        f"Partition key {name!r} cannot be of type {given!r}.", f"Use one of {', '.join(TYPES)}."
    )


def _nothing(given: Any) -> bool:
    return given is None or (isinstance(given, (Mapping, list, tuple)) and not given)


def _as_mapping(given: Any) -> str:
    """Show partition values by name, with names to be filled in."""
    values = given if isinstance(given, (list, tuple)) else [given]
    names = ["KEY"] if len(values) == 1 else [f"KEY{i + 1}" for i in range(len(values))]
    pairs = (f"{name!r}: {value!r}" for name, value in zip(names, values, strict=True))
    return "{" + ", ".join(pairs) + "}"


# ---- Values -------------------------------------------------------------------------------


def values(keys: Sequence[Column], given: Any) -> Values:
    """Return the values of the one partition that is given, as text, in the order of the keys.

    Args:
        keys: The table's keys.
        given: `{"year": "2016"}`, values in the order of the keys, one value alone for one key,
            or None without keys.

    Raises:
        PartitionError: They do not fit the keys, or one cannot be a value.
    """
    if not keys:
        if _nothing(given):
            return ()
        raise PartitionError(
            f"The table has no partitions, and partitions={given!r} is given.",
            "Leave it out, or store to another table.",
        )
    named = by_name(keys, given)
    missing = [key.name for key in keys if key.name not in named]
    if missing:
        raise PartitionError(
            f"The table is partitioned by {listed(keys)}, and there is no value for "
            f"{', '.join(missing)}.",
            f"Give each: partitions={_example(keys)}.",
        )
    for key in keys:
        if several(named[key.name]):
            raise PartitionError(
                f"Partition key {key.name!r} has several values: {named[key.name]!r}.",
                "Store each partition's rows by themselves.",
            )
    found = tuple(text(named[key.name], key) for key in keys)
    short_enough(keys, found)
    return found


def by_name(keys: Sequence[Column], given: Any) -> dict[str, Any]:
    """Return what is given for each key, by the key's name; of leading keys if not for all.

    Raises:
        PartitionError: A key is unknown or given twice, or there are more values than keys.
    """
    if isinstance(given, Mapping):
        named: dict[str, Any] = {}
        known = {key.name for key in keys}
        for name, value in given.items():
            lower = str(name).lower()
            if lower not in known or lower in named:
                raise PartitionError(
                    f"{name!r} is {'given twice' if lower in named else 'no partition key'}; the "
                    f"table is partitioned by {listed(keys)}.",
                    f"Use partitions={_example(keys)}.",
                )
            named[lower] = value
        return named
    each = list(given) if isinstance(given, (list, tuple)) else [given]
    if given is None:
        each = []
    if len(each) > len(keys):
        raise PartitionError(
            f"partitions={given!r} has {len(each)} values; the table is partitioned by "
            f"{listed(keys)}.",
            f"Give one for each key. For several partitions name them: "
            f"partitions={{{keys[0].name!r}: {each!r}}}."
            if len(keys) == 1
            else f"Give one for each key, such as partitions={_example(keys)}.",
        )
    return {key.name: value for key, value in zip(keys, each, strict=False)}


def short_enough(keys: Sequence[Column], given: Values) -> None:
    """Refuse what is longer than a metastore keeps.

    Raises:
        PartitionError: A value is, or the whole name.
    """
    for key, value in zip(keys, given, strict=True):
        if len(value) > LONGEST_VALUE:
            raise PartitionError(
                f"The value of partition key {key.name!r} has {len(value)} characters "
                f"({value[:20]!r}…).",
                f"A metastore keeps {LONGEST_VALUE} at most: shorten it, or make it a column.",
            )
    whole = name(keys, given)
    if len(whole) > LONGEST_NAME:
        raise PartitionError(
            f"The partition's name has {len(whole)} characters when written out ({whole[:40]}…).",
            f"A metastore keeps {LONGEST_NAME} at most: shorten the values.",
        )


def ordered(keys: Sequence[Column], given: Iterable[Values]) -> list[Values]:
    """Return partitions in the order of their keys: 2 before 11 in a key of numbers, NULL last."""

    def place(one: Values) -> list[tuple[bool, Any]]:
        found = [parsed(value, key) for value, key in zip(one, keys, strict=True)]
        return [(value is None, "" if value is None else value) for value in found]

    # Two texts may be one value (a stranger's 007): the text itself settles their order.
    return sorted(given, key=lambda one: (place(one), one))


# ---- Names --------------------------------------------------------------------------------


def name(keys: Sequence[Column], given: Sequence[str]) -> str:
    """Return a partition's name as Hive makes it: `year=2016/city=a%2Fb`; "" without keys."""
    pairs = zip(keys, given, strict=True)
    return "/".join(f"{escape(key.name)}={escape(value) or NULL}" for key, value in pairs)


def folder(root: str, keys: Sequence[Column], given: Sequence[str]) -> str:
    """Return a partition's folder, in the table's."""
    return f"{root}/{name(keys, given)}".rstrip("/")


def values_in(keys: Sequence[Column], name: str) -> Values:
    """Return the values in a partition's name, the way back from `name`.

    Raises:
        PartitionError: It is not a name of a partition by these keys.
    """
    pairs = [part.partition("=") for part in name.split("/")] if name else []
    if [unescape(key) for key, _, _ in pairs] != [key.name for key in keys]:
        raise PartitionError(
            f"{name!r} is not the name of a partition by {listed(keys)}.",
            "It may be of an earlier table of this name.",
        )
    return tuple(unescape(value) for _, _, value in pairs)


def escape(given: str) -> str:
    """Return a text as part of a folder's name: Hive's `FileUtils.escapePathName`."""
    return "".join(f"%{ord(c):02X}" if c in _ESCAPED else c for c in given)


def unescape(given: str) -> str:
    """Return the text that `escape` made a part of a folder's name of."""
    return re.sub(r"%([0-9A-Fa-f]{2})", lambda found: chr(int(found[1], 16)), given)


def listed(keys: Sequence[Column]) -> str:
    """Return keys and types for a message: "year (string), month (int)"."""
    return ", ".join(f"{key.name} ({key.hive})" for key in keys) or "nothing"


def _example(keys: Sequence[Column]) -> str:
    samples = {"string": "'…'", "date": "'2016-03-01'"}
    pairs = (f"{key.name!r}: {samples.get(key.hive, '1')}" for key in keys)
    return "{" + ", ".join(pairs) + "}"
