"""Which public keys are taken, and the sentence for each that is not."""

from __future__ import annotations

import base64
import re
import struct
import subprocess
import time
import unicodedata
from pathlib import Path

import asyncssh
import pytest

from workroom_hub.account.address import (
    alias,
    config_block,
    fits_command,
    for_pages,
    log_in_name,
    ssh_address,
    ssh_line,
)
from workroom_hub.account.keys import (
    LARGEST,
    KeyRefused,
    checked_name,
    fingerprint,
    name_for,
    plain_name,
    read,
)
from workroom_hub.runtime import Runtime
from workroom_hub.settings import Settings


def packed(*fields: bytes) -> str:
    """Return fields as the body of a key."""
    return base64.b64encode(b"".join(struct.pack(">I", len(f)) + f for f in fields)).decode()


def made(algorithm: str = "ssh-ed25519", comment: str = "ann@laptop", **more: int) -> str:
    key = asyncssh.generate_private_key(algorithm, comment=comment, **more)
    return key.export_public_key().decode()


KEY = made()
RAW = base64.b64decode(KEY.split()[1])[-32:]
SK = "sk-ssh-ed25519@openssh.com"
SK_BODY = packed(SK.encode(), RAW, b"ssh:")
BODY = KEY.split()[1]


@pytest.mark.parametrize(
    ("algorithm", "kind", "bits"),
    [
        ("ssh-ed25519", "ED25519", 256),
        ("ecdsa-sha2-nistp256", "ECDSA", 256),
        ("ecdsa-sha2-nistp384", "ECDSA", 384),
        ("ecdsa-sha2-nistp521", "ECDSA", 521),
        ("ssh-rsa", "RSA", 2048),
    ],
)
def test_each_kind_is_taken_in_both_formats_and_known_by_its_fingerprint(
    algorithm: str, kind: str, bits: int
) -> None:
    key = asyncssh.generate_private_key(algorithm, comment="ann@laptop")
    line = read(key.export_public_key("openssh"))
    assert (line.type, line.bits, line.comment) == (kind, bits, "ann@laptop")
    assert line.fingerprint == key.get_fingerprint() == fingerprint(line.line)
    assert line.line.split() == key.export_public_key().decode().split()[:2]
    assert read(key.export_public_key("rfc4716")) == line


def test_keys_on_a_security_token_are_taken() -> None:
    key = read(f"{SK} {SK_BODY} token")
    assert (key.type, key.fingerprint) == (
        "ED25519-SK",
        asyncssh.import_public_key(f"{SK} {SK_BODY}").get_fingerprint(),
    )
    ecdsa = "sk-ecdsa-sha2-nistp256@openssh.com"
    curve_and_point = base64.b64decode(made("ecdsa-sha2-nistp256").split()[1])[23:]
    prefix = base64.b64decode(packed(ecdsa.encode()))
    body = base64.b64encode(prefix + curve_and_point + base64.b64decode(packed(b"ssh:"))).decode()
    assert read(f"{ecdsa} {body}").type == "ECDSA-SK"


@pytest.mark.parametrize(
    "given",
    [
        f"\n  {KEY}  \r\n\n",
        "\ufeff" + KEY,
        KEY.encode(),
        KEY.replace("\n", "\r\n"),
        KEY.replace(" ", "  "),
    ],
)
def test_what_copying_adds_does_no_harm(given: str | bytes) -> None:
    assert read(given) == read(KEY)


def test_headers_of_rfc_4716_may_go_on_in_the_next_line() -> None:
    lines = [BODY[i : i + 70] for i in range(0, len(BODY), 70)]
    head = ["---- BEGIN SSH2 PUBLIC KEY ----", "Subject: me", 'Comment: "one \\', 'two"']
    text = "\n".join([*head, *lines, "---- END SSH2 PUBLIC KEY ----"])
    assert read(text).comment == "one two"


TITLE = "---- BEGIN SSH2 PUBLIC KEY ----\n"
ENDING = "\n---- END SSH2 PUBLIC KEY ----"
SEVERAL = "several keys"
LINES = "spread over several lines"
DAMAGED = "damaged"
NOT_ONE = "not a public SSH key"
RSA = base64.b64decode(made("ssh-rsa").split()[1])


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "Paste your public key"),
        (" \r\n\t", "Paste your public key"),
        ("hello", NOT_ONE),
        ("ssh-ed25519", DAMAGED),
        ("<script>alert(1)</script>", NOT_ONE),
        ("SHA256:o0cRuWirwDJ73LMT1rT6S9JkjDFIbLWV6LxHHo7zVJ8", "fingerprint"),
        (f"ssh-dss {packed(b'ssh-dss', b'1')}", "DSA keys are not safe"),
        (made("ssh-rsa", key_size=1024), "1024 bits, which is too few"),
        (f"ssh-rsa {packed(b'ssh-rsa', b'3', b'')}", DAMAGED),
        (f"ssh-rsa {packed(b'ssh-rsa', bytes([3]), bytes([1]) * 2100)}", "at most 16384"),
        (f"ssh-rsa {packed(b'ssh-rsa', bytes([2]), bytes([1]) * 257)}", DAMAGED),
        (f"ssh-rsa {packed(b'ssh-rsa', bytes([3]), bytes(300))}", DAMAGED),
        (f"ssh-rsa {base64.b64encode(RSA + b'more').decode()}", DAMAGED),
        (f"ssh-ed448 {packed(b'ssh-ed448', b'1')}", "'ssh-ed448' are not taken"),
        (f"ssh-ed25519-cert-v01@openssh.com {BODY}", "certificate"),
        (f"sk-ssh-ed25519-cert-v01@openssh.com {BODY}", "certificate"),
        (f'command="rm -rf /" {KEY}', "before 'ssh-ed25519'"),
        (f"no-pty,from=\"10.0.0.0/8\" {KEY}", "before 'ssh-ed25519'"),
        (f"[localhost]:2222 {KEY}", "before 'ssh-ed25519'"),
        (f"{KEY}{made()}", SEVERAL),
        (f"{KEY}\n\n{made('ssh-rsa')}", SEVERAL),
        (f"{KEY}command=\"id\" {KEY}", LINES),
        (f"ssh-ed25519\n{BODY}", LINES),
        (f"ssh-ed25519 {BODY[:40]}\n{BODY[40:]}", LINES),
        (f"ssh-ed25519 {BODY} ann\u2028more", LINES),
        (f"ssh-ed25519 {BODY} ann\x0bmore", LINES),
        (f"ssh-ed25519 {BODY}\0", "NUL"),
        (f"ssh-ed25519 {BODY[:-8]}", DAMAGED),
        (f"ssh-ed25519 {BODY[:-1]}!", DAMAGED),
        (f"ssh-ed25519 {packed(b'ssh-ed25519', RAW, b'more')}", DAMAGED),
        (f"ssh-ed25519 {packed(b'ssh-ed25519', RAW[:-1])}", DAMAGED),
        (f"ssh-ed25519 {base64.b64encode(b'AAA').decode()}", DAMAGED),
        (f"ssh-ed25519 {made('ecdsa-sha2-nistp256').split()[1]}", DAMAGED),
        (f"ssh-rsa {BODY}", DAMAGED),
        (f"{SK} {packed(SK.encode(), RAW)}", DAMAGED),
        (
            "ecdsa-sha2-nistp256 "
            + packed(b"ecdsa-sha2-nistp256", b"nistp256", b"\x04" + bytes(range(64))),
            DAMAGED,
        ),
        ("-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----", "another format"),
        (f"{TITLE}{BODY}", "The end of the key is missing"),
        (f"{TITLE}{ENDING}", DAMAGED),
        (f"{TITLE}Comment: x\\{ENDING}", DAMAGED),
        (f"{TITLE}{BODY}{ENDING}\n{TITLE}{BODY}{ENDING}", SEVERAL),
        (f"{TITLE}{packed(bytes([200]))}{ENDING}", DAMAGED),
        (KEY.encode("utf-16"), "not a text"),
        (b"ssh-ed25519 AAAA \xff\xfe", "not a text"),
        ("ssh-ed25519 AAAA \udcff", "not a text"),
        ("x" * (LARGEST + 1), "too long"),
        ("ssh-ed25519 " + "A" * LARGEST, "too long"),
    ],
)  # fmt: skip
def test_everything_else_is_refused_with_the_reason(given: str | bytes, reason: str) -> None:
    with pytest.raises(KeyRefused, match=reason.replace("[", r"\[")) as refused:
        read(given)
    assert str(refused.value).endswith((".", "ed25519", "FILE"))
    assert "\n" not in str(refused.value)
    assert not refused.value.secret


def private(kind: str) -> str:
    key = asyncssh.generate_private_key("ssh-rsa")
    return key.export_private_key(kind).decode()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [
        *map(private, ["openssh", "pkcs1-pem", "pkcs8-pem"]),
        private("openssh").encode("utf-16"),
        private("openssh").encode() + b"\xff",
        private("openssh") + "x" * LARGEST,
        "\n".join(private("openssh").splitlines()[1:-1]),
        f"{KEY}\n{private('openssh')}",
        "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none",
    ],
)
def test_a_private_key_is_known_whatever_is_wrong_with_it(given: str | bytes) -> None:
    with pytest.raises(KeyRefused, match="must never leave your machine") as refused:
        read(given)
    assert refused.value.secret
    sentence = str(refused.value)
    assert "ends in .pub" in sentence
    assert "BEGIN" not in sentence


def test_a_comment_is_a_suggestion_and_nothing_more() -> None:
    assert name_for(read(KEY)) == "ann@laptop"
    assert name_for(read(KEY), "  Work\tlaptop ") == "Work laptop"
    assert name_for(read(f"ssh-ed25519 {BODY}")) == "ED25519"
    assert name_for(read(f"ssh-ed25519 {BODY} {'x' * 200}")) == "x" * 60
    assert name_for(read(f"ssh-ed25519 {BODY} <b>\x1b[31mann\x07")) == "<b>[31mann"
    turned = plain_name("a\u202etxt.exe\u200b\ud800")
    assert turned == "atxt.exe"
    assert plain_name(unicodedata.normalize("NFD", "Zoë")) == "Zoë"
    with pytest.raises(KeyRefused, match="at most 60"):
        checked_name("x" * 61)


def settings(**ssh: object) -> Settings:
    return Settings.model_validate({"web": {"public_url": "https://lab.example.com"}, "ssh": ssh})


def test_the_address_is_the_pages_unless_another_is_given() -> None:
    assert ssh_address(Settings()) == ("localhost", 2222)
    assert ssh_address(settings()) == ("lab.example.com", 2222)
    assert ssh_address(settings(public_host="ssh.example.com", public_port=22)) == (
        "ssh.example.com",
        22,
    )


def test_pages_know_the_host_keys_as_ssh_shows_and_stores_them(tmp_path: Path) -> None:
    keys = (KEY, made("ecdsa-sha2-nistp256"))
    runtime = Runtime(tmp_path, "", "", 1, 1, {}, ssh_host_keys=keys)
    told = for_pages(settings(), runtime)
    assert told["host_keys"][0] == {
        "type": "ED25519",
        "fingerprint": read(KEY).fingerprint,
        "line": f"[lab.example.com]:2222 ssh-ed25519 {BODY}",
    }
    assert told["host_keys"][1]["type"] == "ECDSA"
    told = for_pages(settings(public_port=22, enabled=False), runtime)
    assert told["host_keys"][0]["line"].startswith("lab.example.com ssh-ed25519")
    assert (told["enabled"], told["port"]) == (False, 22)


@pytest.mark.parametrize(
    ("user", "server", "port", "line"),
    [
        ("ann", "", 2222, "ssh ann@h -p 2222"),
        ("ann", "", 22, "ssh ann@h"),
        ("ann", "gpu", 22, "ssh ann+gpu@h"),
        ("ann@example.com", "", 22, "ssh ann@example.com@h"),
        ("zoë$home", "", 22, "ssh 'zoë$home@h'"),
        # OpenSSH takes these from its configuration only.
        ("o'brien", "", 22, "ssh workroom"),
        ("-oproxycommand=id", "gpu", 22, "ssh workroom-gpu"),
        ("ann", "my gpu", 22, "ssh 'ann+my gpu@h'"),
        ("ann", "a;b", 22, f"ssh {alias('a;b')}"),
        (
            "ann",
            "a\nrm -r ~",
            22,
            "# ssh has no way to name this server: its name has control characters.",
        ),
    ],
)
def test_the_line_to_type_is_fit_for_a_shell(user: str, server: str, port: int, line: str) -> None:
    assert ssh_line(user, server, "h", port) == line
    assert fits_command(log_in_name(user, server)) == ("@h" in line) or line.startswith("#")


def test_names_of_servers() -> None:
    assert (alias(""), alias("gpu")) == ("workroom", "workroom-gpu")
    assert log_in_name("ann+x", "gpu") == "ann+x+gpu"
    assert config_block("ann", "", "h", 22) == "Host workroom\n    HostName h\n    User ann"
    assert '    User "o\'brien+gpu"' in config_block("o'brien", "gpu", "h", 2222)
    assert "    Port 2222\n" in config_block("ann", "", "h", 2222)


@pytest.mark.parametrize("user", ["ann", "o'brien", 'a"b', "a\\", "a#b=c", "-x", "a$b;c", "zoë"])
def test_openssh_reads_the_block_back(user: str, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(config_block(user, "gpu", "lab.example.com", 2222))
    done = subprocess.run(
        ["ssh", "-F", str(file), "-G", "workroom-gpu"], capture_output=True, text=True, check=True
    )
    # It prints what is not ASCII in octal.
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    if user.isascii():
        assert told["user"] == f"{user}+gpu"
    assert (told["hostname"], told["port"]) == ("lab.example.com", "2222")


ODD_SERVERS = [
    "two words",
    "a-b",
    "a b",
    "a  b",
    "*",
    "!x",
    "a,b",
    "#a",
    "$(id)",
    'a"b',
    "é",
    "../x",
]


def test_an_alias_is_one_plain_word_and_nobody_elses() -> None:
    aliases = [alias(server) for server in ["", "gpu", *ODD_SERVERS, "a\nb"]]
    assert len(set(aliases)) == len(aliases)
    assert all(re.fullmatch(r"workroom[\w.-]*", each) for each in aliases)
    assert alias("a-b") == "workroom-a-b"


@pytest.mark.parametrize("server", ODD_SERVERS)
def test_openssh_reads_the_block_of_any_server_back(server: str, tmp_path: Path) -> None:
    file = tmp_path / "config"
    other = "Host *\n    User somebody-else\n"
    file.write_text(config_block("ann", server, "lab.example.com", 2222) + "\n" + other)
    for called, user in ((alias(server), f"ann+{server}"), ("workroom-other", "somebody-else")):
        done = subprocess.run(
            ["ssh", "-F", str(file), "-G", called], capture_output=True, text=True, check=True
        )
        told = dict(line.split(" ", 1) for line in done.stdout.splitlines())
        assert told["user"] == user or not user.isascii()
        assert (told["port"] == "2222") == (called != "workroom-other")


@pytest.mark.parametrize("server", ["a\nProxyCommand id", "a\r", "a\tb", "\x00", "a\x85b"])
def test_a_name_that_no_configuration_can_hold_adds_nothing_to_it(server: str) -> None:
    for text in (config_block("ann", server, "h", 22), ssh_line("ann", server, "h", 22)):
        assert text.startswith("# ")
        assert len(text.splitlines()) == 1


def test_what_is_far_too_long_is_not_read_through() -> None:
    """A form may bring 100 MB, and everybody waits for the hub meanwhile."""
    began = time.process_time()
    with pytest.raises(KeyRefused, match="too long"):
        read(b"a" * 50_000_000)
    assert time.process_time() - began < 0.5
