"""Take Spark's S3 file system out of a package's archive, without what it never calls.

    s3a.py ARCHIVE FOLDER

The AWS SDK's bundle has the clients of 230 services and their models: 192 MB. S3A uses S3's, and
names classes of three others. tests/data/test_spark.py runs it against a real S3 server.
"""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from pathlib import Path

FILE_SYSTEM = re.compile(r".*/hadoop-aws-[\d.]+\.jar")
BUNDLE = re.compile(r".*/aws-java-sdk-bundle-[\d.]+\.jar")

# S3A's assumed roles are of `securitytoken`, encryption by the client is of `kms`, and S3A looks
# whether an error is one of DynamoDB's.
SERVICES = ("s3", "securitytoken", "kms", "dynamodbv2")
# Netty is for video streams only.
LEFT_OUT = re.compile(
    r"models/"
    rf"|com/amazonaws/services/(?!(?:{'|'.join(SERVICES)})/)"
    r"|com/amazonaws/thirdparty/io/netty/"
    r"|META-INF/(?:maven|native-image|io\.netty)"
)


def take(archive: Path, jars: Path) -> list[Path]:
    """Write the two jars of `archive` into the folder `jars`; return them.

    Raises:
        SystemExit: The archive has not exactly one of each.
    """
    taken = []
    with tarfile.open(archive) as files:
        members = [m for m in files.getmembers() if m.isfile()]
        for pattern in (FILE_SYSTEM, BUNDLE):
            found = [m for m in members if pattern.fullmatch(m.name)]
            if len(found) != 1:
                raise SystemExit(f"s3a.py: {archive.name} has {len(found)} of {pattern.pattern}")
            content = files.extractfile(found[0])
            assert content is not None
            taken.append(target := jars / Path(found[0].name).name)
            target.write_bytes(content.read())
    _slim(taken[-1])
    return taken


def _slim(jar: Path) -> None:
    """Rewrite the bundle without what is left out."""
    partial = jar.with_suffix(".partial")
    with zipfile.ZipFile(jar) as old, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            if not entry.is_dir() and not LEFT_OUT.match(entry.filename):
                new.writestr(entry, old.read(entry), zipfile.ZIP_DEFLATED)
    partial.replace(jar)


if __name__ == "__main__":
    for written in take(Path(sys.argv[1]), Path(sys.argv[2])):
        print(f"s3a.py: {written.name} {written.stat().st_size / 1e6:.1f} MB")
