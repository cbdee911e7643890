"""What people type, understood: `sales.orders`, `year=2016/month=3`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from workroom_data import partitions as parts

TableWord = Annotated[str, typer.Argument(metavar="DB.TABLE", help="Such as sales.orders.")]
Where = Annotated[str | None, typer.Argument(metavar="DB[.TABLE]", help="All, if left out.")]
Partition = Annotated[
    list[str] | None,
    typer.Argument(metavar="PARTITION", help="year=2016/month=3, or year=2016 month=3, or 2016 3."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
BatchId = Annotated[str | None, typer.Option("--batch-id", help="A batch of the history.")]
Note = Annotated[str, typer.Option("--note", help="Text for the history.")]


def table(word: str) -> tuple[str, str]:
    """Return database and table of DB.TABLE.

    Raises:
        typer.BadParameter: It is not that.
    """
    database, dot, name = word.partition(".")
    if not (database and dot and name) or "." in name:
        raise typer.BadParameter(f"{word!r} is not DB.TABLE, such as sales.orders.")
    return database, name


def place(word: str | None) -> tuple[str | None, str | None]:
    """Return database and table of nothing, DB or DB.TABLE."""
    if word is None:
        return None, None
    if "." not in word and word:
        return word, None
    return table(word)


def partition(words: Sequence[str] | None) -> Any:
    """Return a partition: a mapping of `year=2016 month=3` or `year=2016/month=3`, a list of
    `2016 3`, None of nothing. In names %XX stands for a character, as in folders.

    Raises:
        typer.BadParameter: Names and bare values are mixed, or a name comes twice.
    """
    if not words:
        return None
    named = [word for word in words if "=" in word]
    if not named:
        return list(words)
    if len(named) < len(words):
        bare = next(word for word in words if "=" not in word)
        raise typer.BadParameter(
            f"{bare!r} has no name beside {named[0]!r}. Use year=2016 month=3, or 2016 3."
        )
    found: dict[str, str] = {}
    for pair in "/".join(words).strip("/").split("/"):
        key, sign, value = pair.partition("=")
        if not (key and sign and value) or key in found:
            raise typer.BadParameter(
                f"{pair!r} is not KEY=VALUE once. Write a '/' in a value as %2F."
            )
        found[key] = parts.unescape(value)
    return found
