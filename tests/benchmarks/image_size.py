"""image-size: what takes the room in the notebook image, against the limit of 2.2 GB.

The limit is for an image without RStudio; with it, RStudio's own files are left out of the
figure. The table on the error output sums files by what they belong to.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "images"))

from containers import docker
from hubs import report

IMAGE = "workroom/notebook:latest"
LIMIT = 2.2e9
SITE = "/opt/workroom/lib/python3.11/site-packages"
# First match wins; a file belongs to one part only.
LIB = "/usr/lib/x86_64-linux-gnu"
PARTS = {
    "PySpark": [f"{SITE}/pyspark/"],
    "pyarrow": [f"{SITE}/pyarrow"],
    "NumPy, SciPy, scikit-learn": [f"{SITE}/{n}" for n in ("numpy", "scipy", "sklearn")],
    "pandas": [f"{SITE}/pandas"],
    "Matplotlib": [f"{SITE}/{n}" for n in ("matplotlib", "fontTools", "pillow", "PIL")],
    "JupyterLab and its server": [f"{SITE}/jupyter", "/opt/workroom/share/jupyter/"],
    "other Python packages": ["/opt/workroom/"],
    "RStudio": ["/usr/lib/rstudio-server/"],
    "Java": ["/usr/lib/jvm/", "/usr/share/java/"],
    "R and its packages": ["/usr/lib/R/", "/usr/share/R/"],
    "compilers": [
        "/usr/lib/gcc/", "/usr/libexec/gcc/", "/usr/include/", "/usr/bin/x86_64-linux-gnu",
        "/usr/bin/cmake", "/usr/bin/ctest", "/usr/share/cmake",
    ],
    "OpenBLAS, GSL, HDF5": [f"{LIB}/{n}" for n in ("openblas", "libgsl", "libhdf5", "hdf5")],
    "git and Perl": ["/usr/lib/git-core/", "/usr/share/perl", f"{LIB}/perl"],
    "Debian's system": ["/"],
}  # fmt: skip


def parts() -> dict[str, int]:
    """Bytes of the image's files by what they belong to."""
    listing = docker(
        "run", "--rm", "--user=0", "--entrypoint=find", IMAGE, "/", "-xdev", "-type", "f",
        "-printf", "%s\t%p\n",
    )  # fmt: skip
    sums = dict.fromkeys(PARTS, 0)
    for line in listing.splitlines():
        size, _, path = line.partition("\t")
        if size.isdecimal() and not path.startswith(("/proc/", "/sys/")):
            owner = next(name for name, starts in PARTS.items() if path.startswith(tuple(starts)))
            sums[owner] += int(size)
    return sums


def main() -> None:
    found = json.loads(docker("image", "inspect", IMAGE))[0]
    sums = parts()
    for name, size in sorted(sums.items(), key=lambda item: -item[1]):
        if size:
            print(f"{size / 1e6:8.0f} MB  {name}", file=sys.stderr)
    print(f"{found['Size'] / 1e6:8.0f} MB  the image, layers included", file=sys.stderr)
    report("image-size", (found["Size"] - sums["RStudio"]) / 1e9, "GB", LIMIT / 1e9)


if __name__ == "__main__":
    main()
