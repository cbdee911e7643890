"""The host key of the container's sshd: kept in the home, the same for everyone who asks."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from workroom_server import host_key
from workroom_server.host_key import BadKey

FILE = host_key.FOLDER / host_key.NAME


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """An empty home and sshd's own folder."""
    home, private = tmp_path / "home", tmp_path / "private"
    home.mkdir()
    private.mkdir()
    return home, private


def prepare(folders: tuple[Path, Path]) -> tuple[str, list[str]]:
    """Prepare a key; its public line and what was said."""
    said: list[str] = []
    return host_key.prepare(*folders, said.append), said


def keygen(file: Path, *words: str) -> bytes:
    """Make a key with the real ssh-keygen."""
    subprocess.run(["ssh-keygen", "-q", "-f", file, *words], check=True)
    return file.read_bytes()


def test_a_key_is_made_once_and_kept(folders: tuple[Path, Path]) -> None:
    home, private = folders
    before = os.umask(0)
    try:
        first, said = prepare(folders)
    finally:
        os.umask(before)
    assert said == []
    assert (home / FILE).stat().st_mode & 0o777 == 0o600
    assert (home / host_key.FOLDER).stat().st_mode & 0o777 == 0o700
    assert (private / host_key.NAME).read_bytes() == (home / FILE).read_bytes()
    assert (private / host_key.NAME).stat().st_mode & 0o777 == 0o600
    assert prepare(folders) == (first, [])
    assert [file.name for file in private.iterdir()] == [host_key.NAME], "nothing else is left"
    assert {f.name for f in (home / host_key.FOLDER).iterdir()} == {host_key.NAME, "lock"}


def test_the_public_line_is_the_one_ssh_keygen_tells(folders: tuple[Path, Path]) -> None:
    line, _ = prepare(folders)
    told = subprocess.run(
        ["ssh-keygen", "-y", "-f", folders[1] / host_key.NAME], capture_output=True, text=True
    )
    assert told.stdout.split()[:2] == line.split()


def test_a_comment_of_any_length_is_no_damage(tmp_path: Path) -> None:
    for length in range(9):
        key = keygen(tmp_path / f"k{length}", "-t", "ed25519", "-N", "", "-C", "c" * length)
        assert host_key.public_line(key).startswith("ssh-ed25519 AAAA")


def test_two_servers_at_once_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = host_key.read_key

    def slowly(file: Path) -> bytes:
        try:
            return really(file)
        except BadKey:
            time.sleep(0.1)  # long enough for all of them to have seen it, if nothing stops them
            raise

    monkeypatch.setattr(host_key, "read_key", slowly)
    home = tmp_path / "home"
    (home / host_key.FOLDER).mkdir(parents=True)
    (home / FILE).write_text("half a")  # the harder case: it must be put aside once only
    lines, said = [], []
    gate = threading.Barrier(8)

    def one(number: int) -> None:
        private = tmp_path / f"private-{number}"
        private.mkdir()
        gate.wait()
        lines.append(host_key.prepare(home, private, said.append))

    servers = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for server in servers:
        server.start()
    for server in servers:
        server.join()
    assert len(lines) == 8
    assert len(set(lines)) == 1
    assert len(said) == 1
    assert len(list((home / host_key.FOLDER).glob("*.bad-*"))) == 1


def a_link(file: Path, key: bytes) -> None:
    """A link to a good key elsewhere."""
    elsewhere = file.with_name("elsewhere")
    elsewhere.write_bytes(key)
    file.symlink_to(elsewhere)


BAD: dict[str, tuple[Callable[[Path, bytes], object], str]] = {
    "empty": (lambda f, k: f.write_bytes(b""), "not a whole"),
    "half": (lambda f, k: f.write_bytes(k[: len(k) // 2]), "not a whole"),
    "a line lost": (
        lambda f, k: f.write_bytes(b"\n".join([*k.split(b"\n")[:2], *k.split(b"\n")[3:]])),
        "damaged",
    ),
    "zeros": (lambda f, k: f.write_bytes(bytes(len(k))), "not a whole"),
    "huge": (lambda f, k: f.write_bytes(k + b"\n" * 9000), "not a whole"),
    "rsa": (lambda f, k: keygen(f, "-t", "rsa", "-b", "2048", "-N", ""), "no Ed25519"),
    "passphrase": (lambda f, k: keygen(f, "-t", "ed25519", "-N", "secret"), "passphrase"),
    "a link": (a_link, "a link"),
    "a folder": (lambda f, k: f.mkdir(), "no file"),
    "a pipe": (lambda f, k: os.mkfifo(f), "no file"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_key_is_put_aside_and_made_anew(folders: tuple[Path, Path], kind: str) -> None:
    home, _ = folders
    old, _ = prepare(folders)
    key = (home / FILE).read_bytes()
    (home / FILE).unlink()
    spoil, reason = BAD[kind]
    spoil(home / FILE, key)
    new, said = prepare(folders)
    assert new != old
    assert len(said) == 1
    assert reason in said[0]
    assert ".bad-" in said[0]
    aside = list((home / host_key.FOLDER).glob("*.bad-*"))
    assert len(aside) == 1
    assert prepare(folders) == (new, []), "the new one stays"


def test_any_flipped_byte_is_damage(folders: tuple[Path, Path]) -> None:
    """But for the 32 bytes of the secret itself, which only a signature could tell."""
    prepare(folders)
    lines = (folders[0] / FILE).read_bytes().strip().split(b"\n")
    data = base64.b64decode(b"".join(lines[1:-1]))
    taken = 0
    for place in range(len(data)):
        flipped = data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :]
        try:
            host_key.public_line(b"\n".join([lines[0], base64.b64encode(flipped), lines[-1]]))
            taken += 1
        except BadKey:
            pass
    assert taken == 32


def test_a_key_of_somebody_else_is_not_taken(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(folders)
    somebody = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: somebody)
    with pytest.raises(BadKey, match="somebody else"):
        host_key.read_key(folders[0] / FILE)


def test_a_key_others_could_read_gets_its_mode_back(folders: tuple[Path, Path]) -> None:
    line, _ = prepare(folders)
    (folders[0] / FILE).chmod(0o644)
    assert prepare(folders) == (line, [])
    assert (folders[0] / FILE).stat().st_mode & 0o777 == 0o600


def test_a_home_that_cannot_be_written_gets_a_key_for_this_server(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    line, said = prepare((tmp_path / "none", private))
    assert line.startswith("ssh-ed25519 ")
    assert len(said) == 1
    assert "cannot be kept" in said[0]
    assert host_key.public_line((private / host_key.NAME).read_bytes()) == line


def test_a_full_home_leaves_nothing_half_written(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, _ = folders
    really = os.fsync

    def full(opened: int) -> None:
        if str(home) in os.readlink(f"/proc/self/fd/{opened}"):
            raise OSError(28, "No space left on device")
        really(opened)

    monkeypatch.setattr(os, "fsync", full)
    _, said = prepare(folders)
    assert "No space left on device" in said[0]
    assert {f.name for f in (home / host_key.FOLDER).iterdir()} == {"lock"}


def test_a_home_that_hangs_does_not_hold_the_start_up(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(host_key, "HOME_WITHIN", 0.1)
    monkeypatch.setattr(host_key, "kept_key", lambda *_: release.wait(30))
    line, said = prepare(folders)
    release.set()
    assert line.startswith("ssh-ed25519 ")
    assert "does not answer" in said[0]


def test_a_lock_nobody_gives_back_is_not_waited_for_long(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    monkeypatch.setattr(host_key, "LOCK_FOR", 0.1)
    folder = folders[0] / host_key.FOLDER
    folder.mkdir(parents=True)
    with open(folder / "lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        _, said = prepare(folders)
    assert said == []
    assert (folders[0] / FILE).exists()


def test_two_servers_agree_even_where_locks_do_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2)
    really = host_key.make_key

    def together(scratch: Path) -> bytes:
        key = really(scratch)
        both.wait(20)  # neither has found one
        time.sleep(0.2 if scratch.name == "two" else 0)
        return key

    monkeypatch.setattr(host_key, "make_key", together)
    monkeypatch.setattr(host_key, "_alone", lambda _: contextlib.nullcontext())
    home = tmp_path / "home"
    home.mkdir()
    lines: list[str] = []
    servers = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        arguments = (home, tmp_path / name, lambda _: None)
        servers.append(
            threading.Thread(target=lambda a=arguments: lines.append(host_key.prepare(*a)))
        )
        servers[-1].start()
    for server in servers:
        server.join()
    assert len(lines) == 2
    assert len(set(lines)) == 1
