"""Spark's settings for the data API's metastore and S3 server, written when a server starts.

Without `WORKROOM_DATA_METASTORE` Spark stays as the image has it, with a Derby of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

IMAGE = Path("/opt/workroom/etc/spark")
PRIVATE = Path("/var/lib/workroom/spark")
DEFAULTS = "spark-defaults.conf"
PREFIX = "WORKROOM_DATA_"
UTC = "-Duser.timezone=UTC"
OPTIONS = "spark.driver.extraJavaOptions"

# S3A is older than this Hadoop, whose defaults say "60s" where S3A reads a number.
# Times in milliseconds, but for the two ages, which are in seconds.
NUMBERS = {
    "threads.keepalivetime": "60",
    "multipart.purge.age": "86400",
    "connection.establish.timeout": "5000",
    "connection.timeout": "200000",
    "connection.ttl": "300000",
}
# On AWS: what the person set herself, then the task's role, as boto3 does.
ROLE = (
    "com.amazonaws.auth.EnvironmentVariableCredentialsProvider,"
    "com.amazonaws.auth.EC2ContainerCredentialsProviderWrapper"
)


def prepare(
    environment: MutableMapping[str, str], image: Path = IMAGE, private: Path = PRIVATE
) -> None:
    """Write the settings, and have `SPARK_CONF_DIR` name their folder.

    A server without them is better than no server, so this never raises; the log says why.

    Args:
        environment: The server's; kernels, terminals and ssh sessions have it too.
        image: Folder of the image's own settings, which stay in force.
        private: Folder to write to, which nobody else can read: the file has the S3 key.
    """
    added = properties(environment)
    if not added:
        return
    try:
        write(added, image, private)
    except (OSError, ValueError) as error:
        print(
            f"workroom-start: Spark does not know the data API's tables: {error}",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        return
    environment["SPARK_CONF_DIR"] = str(private)


def properties(environment: Mapping[str, str]) -> dict[str, str]:
    """Return Spark's properties for these `WORKROOM_DATA_*`; {} without a metastore."""
    given = {
        name.removeprefix(PREFIX): value.strip()
        for name, value in environment.items()
        if name.startswith(PREFIX) and value.strip()
    }
    if "METASTORE" not in given:
        return {}
    found = {
        "spark.sql.catalogImplementation": "hive",
        "spark.hadoop.hive.metastore.uris": given["METASTORE"],
        # Seconds without an answer; the default is ten minutes.
        "spark.hadoop.hive.metastore.client.socket.timeout": "120",
        "spark.sql.session.timeZone": "UTC",
        # What an INSERT has in hand: where people may remove it again, which is below `_temporary/`
        # only, and where Spark puts up with it, which is below a dot.
        "spark.hadoop.hive.exec.stagingdir": ".hive-staging/_temporary/insert",
        **_s3(given),
    }
    if "WAREHOUSE" in given:
        found["spark.sql.warehouse.dir"] = given["WAREHOUSE"]
    return found


def _s3(given: Mapping[str, str]) -> dict[str, str]:
    endpoint, region = given.get("S3_ENDPOINT", ""), given.get("S3_REGION", "")
    s3a = dict(NUMBERS)
    # Deleting the marker of a folder needs a right that nobody has, and nobody needs.
    s3a["directory.marker.retention"] = "keep"
    s3a["attempts.maximum"] = s3a["retry.limit"] = "5"
    if endpoint:
        s3a["endpoint"], s3a["path.style.access"] = endpoint, "true"
        s3a["connection.ssl.enabled"] = str(not endpoint.startswith("http://")).lower()
    elif region:
        s3a["endpoint"] = f"s3.{region}.amazonaws.com" + (".cn" if region[:3] == "cn-" else "")
    if region:
        s3a["endpoint.region"] = region
    if "S3_KEY_ID" in given and "S3_SECRET" in given:
        s3a["aws.credentials.provider"] = "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider"
        s3a["access.key"], s3a["secret.key"] = given["S3_KEY_ID"], given["S3_SECRET"]
    else:
        s3a["aws.credentials.provider"] = ROLE
    return {
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        "spark.hadoop.fs.AbstractFileSystem.s3.impl": "org.apache.hadoop.fs.s3a.S3A",
        **{f"spark.hadoop.fs.s3a.{name}": value for name, value in s3a.items()},
    }


def write(added: Mapping[str, str], image: Path, private: Path) -> None:
    """Write the image's settings and `added` into `private`, readable by this user only.

    Raises:
        OSError: A file cannot be written.
        ValueError: A value has a line's end, and could so add a property.
    """
    private.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in image.iterdir():
        if file.name != DEFAULTS and not (private / file.name).is_symlink():
            (private / file.name).symlink_to(file)
    text = (image / DEFAULTS).read_text()
    # Hive keeps times without a zone, and Java reads them as its own.
    text = "\n".join(
        f"{line} {UTC}" if line.startswith(OPTIONS) else line for line in text.splitlines()
    )
    target = private / DEFAULTS
    target.unlink(missing_ok=True)
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text + "\n\n# Data API\n")
        stream.writelines(f"{name} {_value(name, value)}\n" for name, value in added.items())


def _value(name: str, value: str) -> str:
    """Write a value as a Java properties file has it."""
    if "\n" in value or "\r" in value:
        raise ValueError(f"the value of {name} has more than one line")
    return value.replace("\\", "\\\\")
