"""`workroom-data`: the data API from a terminal.

What a command needs is imported inside it, so that `--help` is there at once. The commands are in
cli_looking.py and cli_acting.py.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import typer

from workroom_data import cli_acting as acting
from workroom_data import cli_looking as looking
from workroom_data import cli_show as show
from workroom_data.errors import DataError, DataWarning

app = typer.Typer(
    name="workroom-data",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="""Tables in S3 and a Hive Metastore, every overwrite of which is a new batch.

A table is `DB.TABLE`. A partition is `year=2016/month=3`, `year=2016 month=3`, or `2016 3`.

Examples:

* `workroom-data ls` — the databases; `ls sales` — its tables; `ls sales.orders` — its partitions
* `workroom-data head sales.orders year=2016` — the first rows
* `workroom-data history sales.orders year=2016` — who stored what, and when
* `workroom-data rollback sales.orders year=2016` — back to the batch before
* `workroom-data check` — is everything as it should be?

Where data is, it learns from `WORKROOM_DATA_…`, which are set in every Workroom server.
""",
)


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error. Before the command.")
    ] = False,
) -> None:
    _Options.debug = debug


class _Options:
    """What was said before the command."""

    debug = False


_COMMANDS: tuple[Callable[..., None], ...] = (
    looking.ls,
    looking.describe,
    looking.head,
    looking.history,
    looking.anchors,
    acting.rollback,
    acting.check,
    acting.rebuild,
)
for _command in _COMMANDS:
    app.command()(_command)


def main() -> None:
    """Run a command; an error is a sentence and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    warnings.simplefilter("ignore")
    warnings.simplefilter("always", DataWarning)
    warnings.showwarning = _remark
    try:
        app()
    except KeyboardInterrupt:
        show.line("Interrupted.", error=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except Exception as error:
        if _Options.debug:
            traceback.print_exc()
        show.line(_sentence(error), "red", error=True)
        sys.exit(1)


def _sentence(error: Exception) -> str:
    """Return an error in one line."""
    if isinstance(error, DataError):
        return " ".join(str(error).split())
    said = " ".join(str(error).split())[:300]
    if secret := os.environ.get("WORKROOM_DATA_S3_SECRET"):
        said = said.replace(secret, "***")
    return f"Something unexpected happened: {type(error).__name__}: {said} (--debug shows where)"


def _remark(message: Warning | str, *_: Any, **__: Any) -> None:
    """Say a warning as a note, without the line of code it comes from."""
    show.line(f"Note: {message}", "yellow", error=True)
