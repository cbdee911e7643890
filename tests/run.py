"""Runs the checks and prints how long each suite took.

    python tests/run.py all                  everything, as `make test` and CI do
    python tests/run.py lint types unit      the fast part
    python tests/run.py e2e -- -k login      one suite, the rest handed to pytest
    python tests/run.py containers           the image, the registry, what else runs beside it,
                                             mounts that hang
    python tests/run.py deployed             the AWS stack in an emulated account, and its hub
    python tests/run.py ssh                  ssh into servers of this machine; a cluster's: soak
    python tests/run.py pages                the hub's pages in a browser, without Docker
    python tests/run.py soak                 waits in real time, about 40 minutes

Suites that need the Docker engine, Chromium or mmdebstrap have them installed first on Debian
and Ubuntu as root; elsewhere they fail with the command to run. An engine is started if none
answers and stopped again at the end; one that was there is left as it is.

All suites together run in three lanes side by side, since most of them wait more than they work.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.lanes import GRACE, Lanes

from workroom_hub.errors import EngineError, WorkroomError
from workroom_hub.machine import engine, image, packages
from workroom_hub.machine.console import Reporter, print_error
from workroom_hub.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
E2E = ROOT / "tests" / "e2e"
# Parts of the end-to-end tests that other lanes have time for.
SSH = sorted(E2E.glob("test_ssh*.py"))
DEPLOYED = [E2E / "test_deployed.py"]
FONTS = Path("/usr/share/fonts/truetype/dejavu")
TOOLS = {
    "dockerd": "docker.io",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
    "docker-registry": "docker-registry",
    "nginx": "nginx-light",
    # What people use over ssh.
    "ssh": "openssh-client",
    "rsync": "rsync",
    "git": "git",
    "curl": "curl",
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def lint(_: Sequence[str]) -> bool:
    """Style, formatting, import rules."""
    return all(
        [
            _run("-m", "ruff", "check", "."),
            _run("-m", "ruff", "format", "--check", "."),
            _run(
                *("-c", "from importlinter.cli import lint_imports_command as c; c()"),
                PYTHONPATH="images/notebook/server:images/data-api/python",
            ),
        ]
    )


def types(_: Sequence[str]) -> bool:
    """Types of our own packages."""
    return _run("-m", "mypy")


def unit(more: Sequence[str]) -> bool:
    """Tests that need neither Docker, FUSE, a browser nor a network."""
    # A socket that does not exist: a test that wants an engine after all fails here.
    chosen = "not docker and not fuse and not browser and not soak"
    return _run(
        *("-m", "pytest", "-m", chosen, "-q", *more),
        DOCKER_HOST="unix:///nonexistent/docker.sock",
    )


def e2e(more: Sequence[str]) -> bool:
    """Whole installations: the real engine, image, proxy, hub, gateway and browser."""
    elsewhere = [f"--ignore={path}" for path in (*SSH, *DEPLOYED)]
    return _with_engine("docker and not soak", str(E2E), *elsewhere, *more)


def ssh(more: Sequence[str]) -> bool:
    """Whole installations, by the real ssh client."""
    return _with_engine("docker and not soak", *map(str, SSH), *more)


def deployed(more: Sequence[str]) -> bool:
    """The AWS stack in an emulated account, and what a person does there."""
    return _with_engine("docker and not soak", *map(str, DEPLOYED), *more)


def containers(more: Sequence[str]) -> bool:
    """The image, the registry, what else runs beside it in containers, and mounts that hang."""
    chosen = "(docker or fuse) and not soak"
    return _with_engine(chosen, f"--ignore={E2E}", *more)


def pages(more: Sequence[str]) -> bool:
    """Pages in a real browser, with hubs that need no engine."""
    _install_tools()
    chosen = "browser and not docker and not soak"
    return _run("-m", "pytest", "-m", chosen, "-q", "--durations=5", *more)


def soak(more: Sequence[str]) -> bool:
    """The waits that other tests shorten, in real time."""
    return _with_engine("soak", *more)


SUITES: dict[str, Callable[[Sequence[str]], bool]] = {
    "lint": lint,
    "types": types,
    "unit": unit,
    "pages": pages,
    "containers": containers,
    "e2e": e2e,
    "ssh": ssh,
    "deployed": deployed,
    "soak": soak,
}
LANES = ("unit pages ssh", "containers", "e2e deployed")
"""Suites that run side by side when all are asked for; those of one lane after one another."""


def main(words: Sequence[str]) -> int:
    """Run the suites that are named; return the exit code."""
    words, more = _split(words)
    if list(words) in ([], ["all"]):
        return _everything()
    names = list(words)
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


def _everything() -> int:
    """Run all suites; return the exit code."""
    begun = time.monotonic()
    if code := main(["lint", "types"]):
        return code
    try:
        _install_tools()
        with _engine(), Lanes() as lanes:
            first, *others = LANES
            _start(lanes, first)
            # Once and before all that use it.
            built = _image()
            for lane in others if built else ():
                _start(lanes, lane)
            passed = lanes.wait() and built
    except WorkroomError as error:
        print_error(error)
        return 1
    print(f"all suites: {time.monotonic() - begun:.0f} s", flush=True)
    return 0 if passed else 1


def _start(lanes: Lanes, suites: str) -> None:
    lanes.start(suites, [sys.executable, str(ROOT / "tests" / "run.py"), *suites.split()])


def _image() -> bool:
    """Build the notebook image unless it is there; tell whether it is."""
    if os.environ.get("WORKROOM_TEST_IMAGE"):
        return True
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            Reporter().step("Notebook image for the tests") as step,
        ):
            image.build_image(Settings(), progress=step.update, log=Path(folder) / "build.log")
    except WorkroomError as error:
        print_error(error)
        return False
    return True


def _split(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    place = list(words).index("--") if "--" in words else len(words)
    return words[:place], words[place + 1 :]


def _with_engine(chosen: str, *words: str) -> bool:
    """Run the tests that a mark expression chooses, with what they need."""
    _install_tools()
    with _engine():
        return _run("-m", "pytest", "-m", chosen, "--durations=10", *words)


def _run(*words: str, **variables: str) -> bool:
    """Run this environment's Python with these arguments; its output goes to ours."""
    with subprocess.Popen(
        [sys.executable, *words],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
    ) as child:
        try:
            return child.wait() == 0
        except BaseException as error:
            # A terminal's interrupt has reached it as well. Its tests remove what they made.
            if not isinstance(error, KeyboardInterrupt):
                child.send_signal(signal.SIGINT)
            try:
                child.wait(GRACE - 10)
            except subprocess.TimeoutExpired:
                child.kill()
            raise


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


def _ended(number: int, _: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    # Born deaf to interrupts, as jobs of a script are, lanes could not be told to clear up.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _ended)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
