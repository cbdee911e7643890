"""Spark's settings for the data API, as the start of a server writes them; no container."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from workroom_server import spark_data

IMAGE = Path(__file__).parents[2] / "images/notebook/rootfs/opt/workroom/etc/spark"
ONE_MACHINE = {
    "WORKROOM_DATA_WAREHOUSE": "s3://workroom-data/warehouse",
    "WORKROOM_DATA_METASTORE": "thrift://10.0.0.1:9083",
    "WORKROOM_DATA_S3_ENDPOINT": "http://10.0.0.1:8333",
    "WORKROOM_DATA_S3_REGION": "us-east-1",
    "WORKROOM_DATA_S3_KEY_ID": "workroom-users",
    "WORKROOM_DATA_S3_SECRET": r"a\secret",
}
AWS = {
    "WORKROOM_DATA_WAREHOUSE": "s3://lake/warehouse",
    "WORKROOM_DATA_METASTORE": "thrift://metastore:9083",
    "WORKROOM_DATA_S3_REGION": "cn-north-1",
}


def lines(folder: Path) -> dict[str, str]:
    """What Java reads from the file of defaults."""
    text = (folder / "spark-defaults.conf").read_text().splitlines()
    pairs = [line.split(None, 1) for line in text if line and not line.startswith("#")]
    return {name: value.replace("\\\\", "\\") for name, value in pairs}


def test_one_machine(tmp_path: Path) -> None:
    private, environment = tmp_path / "private", dict(ONE_MACHINE)
    spark_data.prepare(environment, IMAGE, private)
    assert environment["SPARK_CONF_DIR"] == str(private)
    found = lines(private)
    assert {name: found[f"spark.hadoop.fs.s3a.{name}"] for name in (
        "endpoint", "endpoint.region", "path.style.access", "connection.ssl.enabled",
        "access.key", "secret.key", "aws.credentials.provider", "directory.marker.retention",
    )} == {
        "endpoint": "http://10.0.0.1:8333",
        "endpoint.region": "us-east-1",
        "path.style.access": "true",
        "connection.ssl.enabled": "false",
        "access.key": "workroom-users",
        "secret.key": r"a\secret",
        "aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
        "directory.marker.retention": "keep",
    }  # fmt: skip
    assert found["spark.sql.catalogImplementation"] == "hive"
    assert found["spark.hadoop.hive.metastore.uris"] == "thrift://10.0.0.1:9083"
    assert found["spark.sql.warehouse.dir"] == "s3://workroom-data/warehouse"
    assert found["spark.hadoop.fs.s3.impl"] == "org.apache.hadoop.fs.s3a.S3AFileSystem"
    assert found["spark.hadoop.hive.exec.stagingdir"] == ".hive-staging/_temporary/insert"
    assert found["spark.sql.session.timeZone"] == "UTC"
    # What the image says is still in force.
    image = lines(IMAGE)
    options = found.pop("spark.driver.extraJavaOptions")
    assert options == image.pop("spark.driver.extraJavaOptions") + " -Duser.timezone=UTC"
    assert image.items() <= found.items()
    assert (private / "log4j2.properties").read_text() == (IMAGE / "log4j2.properties").read_text()


def test_the_role_on_aws() -> None:
    found = spark_data.properties(AWS)
    named = {name.removeprefix("spark.hadoop.fs.s3a."): value for name, value in found.items()}
    assert named["endpoint"] == "s3.cn-north-1.amazonaws.com.cn"
    assert "path.style.access" not in named
    assert "secret.key" not in named
    assert "EC2ContainerCredentialsProviderWrapper" in named["aws.credentials.provider"]


def test_nobody_else_reads_the_key(tmp_path: Path) -> None:
    private = tmp_path / "private"
    for _ in range(2):  # a second start in the same container
        spark_data.prepare(dict(ONE_MACHINE), IMAGE, private)
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert stat.S_IMODE((private / "spark-defaults.conf").stat().st_mode) == 0o600


@pytest.mark.parametrize("missing", ["", "  "])
def test_without_a_metastore_spark_stays_as_it_is(tmp_path: Path, missing: str) -> None:
    environment = {**ONE_MACHINE, "WORKROOM_DATA_METASTORE": missing}
    before = dict(environment)
    spark_data.prepare(environment, IMAGE, tmp_path / "private")
    assert environment == before
    assert not (tmp_path / "private").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKROOM_DATA_S3_SECRET", "word\nspark.master yarn"),
        ("WORKROOM_DATA_WAREHOUSE", "s3://a\rspark.master yarn"),
    ],
)
def test_a_value_cannot_add_a_property(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    environment = {**ONE_MACHINE, name: value}
    spark_data.prepare(environment, IMAGE, tmp_path / "private")
    assert "SPARK_CONF_DIR" not in environment
    said = capsys.readouterr().err
    assert "more than one line" in said
    assert "word" not in said
    assert r"a\secret" not in said


def test_a_folder_that_cannot_be_written_costs_spark_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    environment = dict(ONE_MACHINE)
    spark_data.prepare(environment, IMAGE, tmp_path / "file" / "private")
    assert "SPARK_CONF_DIR" not in environment
    assert "Spark does not know the data API's tables" in capsys.readouterr().err
