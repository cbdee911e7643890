"""Data frames in S3 and a Hive Metastore: every overwrite is a new batch, and nothing is lost.

    store_dataframe(df, "sales", "orders", partitions=["2016"])
    load_dataframe("sales", "orders", partitions=["2016"])

A map of the package, from the inside out:

    errors      what can go wrong, as a tree
    settings    where the warehouse, the metastore and the S3 server are
    types       Arrow types and Hive types
    frames      pandas, Arrow and polars in and out
    text        the text format: gzip, NUL-separated, exact
    parquet     Parquet under the same rules
    formats     one interface over the two
    storage     files, written once and never over (S3 and local)
    commits     one commit, and the log of a partition
    catalogue   the metastore's interface; hive.py is the Hive Metastore
    pointers    moving the metastore's pointer to the newest commit
    partitions  partition keys, and their names in paths; key_values: one text of each value
    selections  which partitions a load means; conditions: `where`
    plan        what a store is to do, and what it refuses
    store       the verb
    find, load  which batch of each partition; the verb
    pins        what an anchor pins
    walk        all logs of a warehouse, read whole
    versions    history and audit as frames
    going_back  rollback, as a new commit
    anchoring   anchors: names for what is current (pins: their files)
    repair      check and rebuild
    progress    the bar on long work
    cli         `workroom-data`
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from workroom_data.anchoring import anchor, anchors
    from workroom_data.batch import Batch
    from workroom_data.errors import (
        Conflict,
        Damaged,
        DataError,
        DataWarning,
        FrameError,
        NotFound,
        PartitionError,
        SchemaError,
        SettingsError,
        Unavailable,
    )
    from workroom_data.going_back import rollback
    from workroom_data.load import load_dataframe
    from workroom_data.pins import Anchor
    from workroom_data.repair import Finding, check, rebuild
    from workroom_data.session import connect
    from workroom_data.settings import Settings
    from workroom_data.store import store_dataframe
    from workroom_data.versions import audit, history

__all__ = [
    "Anchor",
    "Batch",
    "Conflict",
    "Damaged",
    "DataError",
    "DataWarning",
    "Finding",
    "FrameError",
    "NotFound",
    "PartitionError",
    "SchemaError",
    "Settings",
    "SettingsError",
    "Unavailable",
    "anchor",
    "anchors",
    "audit",
    "check",
    "connect",
    "history",
    "load_dataframe",
    "rebuild",
    "rollback",
    "store_dataframe",
]

_HOME = {
    "Anchor": "pins",
    "Batch": "batch",
    "Finding": "repair",
    "Settings": "settings",
    "anchor": "anchoring",
    "anchors": "anchoring",
    "audit": "versions",
    "check": "repair",
    "connect": "session",
    "history": "versions",
    "load_dataframe": "load",
    "rebuild": "repair",
    "rollback": "going_back",
    "store_dataframe": "store",
}


def __getattr__(name: str) -> Any:
    """Import what is used, when it is used: pandas, Arrow and Thrift take a second."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_HOME.get(name, 'errors')}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
