"""store-parquet: a million rows of ten mixed columns into Parquet, against awswrangler."""

from __future__ import annotations

import itertools

import awswrangler
from data_stage import in_turn, mixed, stage
from hubs import report

from workroom_data import store_dataframe


def main() -> None:
    frame, turns = mixed(), itertools.count()
    with stage() as settings:
        times = in_turn(
            {
                "ours": lambda: store_dataframe(frame, "bench", "columns", format="parquet"),
                "awswrangler": lambda: awswrangler.s3.to_parquet(
                    frame, f"{settings.warehouse}/peer-{next(turns)}/", dataset=True, index=False
                ),
            },
            rounds=5,
        )
    report("store-parquet", times["ours"], "s", times["awswrangler"])


if __name__ == "__main__":
    main()
