"""The start script's parts: the swap, the home, the limits, modules that are put off."""

from __future__ import annotations

import os
import socket
import stat
import sys
import threading
import time
from pathlib import Path

import pytest
from hub_double import HubDouble
from workroom_server import deferred, home, limits
from workroom_server.start import REFUSED, UNREACHABLE, StartError, swap_start_code, take_orders


def swap(hub: HubDouble, retry_for: float = 3) -> dict[str, str]:
    """Swap a code at a hub double."""
    return swap_start_code(f"{hub.api}/workroom/start", "the-code", retry_for)


def test_the_code_is_swapped_for_the_environment() -> None:
    with HubDouble("127.0.0.1", start_answers=[(200, {"env": {"A": "1"}})]) as hub:
        assert swap(hub) == {"A": "1"}
        assert hub.start_requests == [{"code": "the-code", "ssh_host_key": None}]


def test_a_refusal_is_final_and_says_why() -> None:
    refusal = (403, {"status": 403, "message": "This code was used before."})
    with HubDouble("127.0.0.1", start_answers=[refusal]) as hub:
        with pytest.raises(StartError, match="This code was used before") as caught:
            swap(hub)
        assert caught.value.exit_code == REFUSED
        assert len(hub.start_requests) == 1


def test_a_hub_that_is_busy_is_asked_again() -> None:
    answers = [(503, {}), (500, {}), (200, {"env": {"A": "1"}})]
    with HubDouble("127.0.0.1", start_answers=answers) as hub:
        assert swap(hub) == {"A": "1"}
        assert len(hub.start_requests) == 3


def test_a_hub_that_is_not_there_yet_is_waited_for() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    result: dict[str, str] = {}
    url = f"http://127.0.0.1:{port}/hub/api/workroom/start"
    waiting = threading.Thread(target=lambda: result.update(swap_start_code(url, "code", 10)))
    waiting.start()
    time.sleep(0.5)
    with HubDouble("127.0.0.1", port=port) as hub:
        waiting.join(timeout=10)
        assert result["JUPYTERHUB_API_TOKEN"] == hub.token


@pytest.mark.parametrize(("given", "seconds"), [("300", 300.0), ("", 20.0), ("soon", 20.0)])
def test_orders_are_taken_out_of_the_environment(given: str, seconds: float) -> None:
    environment = {
        "WORKROOM_START_URL": "http://hub/start",
        "WORKROOM_START_CODE": "c",
        "WORKROOM_START_PATIENCE": given,
        "HOME": "/home/workroom",
    }
    assert take_orders(environment) == ("http://hub/start", "c", seconds)
    assert environment == {"HOME": "/home/workroom"}


def test_a_hub_that_never_answers_is_given_up() -> None:
    began = time.monotonic()
    with pytest.raises(StartError, match="within 1 s") as caught:
        swap_start_code("http://127.0.0.1:9/start", "code", 1)
    assert caught.value.exit_code == UNREACHABLE
    assert time.monotonic() - began < 5
    assert "code" not in str(caught.value).replace("start code", "")


@pytest.mark.parametrize("answer", [{}, {"env": None}, {"env": {"A": 1}}, [], "env"])
def test_an_answer_without_an_environment_is_refused(answer: object) -> None:
    with (
        HubDouble("127.0.0.1", start_answers=[(200, answer)]) as hub,
        pytest.raises(StartError, match="holds no environment"),
    ):
        swap(hub)


@pytest.mark.parametrize("url", ["", "ftp://hub/start", "http://", "hub:8081"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(StartError, match="not an http address") as caught:
        swap_start_code(url, "code")
    assert caught.value.exit_code == REFUSED


def prepared(tmp_path: Path, folder: Path) -> tuple[dict[str, str], list[str]]:
    """Prepare `folder` as a home; the environment after it, and the notices."""
    environment = {"HOME": str(folder)}
    state = tmp_path / "state"
    state.mkdir(exist_ok=True)
    before = Path.cwd()
    try:
        return environment, home.prepare(environment, state)
    finally:
        os.chdir(before)


def test_an_empty_home_is_filled_and_a_used_one_is_left_alone(tmp_path: Path) -> None:
    skeleton, folder = tmp_path / "skel", tmp_path / "home"
    for made in (skeleton, folder):
        made.mkdir()
    (skeleton / ".bashrc").write_text("# new")
    assert home.why_not_filled(folder, skeleton) is None
    assert (folder / ".bashrc").read_text() == "# new"
    (folder / ".bashrc").unlink()
    (folder / "work.py").touch()
    assert home.why_not_filled(folder, skeleton) is None
    assert not (folder / ".bashrc").exists()


def test_a_good_home_needs_no_notice(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    environment, notices = prepared(tmp_path, folder)
    assert notices == []
    assert "IPYTHONDIR" not in environment
    assert not Path(environment["JUPYTER_RUNTIME_DIR"]).is_relative_to(folder)
    assert stat.S_IMODE(Path(environment["JUPYTER_RUNTIME_DIR"]).stat().st_mode) == 0o700
    assert not (tmp_path / "state" / home.NOTICE).exists()


def test_a_home_that_cannot_be_written_is_worked_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    really = home.why_not_writable
    full = "No space left on device"
    monkeypatch.setattr(
        home, "why_not_writable", lambda path: full if path == folder else really(path)
    )
    environment, notices = prepared(tmp_path, folder)
    assert len(notices) == 1
    assert full in notices[0]
    for name in ("IPYTHONDIR", "JUPYTERLAB_SETTINGS_DIR", "MPLCONFIGDIR"):
        assert Path(environment[name]).is_dir()
        assert not Path(environment[name]).is_relative_to(folder)
    assert full in (tmp_path / "state" / home.NOTICE).read_text()
    assert environment["HOME"] == str(folder), "that is still where the files are"


def test_a_home_that_is_not_there_is_replaced(tmp_path: Path) -> None:
    environment, notices = prepared(tmp_path, tmp_path / "none")
    assert Path(environment["HOME"]).is_dir()
    assert "cannot be written" in notices[0]


def test_limits_of_both_kinds_of_control_group(tmp_path: Path) -> None:
    assert limits.cpu_limit(tmp_path) is None
    assert limits.memory_limit(tmp_path) is None
    (tmp_path / "cpu").mkdir()
    (tmp_path / "memory").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert limits.cpu_limit(tmp_path) is None
    assert limits.memory_limit(tmp_path) is None
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("150000\n")
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(f"{2**30}\n")
    assert limits.cpu_limit(tmp_path) == 1.5
    assert limits.memory_limit(tmp_path) == 2**30
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert limits.cpu_limit(tmp_path) == 0.5


def test_libraries_are_told_the_limits_the_hub_set(tmp_path: Path) -> None:
    environment = {"WORKROOM_CPU_LIMIT": "0.5", "WORKROOM_MEMORY_LIMIT": str(4 * 2**30)}
    limits.tell_libraries(environment, tmp_path)
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["SPARK_DRIVER_MEMORY"] == "2048m"


def test_what_a_person_chose_stands(tmp_path: Path) -> None:
    environment = {"OMP_NUM_THREADS": "7", "WORKROOM_CPU_LIMIT": "rubbish"}
    limits.tell_libraries(environment, tmp_path)
    assert environment["OMP_NUM_THREADS"] == "7"
    assert "SPARK_DRIVER_MEMORY" not in environment


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package that counts how often its parts run."""
    folder = tmp_path / "heavy_thing"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "runs = 1\nfrom . import part\ndef work(x): return x + 1\nclass Error(Exception): ..."
    )
    (folder / "part.py").write_text("count = []\ncount.append(1)\nvalue = 'part'")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "heavy_thing"
    for name in [n for n in sys.modules if n.split(".")[0] == "heavy_thing"]:
        del sys.modules[name]


def test_a_module_put_off_is_loaded_by_its_first_use(package: str) -> None:
    assert deferred.defer(package, functions=["work"])
    import heavy_thing
    from heavy_thing import work

    assert deferred.is_deferred(package)
    assert work(1) == 2
    assert not deferred.is_deferred(package)
    assert work(2) == 3
    assert heavy_thing.runs == 1, "a name bound before still works"


def test_any_other_name_loads_it_too(package: str) -> None:
    deferred.defer(package)
    import heavy_thing

    assert deferred.is_deferred(package)
    assert heavy_thing.part.value == "part"
    with pytest.raises(AttributeError):
        _ = heavy_thing.nothing


def test_a_placeholder_class_matches_nothing_and_loads_nothing(package: str) -> None:
    deferred.defer(package, classes=["Error"])
    from heavy_thing import Error

    assert not isinstance(ValueError(), Error)
    assert deferred.is_deferred(package)


def test_a_part_of_a_package_put_off_is_imported_once(package: str) -> None:
    deferred.defer(package)
    from heavy_thing.part import count

    assert count == [1]
    assert sys.modules["heavy_thing"].part is sys.modules["heavy_thing.part"]
    assert sys.modules["heavy_thing"].part.count is count
    assert not deferred.is_deferred(package)


def test_a_part_put_off_goes_with_its_package(package: str) -> None:
    deferred.defer(package)
    deferred.defer("heavy_thing.part", classes=["Other"])
    import heavy_thing

    assert heavy_thing.work(1) == 2
    assert not deferred.is_deferred("heavy_thing.part")
    assert heavy_thing.part.value == "part"


def test_what_is_loaded_already_stays(package: str) -> None:
    __import__(package)
    assert not deferred.defer(package)
    assert not deferred.is_deferred(package)
