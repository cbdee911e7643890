"""Fixtures of the data API's tests: a real S3 server and a real Hive Metastore, or a folder."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymetastore.hive_metastore.ThriftHiveMetastore import Client
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport

from tests.fakes.catalogue_in_memory import CatalogueInMemory
from tests.support.data_servers import BUCKET, DataServers
from workroom_data import session
from workroom_data.catalogue import Catalogue
from workroom_data.session import Session, connect
from workroom_data.settings import Settings


@pytest.fixture(scope="session")
def data_servers() -> Iterator[DataServers]:
    """Both servers, started together; tests that use them carry the mark `docker`."""
    servers = DataServers()
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


@pytest.fixture
def settings(data_servers: DataServers) -> Settings:
    """Settings with a warehouse of the test's own."""
    return dataclasses.replace(
        data_servers.settings, warehouse=f"s3://{BUCKET}/t-{secrets.token_hex(4)}"
    )


@pytest.fixture
def database() -> str:
    """The name of a database of the test's own: the metastore is shared."""
    return f"db_{secrets.token_hex(4)}"


@pytest.fixture
def catalogue(settings: Settings) -> Iterator[Catalogue]:
    """The Hive Metastore as the package sees it."""
    from workroom_data.hive import HiveCatalogue

    with HiveCatalogue(settings) as catalogue:
        yield catalogue


@pytest.fixture
def raw(data_servers: DataServers) -> Iterator[Any]:
    """The metastore's own interface, to see what really is there and to be a stranger."""
    wire = TSocket("127.0.0.1", data_servers.metastore_port)
    wire.setTimeout(60_000)
    transport = TBufferedTransport(wire)
    transport.open()
    yield Client(TBinaryProtocol(transport))
    transport.close()


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session with a warehouse in a local folder and a metastore in memory."""
    monkeypatch.setattr(session, "_current", None)  # put back afterwards
    chosen = Settings(str(tmp_path / "warehouse"), "thrift://nowhere:1", who="ada")
    return connect(chosen, CatalogueInMemory())
