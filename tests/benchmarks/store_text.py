"""store-text: a million rows of ten mixed columns into the text format, against awswrangler.

`awswrangler.s3.to_csv(dataset=True, compression="gzip")` writes what comes nearest: gzip text,
without the escapes that make ours exact. pandas at gzip level 1 to a local file is printed beside
it, because the level is most of the difference.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path

import awswrangler
from data_stage import in_turn, mixed, stage
from hubs import report

from workroom_data import store_dataframe


def main() -> None:
    frame, turns = mixed(), itertools.count()
    with stage() as settings, tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "level-1.csv.gz"
        times = in_turn(
            {
                "ours": lambda: store_dataframe(frame, "bench", "text"),
                "awswrangler": lambda: awswrangler.s3.to_csv(
                    frame,
                    f"{settings.warehouse}/peer-{next(turns)}/",
                    dataset=True,
                    index=False,
                    compression="gzip",
                ),
                "pandas, level 1, local file": lambda: frame.to_csv(
                    local, index=False, compression={"method": "gzip", "compresslevel": 1}
                ),
            }
        )
    beside = times["ours"] / times["pandas, level 1, local file"]
    print(f"  against pandas at level 1: {beside:.3f}", file=sys.stderr)
    report("store-text", times["ours"], "s", times["awswrangler"])


if __name__ == "__main__":
    main()
