"""Take out of the Python environment what nobody uses in a container.

Runs in the image's build, in the layer that installed the packages. Each rule names its reason;
tests/images/test_image.py runs what must still work (Spark SQL with Hive's metastore, pandas,
SciPy, JupyterLab).
"""

from __future__ import annotations

import platform
import re
import shutil
import sys
import zipfile
from pathlib import Path

# Suites of the packages themselves: big, and imported by nothing.
SUITES = (
    "numpy pandas scipy sklearn matplotlib mpl_toolkits pyarrow zmq ipykernel jupyter_server "
    "jupyterlab jupyter_lsp traitlets websocket"
)

# JupyterLab's browser test kit, jedi's stubs for Django, Spark's examples and its Scala prompt
# for remote clusters.
FOLDERS = (
    "jupyterlab/galata",
    "jedi/third_party/django-stubs",
    "pyspark/examples",
    "pyspark/data",
    "pyspark/licenses",
    "pyspark/jars/connect-repl",
)

# Jars for schedulers and front ends a container of one person has no use for. Hive's metastore,
# Spark Connect, MLlib, Hadoop's client and streaming stay.
JARS = (
    "kubernetes-*", "spark-kubernetes_*", "spark-yarn_*", "spark-mesos_*", "vertx-*",
    "zjsonpatch-*", "logging-interceptor-*", "okhttp-*", "okio-*",
    "netty-tcnative-boringssl-static-*",
)  # fmt: skip

# Native code of this machine inside a jar, as the libraries name it.
NATIVE_HERE = {
    "x86_64": re.compile(r"linux64\.so|linux64/|linux[/-](amd64|x86_64)/", re.IGNORECASE),
    "aarch64": re.compile(r"linux-aarch64\.so|linux[/-](aarch64|arm64)/", re.IGNORECASE),
}
NATIVE_JARS = ("rocksdbjni-*", "zstd-jni-*", "snappy-java-*", "leveldbjni-all-*")
NATIVE = re.compile(r"\.(so|dll|dylib|jnilib|a)$")


def slim(site: Path) -> int:
    """Slim the packages below `site` (a site-packages folder); returns the bytes saved."""
    before = _size(site)
    for package in SUITES.split():
        for suite in sorted((site / package).rglob("tests")):
            shutil.rmtree(suite, ignore_errors=True)
    for folder in FOLDERS:
        shutil.rmtree(site / folder, ignore_errors=True)
    jars = site / "pyspark" / "jars"
    for pattern in JARS:
        for jar in jars.glob(pattern):
            jar.unlink()
    keep = NATIVE_HERE.get(platform.machine())
    for pattern in NATIVE_JARS if keep else ():
        for jar in jars.glob(pattern):
            _without_foreign_code(jar, keep)
    return before - _size(site)


def _without_foreign_code(jar: Path, keep: re.Pattern[str]) -> None:
    """Rewrite a jar without the native libraries of other machines."""
    partial = jar.with_suffix(".partial")
    with zipfile.ZipFile(jar) as old, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as new:
        natives = [e.filename for e in old.infolist() if NATIVE.search(e.filename)]
        ours = {name for name in natives if keep.search(name)}
        if not ours:
            raise SystemExit(f"slim.py: {jar.name} has no native library for this machine")
        for entry in old.infolist():
            if entry.filename not in natives or entry.filename in ours:
                new.writestr(entry, old.read(entry), zipfile.ZIP_DEFLATED)
    partial.replace(jar)


def _size(folder: Path) -> int:
    return sum(f.lstat().st_size for f in folder.rglob("*") if not f.is_dir())


if __name__ == "__main__":
    print(f"slim.py: {slim(Path(sys.argv[1])) / 1e6:.0f} MB taken out")
