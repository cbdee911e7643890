"""Files over ssh with the real tools: scp, sftp, rsync, git; whole trees, odd names, a gigabyte."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.installation import Installation
from tests.support.ssh import Laptop, with_server

pytestmark = pytest.mark.docker
GIGABYTE = 2**30


@pytest.fixture(scope="module")
def bob(over_ssh: Installation, tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    """Bob's laptop, with a key of his account and some files; his server runs."""
    with_server(over_ssh, "bob")
    bob = Laptop(tmp_path_factory.mktemp("bob"), over_ssh, "bob").register()
    tree = bob.folder / "a tree"
    (tree / "ünter").mkdir(parents=True)
    (tree / "plain.txt").write_text("plain\n")
    (tree / "ünter" / "two words; $(date) 'ä€😀'.bin").write_bytes(os.urandom(300_000))
    (tree / "empty").touch()
    (tree / "run me").write_text("#!/bin/sh\necho ran\n")
    (tree / "run me").chmod(0o755)
    os.utime(tree / "plain.txt", (1_000_000_000, 1_000_000_000))
    return bob


def content(folder: Path) -> dict[str, bytes]:
    """Return every file under a folder with what is in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("words", [("-r",), ("-r", "-O")], ids=["scp", "old-scp"])
def test_scp(bob: Laptop, words: tuple[str, ...]) -> None:
    sent = bob.folder / "a tree"
    name = "scp" + "".join(words)
    bob.ssh("gw", f"rm -rf {name}")
    bob.run(bob.words("scp", "-p", *words, str(sent), f"gw:{name}"))
    assert "ran" in bob.says(f"'{name}/run me'")
    back = bob.folder / f"back{name}"
    bob.run(bob.words("scp", "-p", *words, f"gw:{name}", str(back)))
    assert content(back) == content(sent)
    assert (back / "plain.txt").stat().st_mtime == 1_000_000_000
    said = bob.run(bob.words("scp", *words, "gw:no-such-file", "."), code=1).stderr.decode()
    assert "No such file or directory" in said


def test_sftp(bob: Laptop) -> None:
    sent = bob.folder / "a tree"
    batch = (
        "mkdir over-sftp|cd over-sftp|pwd|put -r 'a tree'|ls -l 'a tree'|get -r 'a tree' g|"
        "rename 'a tree/empty' 'a tree/moved'|chmod 600 'a tree/moved'|rm 'a tree/plain.txt'|df -h|"
    )
    (bob.folder / "batch").write_text(batch.replace("|", "\n"))
    bob.ssh("gw", "rm -rf over-sftp")
    done = bob.run(bob.words("sftp", "-b", "batch", "gw"))
    assert "/home/workroom/over-sftp" in done.stdout.decode()
    assert content(bob.folder / "g") == content(sent)
    left = bob.says("cd 'over-sftp/a tree'; ls; stat -c %a moved").splitlines()
    assert left == ["moved", "run me", "ünter", "600"]


def test_rsync(bob: Laptop) -> None:
    sent = bob.folder / "a tree"
    rsync = ["rsync", "-a", "--delete", "--stats", "-e", f"ssh -F {bob.config}"]
    bob.ssh("gw", "rm -rf over-rsync")
    bob.run([*rsync, f"{sent}/", "gw:over-rsync/"])
    again = bob.run([*rsync, f"{sent}/", "gw:over-rsync/"]).stdout.decode()
    assert "Number of regular files transferred: 0" in again
    bob.ssh("gw", "rm over-rsync/empty; echo more >> over-rsync/plain.txt")
    back = bob.folder / "back-rsync"
    bob.run([*rsync, "gw:over-rsync/", f"{back}/"])
    wanted = content(sent)
    del wanted["empty"]
    wanted["plain.txt"] += b"more\n"
    assert content(back) == wanted


def test_git(bob: Laptop) -> None:
    make = (
        "rm -rf repo; git init -q -b main repo; cd repo; git config user.email bob@example.org;"
        "git config user.name Bob; git config receive.denyCurrentBranch updateInstead;"
        "echo one > file; git add file; git commit -qm one"
    )
    bob.ssh("gw", make)
    url = f"ssh://bob@localhost:{bob.port}/~/repo"
    bob.run(["git", "clone", "-q", url, "clone"])
    here = bob.folder / "clone"
    assert (here / "file").read_text() == "one\n"
    (here / "file").write_text("two\n")
    author = ["-c", "user.email=bob@example.org", "-c", "user.name=Bob"]
    bob.run(["git", "-C", str(here), *author, "commit", "-qam", "two"])
    bob.run(["git", "-C", str(here), "push", "-q", "origin", "main"])
    assert bob.says("cat repo/file") == "two"


def test_a_large_file_both_ways(over_ssh: Installation, bob: Laptop) -> None:
    size = GIGABYTE if not over_ssh.words else GIGABYTE // 5
    large, back = bob.folder / "large", bob.folder / "back"
    key = "0" * 32
    # Random to every compression and to the eye, and quicker to make than random.
    stream = f"openssl enc -aes-128-ctr -K {key} -iv {key} -in /dev/zero 2>/dev/null"
    subprocess.run(f"{stream} | head -c {size} > {large}", shell=True, check=True)  # noqa: S602
    with large.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        bob.run(bob.words("scp", "-q", str(large), "gw:large"), seconds=300)
        assert bob.says("sha256sum < large").split()[0] == digest
        large.unlink()
        bob.run(bob.words("scp", "-q", "gw:large", str(back)), seconds=300)
        with back.open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == digest
    finally:
        bob.ssh("gw", "rm -f large")
        large.unlink(missing_ok=True)
        back.unlink(missing_ok=True)
