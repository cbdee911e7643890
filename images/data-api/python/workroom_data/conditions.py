"""Conditions on partition keys: `year >= '2016' and (month = 3 or month = 4)`.

A condition is answered twice. The metastore gets as much of it as it surely understands as we do,
so that few partitions come back; those that come are looked at again here. So what a load reads
depends neither on the metastore's database (order of text, blanks at the end) nor on what its
filters cannot say.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from workroom_data import partitions as parts
from workroom_data.catalogue import Column
from workroom_data.errors import PartitionError

MOST = 100
"""Comparisons of one filter; a metastore's database has limits of its own."""

_COMPARE = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WORDS = frozenset({"and", "or", "not", "in", "between", "like", "const"})
"""Words of the metastore's filters; a key of such a name cannot be in one."""

_DEEPEST = 50
_ORDERED = re.compile(r"[0-9-]+")
"""Text that databases of all languages put in the order of its characters."""

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\")|(?P<number>[+-]?\d+(?![\w.]))"
    r"|(?P<word>[A-Za-z0-9_]+)|(?P<sign><=|>=|!=|<>|==|=|<|>|\(|\)|,))"
)


@dataclass(frozen=True)
class Compare:
    """One key compared with a value (its text)."""

    key: Column
    sign: str
    value: str

    def holds(self, values: Mapping[str, str]) -> bool:
        """Say whether a partition meets it; NULL meets nothing."""
        ours: Any = parts.parsed(values[self.key.name], self.key)
        theirs: Any = parts.parsed(self.value, self.key)
        return ours is not None and bool(_COMPARE[self.sign](ours, theirs))

    def filter(self) -> str:
        """Return what the metastore can be asked, or "" if nothing."""
        # "Not equal" chooses nearly all, and to some databases 'a ' equals 'a'.
        if self.key.name in _WORDS or self.sign == "!=":
            return ""
        if self.key.hive not in ("string", "date"):
            return f"{self.key.name} {self.sign} {self.value}"
        if self.sign != "=" and not _ORDERED.fullmatch(self.value):
            return ""
        if self.value.endswith("\\") or ("'" in self.value and '"' in self.value):
            return ""
        quote = '"' if "'" in self.value else "'"
        return f"{self.key.name} {self.sign} {quote}{self.value}{quote}"


@dataclass(frozen=True)
class Both:
    """All of several conditions; of none, anything."""

    conditions: tuple[Condition, ...]

    def holds(self, values: Mapping[str, str]) -> bool:
        """Say whether a partition meets all."""
        return all(one.holds(values) for one in self.conditions)

    def filter(self) -> str:
        """Return what the metastore can be asked: leaving one out only chooses more."""
        return _joined(" and ", [f for one in self.conditions if (f := one.filter())])


@dataclass(frozen=True)
class Either:
    """At least one of several conditions; of none, nothing."""

    conditions: tuple[Condition, ...]

    def holds(self, values: Mapping[str, str]) -> bool:
        """Say whether a partition meets one."""
        return any(one.holds(values) for one in self.conditions)

    def filter(self) -> str:
        """Return what the metastore can be asked, or "" if it cannot be asked for one of them."""
        filters = [one.filter() for one in self.conditions]
        return _joined(" or ", filters) if all(filters) else ""


Condition = Compare | Both | Either


def _joined(word: str, filters: Sequence[str]) -> str:
    return f"({word.join(filters)})" if len(filters) > 1 else "".join(filters)


def comparisons(condition: Condition) -> int:
    """Return how many comparisons a condition has."""
    if isinstance(condition, Compare):
        return 1
    return sum(map(comparisons, condition.conditions))


def read(where: object, keys: Sequence[Column]) -> Condition:
    """Read a condition that a person wrote.

    Args:
        where: Comparisons of a key with a literal (=, !=, <, <=, >, >=, between, in), joined by
            `and`, `or` and parentheses. Texts and dates are in quotes, numbers without.
        keys: The table's keys.

    Raises:
        PartitionError: It is something else.
    """
    if not isinstance(where, str) or not where.strip():
        raise PartitionError(f"where is {where!r}.", _HOW)
    if not keys:
        raise PartitionError(
            "The table has no partitions for `where` to choose from.",
            "Leave it out, and choose among the rows of the frame.",
        )
    return _Reader(where, keys).whole()


_HOW = (
    "Compare keys with =, !=, <, <=, >, >=, between and in, joined by and, or and parentheses: "
    "\"year >= '2016' and month = '3'\". Numbers are without quotes where the key is a number."
)


class _Reader:
    """Reads a condition, one token after the other."""

    def __init__(self, where: str, keys: Sequence[Column]) -> None:
        self._where = where
        self._keys = {key.name: key for key in keys}
        self._tokens = self._split()
        self._at = 0
        self._depth = 0

    def whole(self) -> Condition:
        """Read all of it."""
        found = self._either()
        kind, token = self._next()
        return found if not kind else self._refuse(f"{token!r} comes where it should end")

    def _split(self) -> list[tuple[str, str]]:
        tokens, at, where = [], 0, self._where.rstrip()
        while at < len(where):
            found = _TOKEN.match(where, at)
            if not found or not found.lastgroup:
                self._refuse(f"{where[at:].strip()[:20]!r} is none of its signs")
            tokens.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()
        return tokens

    def _either(self) -> Condition:
        found = [self._both()]
        while self._taken("or"):
            found.append(self._both())
        return found[0] if len(found) == 1 else Either(tuple(found))

    def _both(self) -> Condition:
        found = [self._one()]
        while self._taken("and"):
            found.append(self._one())
        return found[0] if len(found) == 1 else Both(tuple(found))

    def _one(self) -> Condition:
        if self._taken("("):
            self._depth += 1
            if self._depth > _DEEPEST:
                self._refuse(f"it has more than {_DEEPEST} parentheses in each other")
            found = self._either()
            self._need(")")
            self._depth -= 1
            return found
        kind, name = self._next()
        key = self._keys.get(name.lower())
        if kind != "word" or key is None:
            known = parts.listed(list(self._keys.values()))
            self._refuse(f"{name or 'its end'!r} is where a partition key should be ({known})")
        if self._taken("between"):
            low = self._literal(key)
            self._need("and")
            high = self._literal(key)
            return Both((Compare(key, ">=", low), Compare(key, "<=", high)))
        if self._taken("in"):
            return self._in(key)
        kind, sign = self._next()
        sign = {"==": "=", "<>": "!="}.get(sign, sign)
        if kind != "sign" or sign not in _COMPARE:
            self._refuse(f"{sign or 'its end'!r} is where key {key.name!r} should be compared")
        return Compare(key, sign, self._literal(key))

    def _in(self, key: Column) -> Condition:
        self._need("(")
        found = [Compare(key, "=", self._literal(key))]
        while self._taken(","):
            found.append(Compare(key, "=", self._literal(key)))
        self._need(")")
        return Either(tuple(found))

    def _literal(self, key: Column) -> str:
        kind, token = self._next()
        if kind == "text":
            token = token[1:-1].replace(token[0] * 2, token[0])
        elif kind != "number":
            self._refuse(f"{token or 'its end'!r} is where a text in quotes or a number should be")
        elif key.hive in ("string", "date"):
            self._refuse(f"key {key.name!r} is a {key.hive}: put {token} in quotes")
        return parts.text(token, key)

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            return "", ""
        self._at += 1
        return self._tokens[self._at - 1]

    def _taken(self, wanted: str) -> bool:
        """Pass over a word or sign if it comes next."""
        if self._at < len(self._tokens):
            kind, token = self._tokens[self._at]
            if kind in ("word", "sign") and token.lower() == wanted:
                self._at += 1
                return True
        return False

    def _need(self, wanted: str) -> None:
        if not self._taken(wanted):
            _, token = self._next()
            self._refuse(f"{token or 'its end'!r} is where {wanted!r} should be")

    def _refuse(self, why: str) -> NoReturn:
        raise PartitionError(f"where={self._where!r} cannot be read: {why}.", _HOW)
