"""The PySpark kernel: a Python kernel with a Spark session as `spark` and `sc`.

The session takes seconds to start, so it starts beside the kernel, which answers at once; the
first cell waits for what is left of it.
"""

from __future__ import annotations

import sys
import threading
from typing import Any


class SessionStart(threading.Thread):
    """Starts the Spark session; `hand_over` puts it into the person's namespace."""

    def __init__(self) -> None:
        super().__init__(name="spark-session", daemon=True)
        self.session: Any = None
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            from pyspark.sql import SparkSession

            self.session = SparkSession.builder.appName("notebook").getOrCreate()
        except Exception as error:
            self.error = error

    def hand_over(self, namespace: dict[str, Any]) -> None:
        """Wait for the session and name it `spark` and `sc`."""
        self.join()
        if self.error:
            print(f"Spark did not start: {self.error}", file=sys.stderr)
            return
        # Spark remembers the active session by thread, and cells run in this one.
        session = self.session
        session._jvm.SparkSession.setActiveSession(session._jsparkSession)
        namespace.update(spark=session, sc=session.sparkContext)


def load_ipython_extension(shell: Any) -> None:
    """Called by IPython when the kernel starts."""
    starting = SessionStart()

    def before_first_cell(_: Any) -> None:
        shell.events.unregister("pre_run_cell", before_first_cell)
        starting.hand_over(shell.user_ns)

    shell.events.register("pre_run_cell", before_first_cell)


def main() -> None:
    """Run the kernel with the arguments Jupyter gives."""
    from ipykernel.kernelapp import IPKernelApp

    IPKernelApp.launch_instance(
        [*sys.argv[1:], "--IPKernelApp.extensions=workroom_server.spark_kernel"]
    )


if __name__ == "__main__":
    main()
