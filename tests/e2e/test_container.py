"""What is in a user's container, what limits it, and what it does not give away."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from tests.e2e.installation import Installation, wait_for
from tests.e2e.person import Person

pytestmark = [
    pytest.mark.docker,
    pytest.mark.parametrize("installation", ["path"], indirect=True),
]
LIMIT = 2**30


@pytest.fixture
def bob(installation: Installation, person: Callable[[str], Person]) -> Iterator[Person]:
    """Bob in JupyterLab, with 1 GiB."""
    installation.start("bob", profile="small", image="notebook")
    someone = person("bob")
    someone.page.goto(someone.server_url("lab"))
    someone.open_lab()
    yield someone
    installation.stop("bob")


def test_inside(bob: Person, installation: Installation) -> None:
    runs_as_a_plain_user(installation)
    has_the_tools(installation)
    nothing_shows_the_token(bob, installation)
    death_is_explained(bob, installation)


def runs_as_a_plain_user(installation: Installation) -> None:
    assert installation.sh("bob", "id -u; id -g").split() == ["59000", "59000"]
    status = installation.sh("bob", "grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status")
    assert [line.split()[1] for line in status.splitlines()] == ["0" * 16, "0" * 16, "1"]
    assert installation.sh("bob", "stat -c '%u %a' /home/workroom").split()[0] == "59000"


def has_the_tools(installation: Installation) -> None:
    code = "#include <gsl/gsl_version.h>\nint main(){return 0;}"
    script = (
        "for t in R python pyspark git gcc g++ gfortran make java; do command -v $t; done | wc -l;"
        f"cd /tmp && printf '%s' '{code}' > a.c && gcc a.c -o a.out && ./a.out && echo compiled"
    )
    assert installation.sh("bob", script).split() == ["9", "compiled"]


def nothing_shows_the_token(bob: Person, installation: Installation) -> None:
    kernel = bob.kernel("python3")
    token = bob.run(kernel, "import os; print(os.environ['JUPYTERHUB_API_TOKEN'])").strip()
    assert len(token) >= 32
    attributes = json.dumps(installation.container("bob").attrs)
    assert "WORKROOM_START_URL" in attributes
    assert token not in attributes
    logs = [installation.log(), (installation.home / "proxy.log").read_text()]
    logs.append(installation.container("bob").logs().decode())
    assert "/hub/api/workroom/start" in logs[0]
    [code] = [
        v.partition("=")[2]
        for v in installation.container("bob").attrs["Config"]["Env"]
        if v.startswith("WORKROOM_START_CODE=")
    ]
    states = json.dumps(installation.rows("SELECT state FROM spawners"))
    for place in (*logs, states):
        assert token not in place
        assert code not in place
    environment = installation.sh("bob", "env; cat /proc/*/cmdline | tr '\\0' ' '")
    assert token not in environment


def death_is_explained(bob: Person, installation: Installation) -> None:
    container = installation.container("bob")
    init = container.attrs["State"]["Pid"]
    [[server, *_]] = [
        row for row in container.top(ps_args="-o pid,ppid")["Processes"] if int(row[1]) == init
    ]
    os.kill(int(server), signal.SIGKILL)
    wait_for(lambda: not installation.server("bob").get("ready"), "the death was noticed", 15)
    bob.page.goto(bob.hub_url("home"))
    card = bob.page.locator('[data-server=""]')
    expect(card).to_have_attribute("data-state", "stopped")
    expect(card).to_contain_text("exit code 137")
    bob.page.click('[data-server=""] .note.bad details summary')
    # Of the server's own log.
    expect(card.locator(".note.bad pre")).to_contain_text("GET /user/bob/")
    bob.page.goto(bob.hub_url("spawn"))
    expect(bob.page.locator("main")).to_contain_text("exit code 137")
    assert installation.containers("bob") == []
    row = installation.usage("bob")[-1]
    assert row["reason"] == "died: exit code 137"
    assert row["start"] < row["stop"]
    assert row["profile"] == "small"


def test_memory_is_limited(bob: Person, installation: Installation) -> None:
    files = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"
    assert installation.sh("bob", f"cat {files} 2>/dev/null || true").split() == [str(LIMIT)]
    assert installation.container("bob").attrs["HostConfig"]["MemorySwap"] == LIMIT
    # Eats more than the limit: ended by the kernel (137 = 128 + SIGKILL), the server is not.
    eater = "python3 -c 'b = b\"x\" * (1 << 31)'; echo code $?"
    assert "code 137" in installation.sh("bob", eater)
    kernel = bob.kernel("python3")
    assert bob.run(kernel, "print(6 * 7)").strip() == "42"
    # The engine's mark of that moment stays on the container; it is not why the server ends now.
    installation.sh("bob", "kill -TERM $(cat /proc/1/task/1/children)")
    wait_for(lambda: not installation.server("bob").get("ready"), "the end was noticed", 15)
    assert "memory" not in installation.usage("bob")[-1]["reason"]
