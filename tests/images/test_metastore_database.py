"""Which database the Hive Metastore is told to use."""

from __future__ import annotations

from pathlib import Path

import pytest
from workroom_server.metastore import MetastoreError, properties, site

FOLDER = Path("/var/lib/metastore")
PREFIX = "WORKROOM_METASTORE_DATABASE_"


def given(**database: str) -> dict[str, str]:
    return {
        "WORKROOM_DATA_WAREHOUSE": "s3://acme/warehouse",
        **{f"{PREFIX}{name}": value for name, value in database.items()},
    }


def test_without_one_it_is_derby_in_its_folder() -> None:
    found = properties(given(), FOLDER)
    assert found["javax.jdo.option.ConnectionURL"] == (
        "jdbc:derby:;databaseName=/var/lib/metastore/derby;create=true"
    )
    assert "javax.jdo.option.ConnectionPassword" not in found


def test_a_named_one_is_postgresql_over_tls() -> None:
    found = properties(
        given(HOST="db:5432", NAME="metastore", USERNAME="m", PASSWORD="p<&w"), FOLDER
    )
    assert found["javax.jdo.option.ConnectionURL"] == (
        "jdbc:postgresql://db:5432/metastore?sslmode=require"
    )
    assert found["javax.jdo.option.ConnectionDriverName"] == "org.postgresql.Driver"
    assert "<value>p&lt;&amp;w</value>" in site(found)


@pytest.mark.parametrize("missing", ["NAME", "USERNAME", "PASSWORD"])
def test_a_part_that_is_missing_is_named(missing: str) -> None:
    database = {"HOST": "db", "NAME": "m", "USERNAME": "m", "PASSWORD": "p"}
    del database[missing]
    with pytest.raises(MetastoreError, match=f"{PREFIX}{missing} is missing"):
        properties(given(**database), FOLDER)
