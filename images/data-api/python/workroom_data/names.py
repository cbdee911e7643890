"""Names of databases and tables: what Hive, S3 and every reader take alike."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from workroom_data.errors import SchemaError

_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,127}")


def checked(what: str, name: object) -> str:
    """Return a name as Hive keeps it: in lower case.

    Args:
        what: "database" or "table", for the message.
        name: The name as given.

    Raises:
        SchemaError: It is none that Hive, Spark and a folder of S3 can all have.
    """
    if isinstance(name, str) and _NAME.fullmatch(name.lower()) and name.isascii():
        return name.lower()
    raise SchemaError(
        f"{name!r} cannot be the name of a {what}.",
        "Use ASCII letters, digits and '_', 128 at most, the first not '_'. "
        "Upper and lower case are the same to Hive.",
    )


def did_you_mean(wrong: str, there: Iterable[str], what: str) -> str:
    """Return a sentence that names what there is, the nearest first: "Did you mean 'orders'?"."""
    names = sorted(there)
    if not names:
        return f"There are no {what} yet."
    near = difflib.get_close_matches(wrong, names, n=3, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(repr(name) for name in near)}?"
    shown = ", ".join(repr(name) for name in names[:20])
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"There {'is' if len(names) == 1 else 'are'}: {shown}{more}."
