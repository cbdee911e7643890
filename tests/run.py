"""Runs the checks and prints how long each suite took.

    python tests/run.py all                  everything, as `make test` and CI do
    python tests/run.py lint types unit      the fast part
    python tests/run.py e2e -- -k login      one suite, the rest handed to pytest
    python tests/run.py soak                 waits in real time, about 25 minutes

Suites that need the Docker engine, Chromium or mmdebstrap have them installed first on Debian
and Ubuntu as root; elsewhere they fail with the command to run. An engine is started if none
answers and stopped again at the end; one that was there is left as it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from workroom_hub.errors import EngineError, WorkroomError
from workroom_hub.machine import engine, packages
from workroom_hub.machine.console import Reporter, print_error

ROOT = Path(__file__).resolve().parents[1]
FONTS = Path("/usr/share/fonts/truetype/dejavu")
TOOLS = {"dockerd": "docker.io", "iptables": "iptables", "mmdebstrap": "mmdebstrap"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def lint(_: Sequence[str]) -> bool:
    """Style, formatting, import rules."""
    return all(
        [
            _run("-m", "ruff", "check", "."),
            _run("-m", "ruff", "format", "--check", "."),
            _run(
                *("-c", "from importlinter.cli import lint_imports_command as c; c()"),
                PYTHONPATH="images/notebook/server",
            ),
        ]
    )


def types(_: Sequence[str]) -> bool:
    """Types of our own packages."""
    return _run("-m", "mypy")


def unit(more: Sequence[str]) -> bool:
    """Tests that need neither Docker, a browser nor a network."""
    # A socket that does not exist: a test that wants an engine after all fails here.
    return _run(
        *("-m", "pytest", "-m", "not docker and not browser and not soak", "-q", *more),
        DOCKER_HOST="unix:///nonexistent/docker.sock",
    )


def e2e(more: Sequence[str]) -> bool:
    """Tests against the real engine, image, proxy, hub and browser."""
    _install_tools()
    with _engine():
        return _run("-m", "pytest", "-m", "docker or browser", "--durations=10", *more)


def soak(more: Sequence[str]) -> bool:
    """The waits that other tests shorten, in real time."""
    _install_tools()
    with _engine():
        return _run("-m", "pytest", "-m", "soak", "--durations=10", *more)


SUITES: dict[str, Callable[[Sequence[str]], bool]] = {
    "lint": lint,
    "types": types,
    "unit": unit,
    "e2e": e2e,
    "soak": soak,
}
EVERYTHING = ("lint", "types", "unit", "e2e")


def main(words: Sequence[str]) -> int:
    """Run the suites that are named; return the exit code."""
    words, more = _split(words)
    names = EVERYTHING if list(words) in ([], ["all"]) else list(words)
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        print(f"There is no suite '{unknown[0]}'. Choose from: {', '.join(SUITES)}, all.")
        return 2
    os.chdir(ROOT)
    results = []
    for name in names:
        print(f"\n=== {name}: {(SUITES[name].__doc__ or '').splitlines()[0]}", flush=True)
        begun = time.monotonic()
        try:
            passed = SUITES[name](more)
        except WorkroomError as error:
            print_error(error)
            passed = False
        results.append((name, passed, time.monotonic() - begun))
    print()
    for name, passed, seconds in results:
        print(f"{'passed' if passed else 'FAILED'}  {name:<6} {seconds:7.1f} s", flush=True)
    return 0 if all(passed for _, passed, _ in results) else 1


def _split(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    place = list(words).index("--") if "--" in words else len(words)
    return words[:place], words[place + 1 :]


def _run(*words: str, **variables: str) -> bool:
    """Run this environment's Python with these arguments; its output goes to ours."""
    done = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode == 0


def _install_tools() -> None:
    """Install what end-to-end tests need beside Python.

    Raises:
        MachineError: It cannot be installed; names the command.
    """
    missing = [package for tool, package in TOOLS.items() if not shutil.which(tool)]
    if not any(shutil.which(browser) for browser in BROWSERS):
        missing.append("chromium")
    if not FONTS.exists():
        missing.append("fonts-dejavu-core")
    if missing:
        with Reporter().step(f"Installing what the tests need: {', '.join(missing)}") as step:
            packages.install(missing, "the tests' tools", step)


@contextmanager
def _engine() -> Iterator[None]:
    """Have an engine that answers; stop it again if it was started here.

    Raises:
        EngineError: There is none, and none can be started.
    """
    try:
        engine.connect().close()
    except EngineError:
        if os.environ.get("DOCKER_HOST") or os.geteuid() != 0:
            raise
    else:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="workroom-engine-") as name:
        with Reporter().step("Starting a Docker engine for the tests") as step:
            engine.start_directly(Path(name), step)
        try:
            yield
        finally:
            engine.stop_ours(Path(name))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
