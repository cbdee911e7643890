"""What is written for sshd, and the watch over its listener; the real sshd is in test_ssh.py."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from workroom_server import ssh

ORDERS = ssh.Orders("ssh-ed25519 AAAAca", "workroom-abc", "token")


def words_as_sshd_reads_them(line: str) -> list[str]:
    """Split a line by the rules of OpenSSH's `argv_split`, written down again."""
    words: list[str] = []
    quote, word, at = "", None, 0
    while at < len(line):
        here, following = line[at], line[at + 1 : at + 2]
        if here == "\\" and (following in {"'", '"', "\\"} or (not quote and following == " ")):
            word = (word or "") + following
            at += 1
        elif not quote and here in " \t":
            if word is not None:
                words.append(word)
            word = None
        elif not quote and here in "'\"":
            quote, word = here, word or ""
        elif here == quote:
            quote = ""
        else:
            word = (word or "") + here
        at += 1
    return [*words, *([word] if word is not None else [])]


AWKWARD = {
    "BLANKS": " a  b ",
    "EMPTY": "",
    "QUOTES": """it's "so" """,
    "BACKSLASH": "C:\\dir\\",
    "ENDS": 'x\\"',
    "HASH": "# no comment",
    "PERCENT": "%h %% $(id) ${HOME}",
    "UMLAUT": "Größe €",
    "TAB": "a\tb",
    "JSON": '["access:servers!server=ada/"]',
}


def test_one_line_holds_every_value_as_it_is() -> None:
    line, left_out = ssh.set_env(AWKWARD)
    assert left_out == ""
    assert "\n" not in line
    keyword, *words = words_as_sshd_reads_them(line)
    assert keyword == "SetEnv"
    assert dict(word.split("=", 1) for word in words) == AWKWARD


def test_what_sshd_cannot_carry_is_left_out_and_named() -> None:
    line, left_out = ssh.set_env(
        {"A": "1", "LINES_": "a\nb", "BASH_FUNC_f%%": "() { :; }", "HUGE": "x" * 200_000, "Z": "2"}
    )
    assert left_out == "BASH_FUNC_f%%, HUGE, LINES_"
    assert words_as_sshd_reads_them(line) == ["SetEnv", "A=1", "Z=2"]


def test_many_values_that_are_too_much_together_keep_the_small_ones() -> None:
    line, left_out = ssh.set_env({f"V{n}": "x" * 30_000 for n in range(5)} | {"SMALL": "1"})
    assert "SMALL=1" in line
    assert left_out == "V3, V4"
    assert len(line) < 110_000


def test_a_session_gets_what_notebooks_have() -> None:
    environment = {
        "HOME": "/home/workroom", "PATH": "/opt/workroom/bin:/usr/bin", "OMP_NUM_THREADS": "2",
        "JUPYTERHUB_API_TOKEN": "t", "TERM": "dumb", "PWD": "/", "SHLVL": "1", "_": "x",
        "SSH_CONNECTION": "1 2 3 4", "LANG": "C.UTF-8",
    }  # fmt: skip
    assert ssh.session_environment(environment) == {
        "HOME": "/home/workroom", "OMP_NUM_THREADS": "2", "JUPYTERHUB_API_TOKEN": "t",
        "PATH": "/home/workroom/.local/bin:/opt/workroom/bin:/usr/bin", "LANG": "C.UTF-8",
    }  # fmt: skip


def test_the_own_programs_stand_in_the_path_once() -> None:
    path = "/usr/bin:/h/.local/bin:/bin"
    found = ssh.session_environment({"HOME": "/h", "PATH": path})["PATH"]
    assert found == "/h/.local/bin:/usr/bin:/bin"


def test_orders_are_taken_out_of_the_environment() -> None:
    environment = {
        "WORKROOM_SSH_USER_CA": "ssh-ed25519 AAAAca", "WORKROOM_SSH_PRINCIPAL": "workroom-abc",
        "WORKROOM_USAGE_TOKEN": "token", "A": "1",
    }  # fmt: skip
    assert ssh.take_orders(environment) == ORDERS
    assert environment == {"A": "1"}
    assert ssh.take_orders(environment) == ssh.Orders()
    assert "token" not in repr(ORDERS)


def test_files_are_for_their_owner_and_replace_those_of_before(tmp_path: Path) -> None:
    (tmp_path / "environment.conf").write_text("SetEnv OLD=1\n")
    (tmp_path / "environment.conf").chmod(0o644)
    ssh.write_files(ORDERS, {"A": "1", "HOME": "/h", "PATH": "/bin"}, tmp_path)
    assert (tmp_path / "user_ca.pub").read_text() == "ssh-ed25519 AAAAca\n"
    assert (tmp_path / "principals").read_text() == "workroom-abc\n"
    line = (tmp_path / "environment.conf").read_text()
    assert line == 'SetEnv "A=1" "HOME=/h" "PATH=/h/.local/bin:/bin"\n'
    assert {f.stat().st_mode & 0o777 for f in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize(
    ("orders", "said"),
    [
        (ssh.Orders("", "workroom-abc"), ""),
        (ssh.Orders("ssh-ed25519 AAAAca", ""), "no principal"),
        (ssh.Orders("ssh-ed25519 AAAAca", "a\nworkroom-other"), "no principal"),
        (ssh.Orders("ssh-ed25519 AAAAca", 'from="*" b'), "no principal"),
    ],
)
def test_without_good_orders_there_is_no_sshd(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], orders: ssh.Orders, said: str
) -> None:
    (tmp_path / "host_ed25519").touch()
    assert ssh.start(orders, {}, tmp_path) is None
    assert said in capsys.readouterr().err
    assert not (tmp_path / "principals").exists()


def test_without_a_host_key_there_is_no_sshd(tmp_path: Path) -> None:
    assert ssh.start(ORDERS, {}, tmp_path) is None


def test_a_server_without_any_place_for_keys_still_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, private = tmp_path / "no-home", tmp_path / "no-folder"
    assert ssh.prepare_host_key({"HOME": str(home)}, private) is None
    assert "there is no ssh in this server" in capsys.readouterr().err


def wait_for(what: Callable[[], object], seconds: float = 10) -> None:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


def test_a_listener_that_ends_is_started_again_less_and_less_often(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    code = f"open({str(runs)!r}, 'a').write('x'); raise SystemExit(3)"
    listener = ssh.Listener("/usr/bin", (sys.executable, "-c", code), pause=0.05)
    wait_for(lambda: runs.exists() and len(runs.read_text()) >= 3)
    listener.stop()
    listener.join(10)
    said = capsys.readouterr().err
    assert "sshd ended with code 3; it is started again in 0.05 s" in said
    assert "again in 0.1 s" in said


def test_a_killed_listener_comes_back_and_a_stopped_one_does_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    listener = ssh.Listener("/usr/bin", ("/bin/sleep", "600"), pause=0.01)
    wait_for(lambda: listener.process)
    first = listener.process
    assert first
    first.kill()
    wait_for(lambda: listener.process is not first)
    assert "was ended by signal 9" in capsys.readouterr().err
    listener.stop()
    listener.join(10)
    assert not listener.is_alive()
    assert capsys.readouterr().err == ""


def test_a_missing_sshd_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    listener = ssh.Listener("/usr/bin", ("/no/such/sshd",), pause=30)
    wait_for(lambda: "could not be started" in capsys.readouterr().err)
    listener.stop()
    listener.join(10)
    assert not listener.is_alive()
