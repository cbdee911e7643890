"""The PySpark kernel: a Python kernel that starts with a Spark session as `spark` and `sc`."""

from __future__ import annotations

import sys

START = """
from pyspark.sql import SparkSession as _Builder
spark = _Builder.builder.appName("notebook").getOrCreate()
sc = spark.sparkContext
del _Builder
"""


def main() -> None:
    """Run the kernel with the arguments Jupyter gives."""
    from ipykernel.kernelapp import IPKernelApp

    sys.argv.append(f"--IPKernelApp.exec_lines=[{START!r}]")
    IPKernelApp.launch_instance()


if __name__ == "__main__":
    # The kernel's folder is on the path as with ipykernel_launcher; ours is not.
    main()
