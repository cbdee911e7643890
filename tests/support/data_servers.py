"""A real S3 server and a real Hive Metastore for tests, both on this machine.

The S3 server is seaweedfs, a process; the metastore is Hive's own, in a container of the notebook
image. Each run has its own, on free ports, with its data in a folder of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import docker
from botocore.config import Config
from docker.models.containers import Container

from workroom_data.settings import Settings

BUCKET = "workroom-data"
KEY_ID = "workroom-tests"
SECRET = "a-secret-of-tests-only"
IMAGE = os.environ.get("WORKROOM_TEST_IMAGE", "workroom/notebook:latest")
COMMAND = "/opt/workroom/bin/workroom-metastore"
LABEL = "io.workroom.tests.data"
PREFIX = "workroom-data-tests-"


class DataServers:
    """Both servers; `start` them, `stop` them, and make bad days with the verbs of each.

    Attributes:
        settings: Where they are, with the identity of the platform.
        s3_endpoint: `http://127.0.0.1:PORT`.
        metastore_port: Port of the metastore on 127.0.0.1.
        folder: Their files, among them `s3.log`.
    """

    def __init__(self) -> None:
        sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        (self.folder / "s3").mkdir()
        self.ports = free_ports(9)
        self.metastore_port = self.ports[8]
        self.s3_endpoint = f"http://127.0.0.1:{self.ports[0]}"
        self.settings = Settings(
            f"s3://{BUCKET}/warehouse",
            f"thrift://127.0.0.1:{self.metastore_port}",
            self.s3_endpoint,
            "us-east-1",
            KEY_ID,
            SECRET,
            "tests",
        )
        self._engine = docker.from_env(timeout=120)
        self._s3: subprocess.Popen[bytes] | None = None
        self._metastore: Container | None = None

    def start(self) -> None:
        """Start both, wait for both, make the bucket."""
        self._begin_s3()
        self._begin_metastore()
        self._wait_s3()
        client = self.s3()
        client.create_bucket(Bucket=BUCKET)
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        self._wait_metastore()

    def stop(self) -> None:
        """Stop both and remove every trace of them."""
        self.stop_s3()
        if self._metastore is not None:
            self._metastore.remove(force=True, v=True)
        self._engine.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def s3(self) -> Any:
        """Return a boto3 client of the S3 server."""
        return boto3.client(
            "s3",
            endpoint_url=self.s3_endpoint,
            region_name=self.settings.s3_region,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def stop_s3(self) -> None:
        """Kill the S3 server; what it had acknowledged is on its disk."""
        if self._s3 is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._s3.pid, signal.SIGKILL)
            self._s3.wait()
            self._s3 = None

    def start_s3(self) -> None:
        """Start the S3 server again, with the data it had, and wait for it."""
        self._begin_s3()
        self._wait_s3()

    def stop_metastore(self) -> None:
        """Stop the metastore; its database stays."""
        assert self._metastore is not None
        self._metastore.stop(timeout=20)

    def start_metastore(self) -> None:
        """Start the metastore again, with the database it had, and wait for it."""
        assert self._metastore is not None
        self._metastore.start()
        self._wait_metastore()

    def metastore_memory(self) -> int:
        """Return the bytes of memory the metastore's Java holds (its resident set)."""
        assert self._metastore is not None
        self._metastore.reload()
        tree = self._metastore.top()["Processes"]
        pids = [int(row[1]) for row in tree]
        return sum(_resident(pid) for pid in pids)

    def _begin_s3(self) -> None:
        identities = {
            "identities": [
                {
                    "name": "platform",
                    "credentials": [{"accessKey": KEY_ID, "secretKey": SECRET}],
                    "actions": ["Admin", "Read", "List", "Tagging", "Write"],
                }
            ]
        }
        config = self.folder / "s3.json"
        config.write_text(json.dumps(identities))
        s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc, _ = self.ports
        words = [
            Path(sys.executable).with_name("weed"),
            "-logtostderr",
            "server",
            f"-dir={self.folder / 's3'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-master.port={master}",
            f"-master.port.grpc={master_grpc}",
            "-master.telemetry=false",
            "-master.electionTimeout=1s",
            "-master.volumeSizeLimitMB=1024",
            f"-volume.port={volume}",
            f"-volume.port.grpc={volume_grpc}",
            "-volume.max=200",
            "-filer",
            f"-filer.port={filer}",
            f"-filer.port.grpc={filer_grpc}",
            "-s3",
            f"-s3.port={s3}",
            f"-s3.port.grpc={s3_grpc}",
            f"-s3.config={config}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]
        with (self.folder / "s3.log").open("ab") as log:
            self._s3 = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, "GOMEMLIMIT": "400MiB"},
                start_new_session=True,
            )
        (self.folder / "s3.pid").write_text(str(self._s3.pid))

    def _wait_s3(self) -> None:
        def answers() -> bool:
            assert self._s3 is not None
            assert self._s3.poll() is None, (self.folder / "s3.log").read_text()[-4000:]
            self.s3().list_buckets()
            return True

        _until(answers, 60, lambda: (self.folder / "s3.log").read_text()[-4000:])

    def _begin_metastore(self) -> None:
        self._metastore = self._engine.containers.run(
            IMAGE,
            [COMMAND],
            entrypoint=["tini", "-g", "--"],
            detach=True,
            network_mode="host",
            labels={LABEL: str(os.getpid())},
            environment={
                "WORKROOM_METASTORE_PORT": str(self.metastore_port),
                "WORKROOM_METASTORE_FOLDER": "/tmp/workroom-metastore",
                "WORKROOM_DATA_S3_ENDPOINT": self.s3_endpoint,
                "WORKROOM_DATA_S3_REGION": self.settings.s3_region,
                "WORKROOM_DATA_S3_KEY_ID": KEY_ID,
                "WORKROOM_DATA_S3_SECRET": SECRET,
                "WORKROOM_DATA_WAREHOUSE": self.settings.warehouse,
            },
        )

    def _wait_metastore(self) -> None:
        container = self._metastore
        assert container is not None

        def answers() -> bool:
            container.reload()
            assert container.status == "running", self._metastore_log()
            return _answers_thrift(self.metastore_port)

        _until(answers, 120, self._metastore_log)

    def _metastore_log(self) -> str:
        assert self._metastore is not None
        return str(self._metastore.logs(tail=60).decode(errors="replace"))


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nothing listens on, all different."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def sweep() -> None:
    """Remove what runs left whose process is gone (killed)."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        if _alive(int(folder.name.removeprefix(PREFIX).split("-")[0])):
            continue
        with suppress(OSError, ValueError):
            pid = int((folder / "s3.pid").read_text())
            if str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
    engine = docker.from_env(timeout=120)
    for container in engine.containers.list(
        all=True, ignore_removed=True, filters={"label": LABEL}
    ):
        if not _alive(int(container.labels[LABEL])):
            container.remove(force=True, v=True)
    engine.close()


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return sum(
        int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:")
    )


def _answers_thrift(port: int) -> bool:
    """Say whether the metastore answers a request, not only the connection."""
    from pymetastore.hive_metastore import ThriftHiveMetastore
    from thrift.protocol.TBinaryProtocol import TBinaryProtocol
    from thrift.transport.TSocket import TSocket
    from thrift.transport.TTransport import TBufferedTransport

    # Thrift logs each refused connection; the plain socket does not.
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    wire = TSocket("127.0.0.1", port)
    wire.setTimeout(30_000)
    transport = TBufferedTransport(wire)
    transport.open()
    try:
        ThriftHiveMetastore.Client(TBinaryProtocol(transport)).get_all_databases()
    finally:
        transport.close()
    return True


def _until(answers: Callable[[], bool], seconds: float, story: Callable[[], str]) -> None:
    """Ask until there is an answer; an AssertionError ends it at once."""
    end = time.monotonic() + seconds
    while True:
        try:
            if answers():
                return
        except AssertionError:
            raise
        except Exception as error:
            if time.monotonic() > end:
                raise AssertionError(f"no answer after {seconds} s: {error}\n{story()}") from error
        time.sleep(0.2)
