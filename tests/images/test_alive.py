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
    before = last_activity(server)
    time.sleep(seconds)
    return last_activity(server) > before


def in_terminal(server: Notebook, command: str) -> None:
    """Start something in a terminal of its own and leave it there."""
    docker("exec", "-d", "-t", server.id, "bash", "-c", command)


def ended(server: Notebook, pattern: str) -> None:
    """End what was started and wait until nothing counts any more."""
    server.run(f"pkill -f '{pattern}' || true", check=False)
    time.sleep(2)


def test_an_open_page_does_not(watched: Notebook) -> None:
    time.sleep(2)
    assert stays_idle(watched)


def test_a_page_that_reconnects_to_a_kernel_does_not(watched: Notebook) -> None:
    kernel = watched.json("api/kernels", "POST", {"name": "python3"})["id"]
    watched.look_at_kernel(kernel)
    time.sleep(2)
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

    cell = threading.Thread(target=watched.execute, args=("python3", "import time; time.sleep(9)"))
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


@pytest.mark.parametrize(
    ("command", "pattern"),
    [
        ("bash -l", "bash -l"),
        ("python -q", "python -q"),
        ("R --no-save -q", "exec/R"),
        ("vi /tmp/x", "vi /tmp/x"),
        ("top", "^top"),
    ],
)
def test_a_prompt_an_editor_or_a_monitor_does_not(
    watched: Notebook, command: str, pattern: str
) -> None:
    in_terminal(watched, command)
    time.sleep(4)
    assert stays_idle(watched)
    ended(watched, pattern)


def test_typing_does(watched: Notebook) -> None:
    """The system moves a terminal's access time in steps of 8 seconds."""
    watched.run("tmux new-session -d -s typed 'bash --norc'")
    time.sleep(9)
    before = last_activity(watched)
    watched.run("tmux send-keys -t typed l s Enter")
    time.sleep(2)
    assert last_activity(watched) > before
    watched.run("tmux kill-server")
