"""`workroom-metastore`: the Hive Metastore of an installation on one machine.

Hive's own server with Derby on a volume, small enough for a laptop; or, where
`WORKROOM_METASTORE_DATABASE_HOST` says so, with PostgreSQL (`images/metastore`). It never touches
a table's files, and has no keys to anything (`build/WorkroomMetastore.scala`). This process becomes
the server's: it stays in the foreground, and SIGTERM closes the database.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

JARS = Path(sys.prefix) / "lib/python3.11/site-packages/pyspark/jars"
POSTGRESQL = Path("/usr/share/java/postgresql.jar")
OURS = Path(sys.prefix) / "share/metastore/workroom-metastore.jar"
LOG = Path(sys.prefix) / "etc/metastore/log4j2.properties"
# Only what the server loads: Spark's own jars are ten times as many.
NEEDED = (
    "HikariCP", "antlr", "commons", "datanucleus", "derby", "guava", "failureaccess",
    "hadoop-client", "hive", "javax.jdo", "jcl-over-slf4j", "jdo", "jta", "libfb303", "libthrift",
    "log4j", "metrics", "scala-library", "slf4j", "transaction-api", "javolution", "jackson",
    "json-1", "joda", "kryo", "minlog", "objenesis", "orc", "parquet", "stax", "jsr305", "ST4",
)  # fmt: skip
# About 300 MB in all. The serial collector and the first compiler alone are the smallest pair.
JVM = (
    "-Xmx160m", "-Xms32m", "-Xss4m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
    "-XX:MaxMetaspaceSize=128m", "-XX:ReservedCodeCacheSize=32m", "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError", "-XX:MinHeapFreeRatio=20", "-XX:MaxHeapFreeRatio=40",
)  # fmt: skip


class MetastoreError(Exception):
    """The environment holds nothing a metastore could be started with; the text is for people."""


def main() -> None:
    """Become the metastore that the environment asks for."""
    try:
        port, folder = orders(os.environ)
        folder.mkdir(parents=True, exist_ok=True)
        check_writable(folder)
    except (MetastoreError, OSError) as error:
        sys.exit(f"workroom-metastore: {error}")
    os.umask(0o077)
    settings = Path(tempfile.mkdtemp(prefix="workroom-metastore-"))
    try:
        (settings / "hive-site.xml").write_text(site(properties(os.environ, folder)))
    except MetastoreError as error:
        sys.exit(f"workroom-metastore: {error}")
    words = command(settings, port)
    where = os.environ.get("WORKROOM_METASTORE_DATABASE_HOST") or folder
    print(f"workroom-metastore: port {port}, database in {where}", file=sys.stderr, flush=True)
    # It is in the settings now; a process list or a crash report need not have it.
    os.environ.pop("WORKROOM_METASTORE_DATABASE_PASSWORD", None)
    os.chdir(settings)
    os.execvp(words[0], words)  # noqa: S606


def orders(environment: Mapping[str, str]) -> tuple[int, Path]:
    """Return the port and the folder of the database.

    Raises:
        MetastoreError: One is missing or unusable, or the warehouse is.
    """
    given = environment.get("WORKROOM_METASTORE_PORT", "9083")
    if not given.isdecimal() or not 0 < int(given) < 65536:
        raise MetastoreError(f"WORKROOM_METASTORE_PORT is {given!r}; it must be a port's number.")
    folder = environment.get("WORKROOM_METASTORE_FOLDER", "")
    if not folder.startswith("/"):
        raise MetastoreError(
            f"WORKROOM_METASTORE_FOLDER is {folder!r}; it must be an absolute path, on a volume."
        )
    warehouse = environment.get("WORKROOM_DATA_WAREHOUSE", "")
    if not warehouse.startswith(("s3://", "/")):
        raise MetastoreError(
            f"WORKROOM_DATA_WAREHOUSE is {warehouse!r}; it must be s3://BUCKET/FOLDER or a path."
        )
    return int(given), Path(folder)


def check_writable(folder: Path) -> None:
    """See that this user may write the database's folder.

    Raises:
        MetastoreError: He may not.
    """
    if not os.access(folder, os.W_OK | os.X_OK):
        raise MetastoreError(
            f"{folder} cannot be written by user {os.getuid()}: give it to him (chown)."
        )


def properties(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return Hive's properties.

    Args:
        environment: `WORKROOM_DATA_WAREHOUSE` is where the database `default` lives.
        folder: Where Derby keeps its files.
    """
    no_files = {
        f"fs.{scheme}.impl": "workroom.NoFiles" for scheme in ("file", "s3", "s3a", "s3n", "hdfs")
    }
    return no_files | {
        "hive.metastore.fs.handler.class": "workroom.KeptFiles",
        "hive.metastore.warehouse.dir": environment["WORKROOM_DATA_WAREHOUSE"],
        "hive.metastore.expression.proxy": "workroom.NoSerialisedFilters",
        "hive.metastore.alter.impl": "workroom.StatedSizes",
        **store(environment, folder),
        # Without HikariCP lock() fails, and without the others Derby's tables are not made.
        "datanucleus.connectionPoolingType": "HikariCP",
        "datanucleus.schema.autoCreateAll": "true",
        "hive.metastore.schema.verification": "false",
        "hive.async.log.enabled": "false",  # wants a library that is not here
        # A thread a connection, made when it is needed; the default keeps 200.
        "hive.metastore.server.min.threads": "4",
        # Sizes are the writer's to say, and this server cannot look at files.
        "hive.stats.autogather": "false",
        # Batches change columns in ways Hive's own rules for files in place forbid.
        "hive.metastore.disallow.incompatible.col.type.changes": "false",
        # Derby's locks make circles of those who read and change one partition at once.
        "hive.metastore.rawstore.impl": "workroom.InTurn",
        # Of two in such a circle Derby refuses one; ask again soon, not in 2 s.
        "hive.hmshandler.retry.interval": "100ms",
    }


def store(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the properties of the database: PostgreSQL if one is named, else Derby in a folder.

    Raises:
        MetastoreError: A part of what PostgreSQL needs is missing.
    """
    prefix = "WORKROOM_METASTORE_DATABASE_"
    host = environment.get(f"{prefix}HOST", "")
    if not host:
        derby = f"jdbc:derby:;databaseName={folder}/derby;create=true"
        return {
            "javax.jdo.option.ConnectionURL": derby,
            "javax.jdo.option.ConnectionDriverName": "org.apache.derby.jdbc.EmbeddedDriver",
        }
    given = {
        name: environment.get(f"{prefix}{name}", "") for name in ("NAME", "USERNAME", "PASSWORD")
    }
    for name, value in given.items():
        if not value:
            raise MetastoreError(f"{prefix}{name} is missing; it goes with {prefix}HOST.")
    encryption = environment.get(f"{prefix}SSLMODE", "require")
    return {
        "javax.jdo.option.ConnectionURL": (
            f"jdbc:postgresql://{host}/{given['NAME']}?sslmode={encryption}"
        ),
        "javax.jdo.option.ConnectionDriverName": "org.postgresql.Driver",
        "javax.jdo.option.ConnectionUserName": given["USERNAME"],
        "javax.jdo.option.ConnectionPassword": given["PASSWORD"],
    }


def site(given: Mapping[str, str]) -> str:
    """Return a `hive-site.xml`."""
    lines = [
        f"<property><name>{escape(name)}</name><value>{escape(value)}</value></property>"
        for name, value in sorted(given.items())
    ]
    return "\n".join(["<configuration>", *lines, "</configuration>", ""])


def command(settings: Path, port: int) -> list[str]:
    """Return the JVM's command line."""
    jars = [str(jar) for jar in sorted(JARS.glob("*.jar")) if jar.name.startswith(NEEDED)]
    if POSTGRESQL.exists():
        jars.append(str(POSTGRESQL))
    return [
        "java", *JVM,
        # Derby keeps times without a zone, and Hive reads them as the JVM's.
        "-Duser.timezone=UTC",
        "-Dderby.stream.error.field=java.lang.System.err",
        # Seconds until two who wait for each other are told apart. The default of 20 is as long
        # as a user at a notebook waits.
        "-Dderby.locks.deadlockTimeout=1",
        f"-Dlog4j2.configurationFile={LOG}", f"-Dhive.log4j.file={LOG}",
        f"-Djava.io.tmpdir={settings}",
        "-cp", ":".join([str(settings), str(OURS), *jars]),
        "workroom.Metastore", "-p", str(port),
    ]  # fmt: skip
