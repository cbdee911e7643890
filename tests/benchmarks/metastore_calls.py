"""metastore-calls: requests to the metastore that one load of 200 partitions sends, limit 3.

Those of stores are printed beside it: the first of a table, of a partition, and an overwrite.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from data_stage import mixed, stage
from hubs import report

from workroom_data import load_dataframe, session, store_dataframe

LIMIT_STORE, LIMIT_LOAD = 4, 3


def calls(what: str, work: Callable[[], Any]) -> int:
    """Return how many requests `work` sends."""
    before = session.current().catalogue.calls
    work()
    sent = session.current().catalogue.calls - before
    print(f"  {what}: {sent}", file=sys.stderr)
    return sent


def main() -> None:
    frame = mixed(100)
    with stage():

        def store(table: str, **partitions: str) -> Callable[[], Any]:
            return lambda: store_dataframe(frame, "bench", table, partitions or None)

        stores = [
            calls("first store of a database and table", store("one")),
            calls("overwrite", store("one")),
            calls("first store of a partitioned table", store("many", part="000")),
            calls("new partition", store("many", part="001")),
            calls("overwrite of a partition", store("many", part="001")),
        ]
        for number in range(2, 200):
            store("many", part=f"{number:03}")()
        loads = [
            calls("load of one partition", lambda: load_dataframe("bench", "many", ["001"])),
            calls("load of 200 partitions", lambda: load_dataframe("bench", "many")),
        ]
    if max(stores) > LIMIT_STORE:
        sys.exit(f"A store sent {max(stores)} requests, more than {LIMIT_STORE}.")
    report("metastore-calls", max(loads), "calls", LIMIT_LOAD)


if __name__ == "__main__":
    main()
