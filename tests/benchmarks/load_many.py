"""load-many: 200 partitions of 50,000 rows in one call, against the same loop in awswrangler.

Both read gzip text each wrote itself: ours with the metastore, the log and the checksums of every
partition, the peer one `read_csv` a partition and a `concat`.
"""

from __future__ import annotations

import awswrangler
import pandas as pd
from data_stage import in_turn, mixed, stage
from hubs import report

from workroom_data import load_dataframe, store_dataframe

PARTITIONS, ROWS = 200, 50_000
COLUMNS = ["id", "amount", "city", "paid", "at"]


def main() -> None:
    with stage() as settings:
        names = [f"{number:03}" for number in range(PARTITIONS)]
        for number, name in enumerate(names):
            frame = mixed(ROWS, seed=number)[COLUMNS]
            store_dataframe(frame, "bench", "many", partitions={"part": name})
            path = f"{settings.warehouse}/peer/{name}/"
            awswrangler.s3.to_csv(frame, path, dataset=True, index=False, compression="gzip")

        def loop() -> pd.DataFrame:
            paths = (f"{settings.warehouse}/peer/{name}/" for name in names)
            return pd.concat(
                [awswrangler.s3.read_csv(path, dataset=True, parse_dates=["at"]) for path in paths],
                ignore_index=True,
            )

        times = in_turn(
            {"ours": lambda: load_dataframe("bench", "many"), "awswrangler": loop}, rounds=2
        )
        assert len(load_dataframe("bench", "many", columns=["id"])) == PARTITIONS * ROWS
    report("load-many", times["ours"], "s", times["awswrangler"])


if __name__ == "__main__":
    main()
