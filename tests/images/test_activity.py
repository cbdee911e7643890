"""What keeps a server alive, on made-up process tables: no container, no network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from workroom_server import actions, activity

TTY = 34816
SHELL = {"pid": 10, "name": "bash", "words": ["-bash"], "tty": TTY, "group": 10, "session": 10}


def tree(folder: Path, *processes: dict) -> Path:
    """Write a /proc tree. Keys: pid, name, words, state, tty, group, session, foreground, cpu."""
    for p in processes:
        directory = folder / str(p["pid"])
        directory.mkdir(parents=True, exist_ok=True)
        ticks = int(p.get("cpu", 0) * activity.TICKS)
        fields = [
            p.get("state", "S"), 1, p.get("group", p["pid"]), p.get("session", p["pid"]),
            p.get("tty", 0), p.get("foreground", -1), 0, 0, 0, 0, 0, ticks, 0, 0, 0, 20, 0, 1, 0,
            p.get("started", 100), 0, 0,
        ]  # fmt: skip
        text = f"{p['pid']} ({p['name']}) " + " ".join(map(str, fields)) + "\n"
        (directory / "stat").write_text(text)
        (directory / "cmdline").write_bytes("\0".join(p.get("words", [p["name"]])).encode() + b"\0")
    (folder / "self").mkdir(exist_ok=True)
    return folder


def busy(folder: Path, before: dict | None = None, seconds: float = 15) -> list[str]:
    """Names of the processes found at work."""
    now = activity.read_processes(folder)
    return [p.name for p in activity.busy_processes(now, before or {}, seconds)]


def in_terminal(name: str, *words: str, **more: object) -> list[dict]:
    """A shell and, in the foreground of its terminal, one program."""
    job = {"pid": 20, "name": name, "words": [*words] or [name], "tty": TTY, "group": 20}
    job |= {"session": 10, "foreground": 20}
    return [SHELL | {"foreground": 20}, job | more]


def test_a_shell_at_its_prompt_is_idle(tmp_path: Path) -> None:
    assert busy(tree(tmp_path, SHELL | {"foreground": 10})) == []


@pytest.mark.parametrize(
    "words",
    [
        ["sleep", "600"],
        ["make", "-j2"],
        ["python", "train.py"],
        ["python3.11", "-m", "http.server"],
        ["python", "-u", "train.py", "--epochs", "3"],
        ["python", "-c", "import time; time.sleep(9)"],
        ["/usr/lib/R/bin/exec/R", "--no-echo", "--no-restore", "--file=fit.R"],
        ["bash", "nightly.sh"],
        ["bash", "-c", "sleep 5; true"],
        ["python", "-O", "train.py"],
        ["scp", "big.csv", "elsewhere:"],
        ["rsync", "-a", "a", "b"],
    ],
)
def test_a_job_in_the_foreground_keeps_the_server(tmp_path: Path, words: list[str]) -> None:
    name = os.path.basename(words[0])[:15]
    assert busy(tree(tmp_path, *in_terminal(name, *words))) == [name]


@pytest.mark.parametrize(
    "words",
    [
        ["vim", "notes.txt"],
        ["nano"],
        ["less", "big.log"],
        ["man", "awk"],
        ["htop"],
        ["tmux", "attach"],
        ["ssh", "elsewhere"],
        ["python"],
        ["python3", "-q"],
        ["/opt/workroom/bin/python", "/opt/workroom/bin/ipython"],
        ["/usr/lib/R/bin/exec/R", "--no-save"],
        ["sqlite3"],
        ["bash"],
        ["bash", "--init-file", "/home/workroom/.vscode-server/shellIntegration-bash.sh"],
        ["java", "-cp", "jars", "org.apache.spark.deploy.SparkSubmit", "pyspark-shell"],
    ],
)
def test_what_waits_for_its_person_does_not(tmp_path: Path, words: list[str]) -> None:
    name = os.path.basename(words[0])[:15]
    assert busy(tree(tmp_path, *in_terminal(name, *words))) == []


def test_a_prompt_that_computes_does(tmp_path: Path) -> None:
    folder = tree(tmp_path, *in_terminal("python", "python", cpu=30))
    assert busy(folder, {(20, 100): 29.9}) == []
    assert busy(folder, {(20, 100): 20.0}) == ["python"]


def test_a_computing_editor_or_shell_is_still_only_waiting(tmp_path: Path) -> None:
    folder = tree(tmp_path, *in_terminal("vim", "vim", cpu=30))
    assert busy(folder, {(20, 100): 0.0}) == []


def test_a_job_in_the_background_or_stopped_is_not_in_the_foreground(tmp_path: Path) -> None:
    shell, job = in_terminal("sleep", "sleep", "600")
    background = [shell | {"foreground": 10}, job | {"foreground": 10}]
    assert busy(tree(tmp_path / "a", *background)) == []
    assert busy(tree(tmp_path / "b", shell, job | {"state": "T"})) == []


def test_a_pane_of_a_detached_tmux_is_a_terminal_like_any_other(tmp_path: Path) -> None:
    server = {"pid": 5, "name": "tmux: server", "words": ["tmux"], "session": 5}
    assert busy(tree(tmp_path, server, *in_terminal("make", "make"))) == ["make"]


SSHD = [
    {"pid": 12, "name": "sshd", "words": ["sshd: /usr/sbin/sshd [listener]"]},
    {"pid": 14, "name": "sshd", "words": ["sshd: workroom@pts/0"], "session": 14},
]


def over_ssh(name: str, *words: str) -> list[dict]:
    """What `ssh host cmd` runs: no terminal, a session of its own, below sshd."""
    return [*SSHD, {"pid": 30, "name": name, "words": [*words], "session": 30, "group": 30}]


def test_a_prompt_over_ssh_is_idle_and_a_job_in_it_is_not(tmp_path: Path) -> None:
    prompt = SHELL | {"foreground": 10}
    assert busy(tree(tmp_path / "a", *SSHD, prompt)) == []
    assert busy(tree(tmp_path / "b", *SSHD, *in_terminal("python", "python", "fit.py"))) == [
        "python"
    ]


def test_ssh_t_with_a_command_is_a_job(tmp_path: Path) -> None:
    make = {"pid": 10, "name": "make", "words": ["make"], "tty": TTY, "foreground": 10}
    assert busy(tree(tmp_path / "a", *SSHD, make)) == ["make"]
    # bash stays where more than one command was given, and shares the group with the job.
    leader = SHELL | {"words": ["bash", "-c", "cd x && sleep 9 && vim"], "foreground": 10}
    job = {"pid": 20, "name": "sleep", "tty": TTY, "group": 10, "session": 10, "foreground": 10}
    assert busy(tree(tmp_path / "b", *SSHD, leader, job)) == ["sleep"]
    assert busy(tree(tmp_path / "c", *SSHD, leader, job | {"name": "vim"})) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bash", ["bash"]),
        ("sh", ["sh", "/home/workroom/.vscode-server/bin/abc/bin/code-server", "--port=0"]),
        ("node", ["/home/workroom/.vscode-server/bin/abc/node", "out/server-main.js"]),
        (
            "node",
            ["node", "--dns-result-order=ipv4first", "bootstrap-fork", "--type=extensionHost"],
        ),
        ("sleep", ["sleep", "180"]),
        ("sftp-server", ["sftp-server"]),
        ("rsync", ["rsync", "--server", "-logDtpre.iLsfxCIvu", ".", "data"]),
    ],
)
def test_what_an_editor_or_a_copy_leaves_running_over_ssh_is_no_job(
    tmp_path: Path, name: str, words: list[str]
) -> None:
    assert busy(tree(tmp_path, *over_ssh(name, *words))) == []


def test_an_r_session_of_rstudio_counts_when_it_computes(tmp_path: Path) -> None:
    folder = tree(tmp_path, {"pid": 7, "name": "rsession", "cpu": 12})
    assert busy(folder, {(7, 100): 11.9}) == []
    assert busy(folder, {(7, 100): 2.0}) == ["rsession"]
    assert busy(folder, {}) == [], "the first sample has nothing to compare with"


def test_a_reused_process_number_is_another_process(tmp_path: Path) -> None:
    folder = tree(tmp_path, {"pid": 7, "name": "rsession", "cpu": 12, "started": 900})
    assert busy(folder, {(7, 100): 2.0}) == []


def test_names_with_brackets_and_processes_that_vanish(tmp_path: Path) -> None:
    folder = tree(tmp_path, *in_terminal("a) b (c", "./odd"))
    (folder / "99").mkdir()
    assert busy(folder) == ["a) b (c"]


def test_the_real_process_table_can_be_read() -> None:
    mine = next(p for p in activity.read_processes() if p.pid == os.getpid())
    assert mine.cpu > 0
    assert mine.words


def test_cpu_of_both_kinds_of_control_group(tmp_path: Path) -> None:
    assert activity.cpu_seconds(tmp_path) is None
    (tmp_path / "cpuacct").mkdir()
    (tmp_path / "cpuacct" / "cpuacct.usage").write_text("2500000000\n")
    assert activity.cpu_seconds(tmp_path) == 2.5
    (tmp_path / "cpu.stat").write_text("usage_usec 7000000\nuser_usec 1\n")
    assert activity.cpu_seconds(tmp_path) == 7.0


def test_cpu_counts_after_a_whole_span_above_the_threshold() -> None:
    window = activity.CpuWindow(threshold=0.2, span=300)
    used, answers = 0.0, []
    for now in range(0, 361, 15):
        answers.append(window.add(now, used))
        used += 15 * 0.5
    assert answers.index(True) == 300 // 15
    assert all(answers[300 // 15 :])


def test_one_quiet_interval_starts_the_span_again() -> None:
    window = activity.CpuWindow(threshold=0.2, span=300)
    used = 0.0
    for now in range(0, 600, 15):
        used += 15 * (0.0 if now == 285 else 0.5)
        reached = window.add(now, used)
        assert reached == (now >= 285 + 300)


def test_an_idle_server_never_reaches_the_threshold() -> None:
    window = activity.CpuWindow()
    assert not any(window.add(now, now * 0.03) for now in range(0, 3600, 15))


def test_keystrokes_are_the_terminals_access_times(tmp_path: Path) -> None:
    assert activity.last_keystroke(tmp_path / "none") == 0.0
    for name, when in (("0", 1000), ("1", 2000), ("ptmx", 9000)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (when, 5000))
    assert activity.last_keystroke(tmp_path) == 2000


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/user/ada/api/contents/a.ipynb"),
        ("DELETE", "/user/ada/api/contents/a.ipynb"),
        ("POST", "/user/ada/api/sessions"),
        ("POST", "/user/ada/api/terminals"),
        ("POST", "/user/ada/rstudio/rpc/console_input"),
        ("POST", "/user/ada/rstudio/rpc/save_document_diff"),
    ],
)
def test_what_a_person_does_in_a_page_is_an_action(method: str, path: str) -> None:
    assert actions.is_action(method, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/user/ada/api/contents"),
        ("GET", "/user/ada/api/kernels"),
        ("GET", "/user/ada/api/terminals"),
        ("PUT", "/user/ada/lab/api/workspaces/default"),
        ("POST", "/user/ada/rstudio/events/get_events"),
        ("POST", "/user/ada/rstudio/rpc/set_client_state"),
        ("POST", "/user/ada/proxy/8050/_dash-update-component"),
    ],
)
def test_what_an_idle_page_does_is_not(method: str, path: str) -> None:
    assert not actions.is_action(method, path)


def test_kernel_messages_by_their_type() -> None:
    assert actions.is_kernel_action('{"header": {"msg_type": "execute_request"}}')
    assert actions.is_kernel_action(b'\x05\x00shell{"msg_type": "input_reply"}')
    assert not actions.is_kernel_action('{"header": {"msg_type": "kernel_info_request"}}')
    assert not actions.is_kernel_action(b'{"msg_type": "comm_info_request"}')
