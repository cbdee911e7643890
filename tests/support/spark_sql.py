"""Spark SQL of the notebook image, in a container beside tests' data servers.

One session answers any number of questions, a line of JSON each, over the container's standard
input and output. It is set up as in a user's server: by what `workroom-start` writes.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

from tests.support.data_servers import IMAGE, LABEL
from workroom_data.settings import Settings

READY = "spark is ready"
_INSIDE = Path(__file__).with_name("spark_inside.py")


class SparkSql:
    """A Spark session; `start` begins it, `rows` and `error` wait for it.

    Attributes:
        said: What the container wrote to its standard error; whole after `stop`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[str] | None = None
        self._ready = False
        self.said: list[str] = []

    def start(self) -> None:
        """Start the container; its session takes some 10 seconds, which nobody waits for here."""
        words = ["docker", "run", "--rm", "--interactive", "--network=host"]
        words += [f"--label={LABEL}={os.getpid()}"]
        # By name only: values would be in the list of processes.
        words += [f"--env={name}" for name in self.environment()]
        words += ["--env=SPARK_DRIVER_MEMORY=768m", IMAGE, "python", "-u", "-c"]
        self._process = subprocess.Popen(
            [*words, _INSIDE.read_text()],
            env={**os.environ, **self.environment()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def environment(self) -> dict[str, str]:
        """Return the variables of a user's server that say where data is."""
        given = self._settings
        return {
            "WORKROOM_DATA_WAREHOUSE": given.warehouse,
            "WORKROOM_DATA_METASTORE": given.metastore,
            "WORKROOM_DATA_S3_ENDPOINT": given.s3_endpoint,
            "WORKROOM_DATA_S3_REGION": given.s3_region,
            "WORKROOM_DATA_S3_KEY_ID": given.s3_key_id,
            "WORKROOM_DATA_S3_SECRET": given.s3_secret,
        }

    def stop(self) -> None:
        """End the container."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(60)

    def rows(self, sql: str) -> list[list[str | None]]:
        """Return what a query gives, every value as Spark writes it; binary in hexadecimal."""
        found: list[list[str | None]] = self._ask(sql)["rows"]
        return found

    def columns(self, sql: str) -> list[tuple[str, str]]:
        """Return names and types of a query's columns."""
        return [(name, kind) for name, kind in self._ask(sql)["columns"]]

    def _ask(self, sql: str) -> dict[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        while not self._ready:
            line = process.stdout.readline()
            assert line, "".join(self.said)
            self._ready = line.strip() == READY
        process.stdin.write(json.dumps({"sql": sql}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, "".join(self.said)
        answer: dict[str, Any] = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer

    def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.said.append(line)
