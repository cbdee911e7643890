"""What the data benchmarks share: one S3 server and metastore, frames, and the peer's set-up.

The peer is awswrangler, driven through its own functions against the same S3 server. It has no
Hive Metastore client, so its reads and writes are of files alone: ours do more.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.data_servers import DataServers
from workroom_data import session
from workroom_data.settings import Settings

ROWS = 1_000_000


@contextmanager
def stage() -> Iterator[Settings]:
    """Start both servers, point workroom_data and awswrangler at them, stop them afterwards."""
    servers = DataServers()
    try:
        servers.start()
        session.connect(servers.settings)
        _point_awswrangler(servers.settings)
        yield servers.settings
    finally:
        servers.stop()


def _point_awswrangler(settings: Settings) -> None:
    import awswrangler
    import boto3

    os.environ.pop("AWS_PROFILE", None)
    awswrangler.config.s3_endpoint_url = settings.s3_endpoint
    boto3.setup_default_session(
        aws_access_key_id=settings.s3_key_id,
        aws_secret_access_key=settings.s3_secret,
        region_name=settings.s3_region or "us-east-1",
    )


def mixed(rows: int = ROWS, seed: int = 1) -> pd.DataFrame:
    """Return a frame of ten columns of the kinds tables have; one note in a hundred is awkward."""
    random = np.random.default_rng(seed)
    cities = np.array(["Berlin", "São Paulo", "東京", "New York", "Nairobi", "Oslo"], object)
    notes = np.array([f"ordered by customer {n}, paid" for n in range(97)], object)
    notes = np.append(notes, ["two\nlines", "back\\slash\there", 'he said "no"'])
    start = np.datetime64("2016-01-01T00:00:00", "us")
    numbers = random.integers(0, 1000, rows)
    return pd.DataFrame(
        {
            "id": np.arange(rows, dtype="int64"),
            "amount": random.random(rows) * 1000,
            "share": random.random(rows).astype("float32"),
            "city": cities[random.integers(0, len(cities), rows)],
            "note": notes[random.integers(0, len(notes), rows)],
            "code": np.char.add("C-", random.integers(10**6, 10**7, rows).astype(str)).astype(
                object
            ),
            "paid": random.random(rows) < 0.5,
            "at": start + random.integers(0, 10**14, rows).astype("timedelta64[us]"),
            "count": pd.array(np.where(numbers < 20, 0, numbers), dtype="Int64"),
            "small": random.integers(-100, 100, rows).astype("int16"),
        }
    )


def seconds(work: Callable[[], Any], prepare: Callable[[], Any] = lambda: None) -> float:
    """Return how long `work` took."""
    prepare()
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def in_turn(works: dict[str, Callable[[], Any]], rounds: int = 3) -> dict[str, float]:
    """Run each of `works` in turn, `rounds` times; return the medians in seconds.

    A first round is not counted: imports, connections and the server's caches are warm after it.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for name, work in works.items():
        print(f"  first {name}: {seconds(work):.2f} s", file=sys.stderr, flush=True)
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(work))
    for name, values in times.items():
        shown = ", ".join(f"{value:.2f}" for value in values)
        print(f"  {name}: {shown} s", file=sys.stderr, flush=True)
    return {name: statistics.median(values) for name, values in times.items()}
