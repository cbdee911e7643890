"""Which partitions a load is about: by name, several, ranges and conditions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from workroom_data import conditions
from workroom_data import partitions as parts
from workroom_data.catalogue import Column
from workroom_data.conditions import Both, Compare, Condition, Either
from workroom_data.errors import PartitionError
from workroom_data.partitions import Values

MOST = 100_000
"""Partitions that can be asked for by name at once."""


@dataclass(frozen=True)
class Selection:
    """Which partitions.

    Attributes:
        keys: The table's keys.
        values: Those that are asked for by all their values, each of which must be there; None if
            a condition chooses.
        filter: What the metastore is asked instead, or "" for all. May choose too many.
        condition: What chooses in the end.
        named: What was asked for by values, not by a range or condition, and must be met.
    """

    keys: tuple[Column, ...]
    values: tuple[Values, ...] | None
    filter: str
    condition: Condition
    named: tuple[Condition, ...]

    def keeps(self, values: Values) -> bool:
        """Say whether a partition is among them."""
        return self.condition.holds(_row(self.keys, values))

    def unmet(self, there: Iterable[Values]) -> str:
        """Return the first that was asked for by values and is not there (`year=2016`), or ""."""
        rows = [_row(self.keys, values) for values in there]
        for one in self.named:
            if not any(one.holds(row) for row in rows):
                return _shown(one)
        return ""


def select(keys: Sequence[Column], partitions: Any, where: Any) -> Selection:
    """Return which partitions the caller of a load means.

    Args:
        keys: The table's keys.
        partitions: None for all; values in the order of the keys, of all or of the first; by
            name, with a list for several values and a tuple for a range; or a list of these.
        where: A condition, or None; both must be met.

    Raises:
        PartitionError: They do not fit the keys, or cannot be read.
    """
    keys = tuple(keys)
    asked = Both(()) if where is None else conditions.read(where, keys)
    if partitions is None:
        return Selection(keys, None, _pushed(asked), asked, ())
    if not keys:
        parts.values(keys, partitions)  # says that there are none
        return Selection(keys, None, "", asked, ())
    boxes = [_box(keys, one) for one in _several(keys, partitions)]
    chosen: Condition = Either(tuple(box.condition() for box in boxes))
    condition = chosen if where is None else Both((chosen, asked))
    if all(box.exact for box in boxes):
        values = tuple(dict.fromkeys(one for box in boxes for one in box.partitions()))
        held = tuple(one for one in values if asked.holds(_row(keys, one)))
        return Selection(keys, held, "", condition, ())
    named = () if where else tuple(one for box in boxes for one in box.named())
    return Selection(keys, None, _pushed(condition), condition, named)


@dataclass(frozen=True)
class _Box:
    """What is asked of each key: values (a tuple), a range of two ends, or (None) anything."""

    keys: tuple[Column, ...]
    values: Mapping[str, tuple[str, ...]]
    ranges: Mapping[str, tuple[str | None, str | None]]

    @property
    def exact(self) -> bool:
        """Whether each key has values."""
        return len(self.values) == len(self.keys)

    def partitions(self) -> Iterable[Values]:
        """Return all partitions; of an exact one.

        Raises:
            PartitionError: They are too many.
        """
        lists = [self.values[key.name] for key in self.keys]
        count = math.prod(map(len, lists))
        if count > MOST:
            raise PartitionError(
                f"{count:,} partitions are asked for by name.", "Use ranges, or `where`."
            )
        return product(*lists)

    def named(self) -> list[Condition]:
        """Return what must be there: each value that was given, with the others of its box."""
        if self.ranges or not self.values:
            return []
        lists = [[(key, v) for v in self.values[key.name]] for key in self.keys if self._has(key)]
        return [Both(tuple(Compare(key, "=", v) for key, v in one)) for one in product(*lists)]

    def condition(self) -> Condition:
        """Return it as a condition."""
        found: list[Condition] = []
        for key in self.keys:
            if self._has(key):
                equal = tuple(Compare(key, "=", value) for value in self.values[key.name])
                found.append(equal[0] if len(equal) == 1 else Either(equal))
            for sign, end in zip((">=", "<="), self.ranges.get(key.name, ()), strict=False):
                if end is not None:
                    found.append(Compare(key, sign, end))
        return Both(tuple(found))

    def _has(self, key: Column) -> bool:
        return key.name in self.values


def _several(keys: tuple[Column, ...], partitions: Any) -> list[Any]:
    """Tell a list of partitions from a list of values of one."""
    empty = isinstance(partitions, (list, tuple, Mapping)) and not partitions
    if isinstance(partitions, (list, tuple)):
        whole = [isinstance(one, (Mapping, list, tuple)) for one in partitions]
        if any(whole) and not all(whole):
            raise PartitionError(
                f"partitions={partitions!r} mixes values and whole partitions.",
                f"Give a list of whole ones, such as [{{{keys[0].name!r}: …}}].",
            )
        if whole and all(whole):
            empty = any(not one for one in partitions)
            if not empty:
                return list(partitions)
    if empty:
        raise PartitionError(
            f"partitions={partitions!r} names no partition.", "Leave it out to load all."
        )
    return [partitions]


def _box(keys: tuple[Column, ...], given: Any) -> _Box:
    values: dict[str, tuple[str, ...]] = {}
    ranges: dict[str, tuple[str | None, str | None]] = {}
    by_name = isinstance(given, Mapping)
    known = {key.name: key for key in keys}
    for name, one in parts.by_name(keys, given).items():
        key = known[name]
        if by_name and isinstance(one, tuple):
            ranges[name] = _range(key, one)
        elif by_name and parts.several(one):
            values[name] = tuple(dict.fromkeys(parts.text(value, key) for value in one))
            if not values[name]:
                raise PartitionError(
                    f"Partition key {name!r} is to be one of no values.",
                    "Leave the key out to load all of them.",
                )
        else:
            values[name] = (parts.text(one, key),)
    return _Box(keys, values, ranges)


def _range(key: Column, given: tuple[Any, ...]) -> tuple[str | None, str | None]:
    if len(given) != 2 or given == (None, None):
        raise PartitionError(
            f"Partition key {key.name!r} has {given!r}: a tuple is a range of two ends.",
            "Use a list for several values; None is an open end.",
        )
    low, high = (None if end is None else parts.text(end, key) for end in given)
    if low is not None and high is not None and _upside_down(key, low, high):
        raise PartitionError(
            f"The range {given!r} of partition key {key.name!r} ends before it begins.",
            f"Swap them: ({given[1]!r}, {given[0]!r}).",
        )
    return low, high


def _upside_down(key: Column, low: str, high: str) -> bool:
    return Compare(key, "<", high).holds({key.name: low}) is False and low != high


def _pushed(condition: Condition) -> str:
    return condition.filter() if conditions.comparisons(condition) <= conditions.MOST else ""


def _row(keys: Sequence[Column], values: Values) -> dict[str, str]:
    return dict(zip((key.name for key in keys), values, strict=True))


def _shown(one: Condition) -> str:
    if isinstance(one, Compare):
        return f"{parts.escape(one.key.name)}={parts.escape(one.value)}"
    return "/".join(_shown(part) for part in one.conditions)
