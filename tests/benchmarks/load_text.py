"""load-text: the same million rows back from the text format, against pandas on the same file.

pandas reads the very file of our batch from S3's answer in memory, without undoing the escapes:
what it gives is not what was stored. Ours is compared with the frame.
"""

from __future__ import annotations

import io

import boto3
import pandas as pd
from data_stage import in_turn, mixed, stage
from hubs import report

from workroom_data import load_dataframe, store_dataframe


def main() -> None:
    frame = mixed()
    with stage() as settings:
        batch = store_dataframe(frame, "bench", "text")
        client = boto3.client("s3", endpoint_url=settings.s3_endpoint)
        bucket, _, folder = batch.location.removeprefix("s3://").partition("/")
        listed = client.list_objects_v2(Bucket=bucket, Prefix=folder)["Contents"]
        keys = sorted(entry["Key"] for entry in listed if entry["Size"])

        def with_pandas() -> pd.DataFrame:
            parts = []
            for key in keys:
                content = client.get_object(Bucket=bucket, Key=key)["Body"].read()
                parts.append(
                    pd.read_csv(
                        io.BytesIO(content),
                        sep="\0",
                        names=list(frame.columns),
                        compression="gzip",
                        na_values=["\\N"],
                        keep_default_na=False,
                        quoting=3,
                        parse_dates=["at"],
                    )
                )
            return pd.concat(parts)

        times = in_turn({"ours": lambda: load_dataframe("bench", "text"), "pandas": with_pandas})
        pd.testing.assert_frame_equal(load_dataframe("bench", "text"), frame)
    report("load-text", times["ours"], "s", times["pandas"])


if __name__ == "__main__":
    main()
