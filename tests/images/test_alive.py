"""What keeps a running server alive, with real kernels and terminals."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from containers import Notebook, bridge_address, docker
from hub_double import HubDouble

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def watched(image: str) -> Iterator[Notebook]:
    """A server that looks at itself twice a second and calls little CPU a lot."""
    quick = ["-e", "WORKROOM_ACTIVITY_SAMPLE=0.5"]
    with HubDouble(bridge_address()) as hub, Notebook(image, hub=hub, options=quick) as server:
        server.wait_until_up()
        yield server


def last_activity(server: Notebook) -> str:
    """When the server says it was last used."""
    return str(server.json("api/status")["last_activity"])


def stays_idle(server: Notebook, seconds: float = 4) -> bool:
    """Whether nothing counts as activity for a while in which a page polls."""
    before = last_activity(server)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for path in ("api/kernels", "api/terminals", "api/sessions", "api/contents"):
            server.json(path)
        time.sleep(0.3)
    return last_activity(server) == before


def is_alive(server: Notebook, seconds: float = 3) -> bool:
    """Whether activity goes on by itself; looked at after what started it has passed."""
    time.sleep(1.5)
    return goes_on(server, last_activity(server), seconds)


def goes_on(server: Notebook, before: str, seconds: float = 3) -> bool:
    """Whether there is activity after a time, seen as soon as it is there."""
    until = time.monotonic() + seconds
    while last_activity(server) == before and time.monotonic() < until:
        time.sleep(0.1)
    return last_activity(server) > before


def settle(server: Notebook, seconds: float = 2, within: float = 12) -> None:
    """Wait until nothing has counted as activity for some seconds: what came before is past."""
    until = time.monotonic() + within
    before, since = last_activity(server), time.monotonic()
    while time.monotonic() < since + seconds:
        assert time.monotonic() < until, "activity goes on and on"
        time.sleep(0.2)
        if (now := last_activity(server)) != before:
            before, since = now, time.monotonic()


def in_terminal(server: Notebook, command: str) -> None:
    """Start something in a terminal of its own and leave it there."""
    docker("exec", "-d", "-t", server.id, "bash", "-c", command)


def ended(server: Notebook, pattern: str) -> None:
    """End what was started and wait until nothing counts any more."""
    server.run(f"pkill -f '{pattern}' || true", check=False)
    settle(server, 1.5)


def test_an_open_page_does_not(watched: Notebook) -> None:
    settle(watched)
    assert stays_idle(watched)


def test_a_page_that_reconnects_to_a_kernel_does_not(watched: Notebook) -> None:
    kernel = watched.json("api/kernels", "POST", {"name": "python3"})["id"]
    watched.look_at_kernel(kernel)
    settle(watched)
    before = last_activity(watched)
    watched.look_at_kernel(kernel)
    time.sleep(1)
    assert last_activity(watched) == before
    watched.request(f"api/kernels/{kernel}", "DELETE")


def test_running_a_cell_does(watched: Notebook) -> None:
    before = last_activity(watched)
    watched.execute("python3", "6 * 7")
    assert last_activity(watched) > before


def test_a_busy_kernel_does_all_the_while(watched: Notebook) -> None:
    import threading

    cell = threading.Thread(target=watched.execute, args=("python3", "import time; time.sleep(7)"))
    cell.start()
    time.sleep(2)
    assert is_alive(watched)
    cell.join()


def test_saving_a_file_does(watched: Notebook) -> None:
    before = last_activity(watched)
    watched.json("api/contents/x.txt", "PUT", {"type": "file", "format": "text", "content": "x"})
    assert last_activity(watched) > before


@pytest.mark.parametrize("command", ["sleep 77", "bash -l -c 'sleep 77'", "python -c 'input()' 77"])
def test_a_job_in_a_terminal_does(watched: Notebook, command: str) -> None:
    in_terminal(watched, command)
    assert is_alive(watched)
    ended(watched, "77")


def test_a_job_in_a_detached_tmux_does(watched: Notebook) -> None:
    watched.run("tmux new-session -d 'sleep 88'")
    assert is_alive(watched)
    watched.run("tmux kill-server")


# What is opened in terminals and waits, and how it is ended again.
WAITING = {
    "bash -l": "bash -l",
    "python -q": "python -q",
    "R --no-save -q": "exec/R",
    "vi /tmp/x": "vi /tmp/x",
    "top": "^top",
}


def test_prompts_editors_and_monitors_do_not(watched: Notebook) -> None:
    """All at once, since it takes a while to see that nothing happens."""
    for command in WAITING:
        in_terminal(watched, command)
    settle(watched)
    assert stays_idle(watched), f"one of {list(WAITING)} counts"
    for pattern in WAITING.values():
        watched.run(f"pgrep -f '{pattern}'")
        watched.run(f"pkill -f '{pattern}' || true", check=False)
    settle(watched)


def test_typing_does(watched: Notebook) -> None:
    """The system moves a terminal's access time in steps of 8 seconds."""
    watched.run("tmux new-session -d -s typed 'bash --norc'")
    time.sleep(9)
    before = last_activity(watched)
    watched.run("tmux send-keys -t typed l s Enter")
    assert goes_on(watched, before, 2)
    watched.run("tmux kill-server")
