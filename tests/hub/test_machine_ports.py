"""Ports and pid files: who has them, and what a stale one may not do."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from workroom_hub.errors import PortTaken
from workroom_hub.machine import engine, ports, processes

# -- ports ---------------------------------------------------------------------------


def test_a_taken_port_names_the_process_and_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken) as caught:
            ports.require_free("127.0.0.1", port, "the web page", "WORKROOM_PORT=8010 make up")
    assert f"Port {port} (the web page) is taken by" in caught.value.message
    assert f"process {os.getpid()}:" in caught.value.message
    assert "WORKROOM_PORT=8010 make up" in caught.value.fix
    ports.require_free("127.0.0.1", port, "the web page", "")


def test_whose_socket_it_is_decides_who_listens() -> None:
    ticks = processes.start_ticks(os.getpid())
    assert ticks is not None
    us = processes.Process(os.getpid(), ticks)
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        port = everywhere.getsockname()[1]
        assert ports.listens(us, "127.0.0.1", port)
        parent = processes.Process(1, processes.start_ticks(1) or 0)
        assert not ports.listens(parent, "127.0.0.1", port)
    assert not ports.listens(us, "127.0.0.1", port)
    with socket.create_server(("127.0.0.2", 0)) as other:
        assert not ports.listens(us, "127.0.0.1", other.getsockname()[1])


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(PortTaken, match=r"cannot be used at 192\.0\.2\.77") as caught:
        ports.require_free("192.0.2.77", 8000, "the web page", "web.host")
    assert "Correct the address" in caught.value.fix
    assert "process" not in caught.value.fix
    assert not ports.is_own("192.0.2.77")
    assert ports.is_own("127.0.0.1")


# -- engine --------------------------------------------------------------------------


def test_a_pid_file_of_an_engine_that_is_gone_does_not_stop_the_next(tmp_path: Path) -> None:
    path = tmp_path / "docker.pid"
    for stale in (str(os.getpid()), "4194303"):  # another program's number now, and nobody's
        path.write_text(stale)
        engine.forget_stale(path, "dockerd")
        assert not path.exists()
    path.write_text(str(os.getpid()))
    engine.forget_stale(path, Path("/proc/self/comm").read_text().strip())
    assert path.exists()
    engine.forget_stale(tmp_path / "none", "dockerd")
