"""load-parquet: a million rows of ten mixed columns from Parquet, against awswrangler.

Each reads what it wrote itself.
"""

from __future__ import annotations

import awswrangler
import pandas as pd
from data_stage import in_turn, mixed, stage
from hubs import report

from workroom_data import load_dataframe, store_dataframe


def main() -> None:
    frame = mixed()
    with stage() as settings:
        store_dataframe(frame, "bench", "columns", format="parquet")
        peer = f"{settings.warehouse}/peer/"
        awswrangler.s3.to_parquet(frame, peer, dataset=True, index=False)
        times = in_turn(
            {
                "ours": lambda: load_dataframe("bench", "columns"),
                "awswrangler": lambda: awswrangler.s3.read_parquet(peer, dataset=True),
            },
            rounds=5,
        )
        pd.testing.assert_frame_equal(load_dataframe("bench", "columns"), frame)
    report("load-parquet", times["ours"], "s", times["awswrangler"])


if __name__ == "__main__":
    main()
