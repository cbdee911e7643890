"""What keeps a server alive, read from the process table and the control group.

Pure functions of a /proc tree, a control group folder and the sample before; `monitor.py` calls
them on a clock. Three things are found here:

* a job in the foreground of a terminal, be it in the browser, over ssh, in tmux (attached or
  not) or in RStudio;
* an R session of RStudio, or a prompt such as `python`, that computes;
* keystrokes: the kernel of the system moves a terminal's access time when its programs read what
  was typed (in steps of 8 seconds).

A shell, an editor, a pager or a prompt that merely waits for its person is not work, nor is a
client such as tmux or ssh through which she would type.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PROC = Path("/proc")
TERMINALS = Path("/dev/pts")
CGROUP = Path("/sys/fs/cgroup")
TICKS = os.sysconf("SC_CLK_TCK")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SHELLS = frozenset({"bash", "sh", "dash", "zsh", "fish", "ksh", "csh", "tcsh"})
EDITORS = _words("vi vim vim.tiny vim.basic view nvim nano emacs joe micro mc")
PAGERS = _words("less more man pager info")
# Something is typed into them or looked at, and they run on for ever.
WINDOWS = _words("tmux screen ssh sftp mosh-client top htop watch su sudo")
WAITING = SHELLS | EDITORS | PAGERS | WINDOWS
# Prompts, when they are not given a script.
PROMPTS = _words(
    "R Rterm ipython ipython3 jupyter-console pyspark sparkR spark-shell julia node scala irb "
    "octave gdb pdb sqlite3 psql mysql beeline"
)
R_SESSIONS = frozenset({"rsession", "rsession-start"})

# A prompt or an R session computes when it uses more of one core than this.
COMPUTING = 0.05


@dataclass(frozen=True)
class Process:
    """One process, as /proc shows it.

    Attributes:
        name: Short name (`comm`, at most 15 characters).
        state: One letter: R running, S sleeping, T stopped, Z dead.
        tty: Number of its terminal; 0 if it has none.
        group: Its process group.
        session: Its session, which is the process that leads its terminal.
        foreground: The process group its terminal listens to; -1 if it has none.
        cpu: Seconds of CPU used so far.
        started: Clock ticks after boot when it started; with `pid` it is unique.
        words: Its command line.
    """

    pid: int
    name: str
    state: str
    tty: int
    group: int
    session: int
    foreground: int
    cpu: float
    started: int
    words: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[int, int]:
        """Identity that outlives the reuse of process numbers."""
        return self.pid, self.started


def read_processes(proc: Path = PROC) -> list[Process]:
    """Every process that can be read; one that ends meanwhile is left out."""
    found = []
    for entry in os.scandir(proc):
        if entry.name.isdecimal():
            process = _read_process(Path(entry.path))
            if process:
                found.append(process)
    return found


def _read_process(folder: Path) -> Process | None:
    try:
        stat = (folder / "stat").read_text(errors="replace")
        command = (folder / "cmdline").read_bytes()
    except OSError:
        return None
    # The name stands in brackets and may hold blanks and brackets itself.
    name = stat[stat.index("(") + 1 : stat.rindex(")")]
    fields = stat[stat.rindex(")") + 2 :].split()
    return Process(
        pid=int(folder.name),
        name=name,
        state=fields[0],
        group=int(fields[2]),
        session=int(fields[3]),
        tty=int(fields[4]),
        foreground=int(fields[5]),
        cpu=(int(fields[11]) + int(fields[12])) / TICKS,
        started=int(fields[19]),
        words=tuple(command.decode(errors="replace").rstrip("\0").split("\0")) if command else (),
    )


def busy_processes(
    now: Iterable[Process], before: Mapping[tuple[int, int], float], seconds: float
) -> Iterator[Process]:
    """Processes that are somebody's work in progress.

    Args:
        now: The process table.
        before: CPU seconds of each process (by `Process.key`) one sample earlier.
        seconds: Time between the two samples.
    """
    for process in now:
        share = (process.cpu - before.get(process.key, process.cpu)) / max(seconds, 1e-6)
        if process.name in R_SESSIONS:
            if share > COMPUTING:
                yield process
        elif not in_foreground(process) or process.state in "TZX":
            continue
        elif _has_job(process) or (share > COMPUTING and process.name not in WAITING):
            yield process


def in_foreground(process: Process) -> bool:
    """Whether its terminal listens to it; the shell that leads the terminal counts too."""
    return process.tty != 0 and process.foreground > 0 and process.group == process.foreground


def _has_job(process: Process) -> bool:
    """Whether a process in the foreground is work by what it is, computing or waiting."""
    if process.name in SHELLS:
        # A script has a name; `bash` and `bash -l` are somebody's prompt. A script's shell
        # leads the group; one that leads the terminal is the log-in shell.
        return process.pid != process.session and _runs_script(process.words)
    if process.name in WAITING or process.name.startswith("tmux"):
        return False
    # What leads a terminal and is neither shell nor prompt was started for a job, such as
    # `ssh host make`.
    return not _is_prompt(process)


def _is_prompt(process: Process) -> bool:
    words = process.words
    program = os.path.basename(words[0]).lstrip("-") if words else process.name
    if program.startswith("python"):
        script = next((word for word in words[1:] if not word.startswith("-")), None)
        if script and os.path.basename(script) in PROMPTS:
            return not _runs_script(words[words.index(script) :])
        return not _runs_script(words)
    if program == "java":
        return "pyspark-shell" in words or "pyspark-shell-main" in words
    return (program in PROMPTS or process.name in PROMPTS) and not _runs_script(words)


def _runs_script(words: tuple[str, ...]) -> bool:
    """Whether an interpreter was given something to run, by its command line."""
    following = iter(words[1:])
    for word in following:
        if word in {"--init-file", "--rcfile"}:
            next(following, None)  # what a prompt reads first, as in an editor's terminal
            continue
        if word in {"-c", "-m", "-e", "-f"} or word.startswith(("--file=", "--eval=", "-c")):
            return True
        if word == "--args":
            return False
        if not word.startswith("-"):
            return True
    return False


def last_keystroke(terminals: Path = TERMINALS) -> float:
    """When something was last typed in any terminal, in seconds since the epoch; 0 if never."""
    latest = 0.0
    try:
        entries = list(os.scandir(terminals))
    except OSError:
        return latest
    for entry in entries:
        if entry.name.isdecimal():
            try:
                latest = max(latest, entry.stat().st_atime)
            except OSError:
                continue
    return latest


def cpu_seconds(cgroup: Path = CGROUP) -> float | None:
    """CPU seconds the container has used (control groups v1 and v2); None if it cannot be told."""
    try:
        for line in (cgroup / "cpu.stat").read_text().splitlines():
            if line.startswith("usage_usec"):
                return int(line.split()[1]) / 1e6
    except OSError:
        pass
    for folder in ("cpuacct", "cpu,cpuacct"):
        try:
            return int((cgroup / folder / "cpuacct.usage").read_text()) / 1e9
        except OSError:
            continue
    return None


@dataclass
class CpuWindow:
    """Says whether the container's CPU stayed above a threshold for a whole span of time.

    Attributes:
        threshold: Cores, such as 0.2.
        span: Seconds.
    """

    threshold: float = 0.2
    span: float = 300.0
    _samples: deque[tuple[float, float]] = field(default_factory=deque)

    def add(self, now: float, used: float) -> bool:
        """Take a sample and answer.

        Args:
            now: Seconds on a clock that never jumps.
            used: CPU seconds the container has used so far.

        Returns:
            True when every interval between samples of the last `span` seconds was above the
            threshold, and there are samples for that long.
        """
        if self._samples:
            then, before = self._samples[-1]
            if now <= then:
                return False
            if (used - before) / (now - then) <= self.threshold:
                self._samples.clear()
        self._samples.append((now, used))
        while len(self._samples) > 2 and now - self._samples[1][0] >= self.span:
            self._samples.popleft()
        return now - self._samples[0][0] >= self.span
