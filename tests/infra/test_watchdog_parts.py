"""The watchdog's small parts, without a mount or a process that hangs."""

from __future__ import annotations

import ast
import os
import re
import socket
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from workroom_infra.watchdog import fleet, mounts, policy, program, settings, tell
from workroom_infra.watchdog.mounts import Mount
from workroom_infra.watchdog.probes import Probes, started
from workroom_infra.watchdog.watch import Seen, Watch

ROOT = Path(__file__).resolve().parents[2]
CODE = ROOT / "infra" / "workroom_infra" / "watchdog"
UNIT = (CODE / "workroom-mount-watchdog.service").read_text()
PAGE = (ROOT / "docs" / "mount-watchdog.md").read_text()
TABLE = r"""22 1 259:1 / / rw,noatime shared:1 - xfs /dev/root rw
98 22 0:44 / /var/lib/ecs/volumes/ecs-a-home rw,relatime shared:51 - nfs4 127.0.0.1:/ rw,vers=4.1
99 22 0:44 /sub /mnt/same\040one rw,relatime - nfs4 127.0.0.1:/ rw,vers=4.1
120 22 0:45 / /mnt/tab\011and\134 rw master:3 propagate_from:2 - nfs4 127.0.0.1:/ rw
121 22 0:46 / /data rw - fuse.sshfs host: rw
broken line
"""


class TestMounts:
    def test_the_kernels_table_is_read_with_its_escapes(self) -> None:
        points = {mount.point: mount for mount in mounts.parse(TABLE)}
        assert points["/mnt/tab\tand\\"] == Mount("120:0:45", "/mnt/tab\tand\\", "nfs4")
        assert points["/data"].type == "fuse.sshfs"
        assert len(points) == 5

    def test_a_file_system_is_probed_once_and_only_if_chosen(self) -> None:
        found = mounts.chosen(mounts.parse(TABLE), ("nfs", "nfs4"), ("/",))
        assert [mount.key for mount in found] == ["98:0:44", "120:0:45"]
        under = mounts.chosen(mounts.parse(TABLE), ("nfs4",), ("/var/lib/ecs",))
        assert [mount.key for mount in under] == ["98:0:44"]
        assert not mounts.chosen(mounts.parse(TABLE), ("nfs4",), ("/var/lib/ec",))

    def test_the_mount_that_holds_a_path_is_found_by_names(self) -> None:
        found = mounts.holder(mounts.parse(TABLE), "/mnt/same one/run")
        assert found
        assert found.type == "nfs4"
        found = mounts.holder(mounts.parse(TABLE), "/run/x")
        assert found
        assert found.type == "xfs"

    def test_this_machines_table_can_be_read(self) -> None:
        assert any(mount.point == "/" for mount in mounts.read())


class TestWatch:
    HOME, DATA = Mount("1:0:1", "/home", "nfs4"), Mount("2:0:2", "/data", "nfs4")

    def test_one_probe_at_most_for_each_mount(self) -> None:
        watch = Watch(5, 15)
        watch.update([self.HOME], 0)
        assert watch.due(0) == [self.HOME]
        watch.asked(self.HOME.key, 0)
        assert watch.due(1000) == []

    def test_it_hangs_from_the_limit_on_and_until_it_answers(self) -> None:
        watch = Watch(5, 15)
        watch.update([self.HOME, self.DATA], 0)
        watch.asked(self.HOME.key, 0)
        assert watch.seen(14.9) == Seen()
        assert watch.seen(15) == Seen(("/home",), 1)
        watch.answered(self.HOME.key, 40, 0)
        assert watch.seen(40) == Seen()
        assert watch.watched[self.HOME.key].took == 40
        assert watch.due(44.9) == [self.DATA]
        assert self.HOME in watch.due(45)

    def test_a_probe_that_never_began_says_nothing(self) -> None:
        watch = Watch(5, 15)
        watch.update([self.HOME], 0)
        assert watch.due(0)
        assert watch.seen(1000) == Seen()
        watch.lost(self.HOME.key, 1000)
        assert watch.due(1000) == []
        assert watch.due(1005) == [self.HOME]

    def test_a_mount_that_went_away_hangs_no_more_but_its_probe_is_counted(self) -> None:
        watch = Watch(5, 15)
        watch.update([self.HOME], 0)
        watch.asked(self.HOME.key, 0)
        watch.update([], 10)
        assert watch.seen(20) == Seen((), 1)
        watch.answered(self.HOME.key, 30, 116)
        assert watch.seen(30) == Seen()
        assert not watch.watched

    def test_mounted_anew_it_is_another_mount(self) -> None:
        watch = Watch(5, 15)
        watch.update([self.HOME], 0)
        watch.asked(self.HOME.key, 0)
        again = Mount("9:0:9", "/home", "nfs4")
        watch.update([again], 20)
        assert watch.due(20) == [again]
        assert watch.seen(20).hung == ()

    def test_the_probe_of_an_earlier_watchdog_counts_from_now_on(self) -> None:
        watch = Watch(5, 15)
        watch.adopt(self.HOME, 0)
        watch.update([self.HOME], 1)
        assert watch.due(10) == []
        assert watch.seen(15) == Seen(("/home",), 1)


class TestProbes:
    @pytest.mark.parametrize(("point", "error"), [("/", 0), ("/no/such/folder", 2)])
    def test_an_answer_is_an_answer_errors_included(self, point: str, error: int) -> None:
        probes, said = Probes(4), []
        assert probes.start(Mount("1:0:1", point, "x"))
        assert not probes.start(Mount("1:0:1", point, "x")), "one at most for each mount"
        while probes.out:
            said += probes.collect(5)
        assert [(word.what, word.error) for word in said] == [("begun", 0), ("answered", error)]

    def test_there_is_a_limit_to_all_of_them(self) -> None:
        probes = Probes(1)
        assert probes.start(Mount("1:0:1", "/", "x"))
        assert not probes.start(Mount("2:0:2", "/", "x"))
        while probes.out:
            probes.collect(5)
        assert probes.start(Mount("2:0:2", "/", "x"))
        while probes.out:
            probes.collect(5)

    def test_only_the_same_process_is_adopted(self) -> None:
        me = {"key": "1:0:1", "point": "/", "type": "x", "pid": os.getpid()}
        probes = Probes(4)
        assert probes.adopt([{**me, "started": 1}]) == []
        own = started(os.getpid())
        assert [mount.key for mount in probes.adopt([{**me, "started": own}])] == ["1:0:1"]
        assert not probes.start(Mount("1:0:1", "/", "x"))


class TestSettings:
    def test_what_is_given_is_read(self) -> None:
        given = {"HANG_AFTER": "20", "UNDER": "/a, /b", "RETURNS": "0", "METRICS": "W/M"}
        chosen = settings.load({f"{settings.PREFIX}{name}": text for name, text in given.items()})
        assert (chosen.hang_after, chosen.under) == (20.0, ("/a", "/b"))
        assert (chosen.returns, chosen.metrics) == (0, "W/M")

    @pytest.mark.parametrize(
        ("name", "value", "fix"),
        [
            ("HANG_AFTER", "soon", "give a number from 1 to 600"),
            ("HANG_AFTER", "0", "give a number from 1 to 600"),
            ("HANG_AFTER", "nan", "give a number from 1 to 600"),
            ("RETURNS", "1.5", "give a whole number from 0 to 100"),
            ("SHARE", "2", "give a number from 0.01 to 1"),
            ("HANG_AFTR", "9", "did you mean WORKROOM_WATCHDOG_HANG_AFTER?"),
            ("TYPES", " , ", "give words with commas between them, such as nfs,nfs4"),
            ("UNDER", "var", "begin it with a slash"),
            ("STATE_FOLDER", "run", "give a folder on local disk"),
            ("AGENT", "localhost", "begin it with http://"),
            ("DEADLINE", "60", "give a deadline that is at least as long"),
        ],
    )
    def test_what_cannot_be_is_named_with_its_value_and_the_fix(
        self,
        name: str,
        value: str,
        fix: str,
        capfd: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv(settings.PREFIX + name, value)
        assert program.main([]) == 78
        said = capfd.readouterr().err
        assert f"{settings.PREFIX}{name}={value}" in said
        assert fix in said

    def test_a_state_folder_on_what_is_probed_is_refused(
        self, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = mounts.holder(mounts.read(), "/")
        assert root
        monkeypatch.setenv(f"{settings.PREFIX}TYPES", root.type)
        monkeypatch.setenv(f"{settings.PREFIX}STATE_FOLDER", "/no-such-folder/run")
        assert program.main([]) == 78
        assert f"is on the {root.type} mount" in capfd.readouterr().err

    def test_check_prints_them_all(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert program.main(["--check"]) == 0
        printed = capsys.readouterr().out
        assert settings.load(dict(line.split("=", 1) for line in printed.splitlines()))
        assert "WORKROOM_WATCHDOG_TYPES=nfs,nfs4" in printed

    def test_every_setting_is_on_the_page(self) -> None:
        for entry in fields(settings.Settings):
            default = entry.default
            shown = ",".join(default) if isinstance(default, tuple) else f"{default}"
            row = f"| `{entry.name.upper()}` | `{shown or ' '}` | {entry.metadata['about']} |"
            assert row in PAGE


class TestClock:
    def test_time_in_which_it_did_not_run_does_not_count(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A machine that was paused finds its probes late, and nobody to blame."""
        chosen = replace(settings.Settings(), types=("no-such",), state_folder=str(tmp_path))
        dog = program.Watchdog(chosen)
        monkeypatch.setattr(dog._helper, "ask", lambda *_: None)
        dog._last -= 3600
        dog.tick()
        assert 0 < dog._awake <= program.LONGEST_STEP < chosen.hang_after / 5

    def test_probes_that_cannot_be_started_are_no_hang(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        root = mounts.holder(mounts.read(), "/")
        assert root
        chosen = replace(settings.Settings(), types=(root.type,), state_folder=str(tmp_path))
        dog = program.Watchdog(chosen)
        monkeypatch.setattr(dog._helper, "ask", lambda *_: None)
        monkeypatch.setattr("workroom_infra.watchdog.probes.fork", _no_process_left)
        for _ in range(3):
            dog.tick()
        assert dog._watch.seen(1e9) == Seen()
        assert capfd.readouterr().err.count("ALARM cannot start a probe") == 1


def _no_process_left() -> int:
    raise BlockingIOError(11, "Resource temporarily unavailable")


class TestFleet:
    @pytest.mark.parametrize(
        ("machines", "most"), [(0, 1), (1, 1), (9, 1), (10, 2), (14, 2), (500, 100)]
    )
    def test_a_fifth_of_them_and_one_always(self, machines: int, most: int) -> None:
        assert fleet.allowed(machines, 0.2) == most

    def test_claims_that_nobody_renewed_do_not_count(self) -> None:
        assert fleet.count(["1000", "200", "by hand", ""], now=1200.0) == 3
        assert fleet.RENEW * 2 < fleet.CLAIM_LIFE


class TestPolicy:
    STATEMENTS = policy.statements(
        cluster="workroom", groups=["machines"], region="eu-central-1", account="123456789012"
    )

    def test_it_grants_what_the_code_calls_and_nothing_else(self) -> None:
        source = (CODE / "aws.py").read_text()
        called = set(re.findall(r"self\._(ecs|groups|metrics)\.(\w+)\(", source))
        service = {"ecs": "ecs", "groups": "autoscaling", "metrics": "cloudwatch"}
        actions = {f"{service[s]}:{name.title().replace('_', '')}" for s, name in called}
        measured = policy.statements(
            cluster="c", groups=["g"], region="r", account="a", metrics="Workroom/Mounts"
        )
        assert _actions(measured) == actions
        assert _actions(self.STATEMENTS) == actions - {"cloudwatch:PutMetricData"}

    def test_every_write_is_bound_to_the_cluster_or_the_group(self) -> None:
        for statement in self.STATEMENTS:
            assert statement["Resource"] != "*"
            assert "*" not in str(statement["Action"])
        [marks, _, replaces] = self.STATEMENTS
        assert marks["Condition"]["ArnEquals"]["ecs:cluster"].endswith(":cluster/workroom")
        [group] = replaces["Resource"]
        assert group.endswith(":autoScalingGroupName/machines")

    def test_the_namespace_bounds_the_metrics(self) -> None:
        found = policy.statements(cluster="c", groups=["g"], region="r", account="a", metrics="N")
        assert found[-1]["Condition"] == {"StringEquals": {"cloudwatch:namespace": "N"}}

    def test_the_page_shows_this_policy(self) -> None:
        for action in _actions(self.STATEMENTS):
            assert action in PAGE


def _actions(statements: list[dict[str, object]]) -> set[str]:
    found: set[str] = set()
    for statement in statements:
        actions = statement["Action"]
        found |= {actions} if isinstance(actions, str) else set(actions)  # type: ignore[call-overload]
    return found


class TestUnit:
    def test_nothing_in_it_needs_a_mount_namespace(self) -> None:
        """systemd walks over all mounts to make one, and hangs when one of them does."""
        makes = r"^(Protect(?!Clock)|Private|ReadOnly|ReadWrite|Inaccessible|Bind|Temporary|Dynamic"
        makes += r"|RootDirectory|RootImage|MountAPIVFS|MountFlags|StateDirectory|CacheDirectory)"
        lines = [line for line in UNIT.splitlines() if re.match(makes, line)]
        assert lines == []

    def test_it_is_restarted_watched_and_bounded(self) -> None:
        named = dict(line.split("=", 1) for line in UNIT.splitlines() if "=" in line[:40])
        assert named["Restart"] == "always"
        assert float(named["WatchdogSec"]) > 10 * program.TICK
        assert named["KillMode"] == "process"
        assert int(named["TasksMax"]) > settings.Settings().max_probes
        assert named["CapabilityBoundingSet"] == "CAP_DAC_READ_SEARCH"
        assert named["RuntimeDirectory"] == Path(settings.Settings().state_folder).name
        assert named["RuntimeDirectoryPreserve"] == "yes"
        for limit in ("MemoryMax", "LimitNPROC", "NoNewPrivileges", "SystemCallFilter"):
            assert limit in named


class TestTell:
    def test_systemd_is_told_on_its_socket(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(tmp_path / "notify"))
            tell.systemd("WATCHDOG=1", {"NOTIFY_SOCKET": str(tmp_path / "notify")})
            assert manager.recv(100) == b"WATCHDOG=1"
        tell.systemd("WATCHDOG=1", {"NOTIFY_SOCKET": str(tmp_path / "gone")})
        tell.systemd("WATCHDOG=1", {})

    def test_a_log_that_nobody_reads_is_not_waited_for(self) -> None:
        reader, writer = os.pipe()
        kept = os.dup(2)
        try:
            os.set_blocking(writer, False)
            os.dup2(writer, 2)
            for _ in range(20):
                tell.log("x" * 10000)
        finally:
            os.dup2(kept, 2)
            for end in (reader, writer, kept):
                os.close(end)

    def test_a_state_that_is_not_ours_is_no_state(self, tmp_path: Path) -> None:
        state = tell.StateFile(str(tmp_path))
        assert state.read() == {}
        for text in ("{", "[]", '{"version": 2}'):
            state.path.write_text(text)
            assert state.read() == {}
        state.write({"phase": "drained"})
        assert tell.StateFile(str(tmp_path)).read()["phase"] == "drained"


class TestLanguage:
    @pytest.mark.parametrize("path", sorted(CODE.glob("*.py")), ids=lambda path: path.name)
    def test_it_is_python_3_9_and_imports_only_boto3(self, path: Path) -> None:
        tree = ast.parse(path.read_text(), feature_version=(3, 9))
        allowed = {"boto3", "botocore"} if path.name == "aws.py" else set()
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                top = name.partition(".")[0]
                ours = name.startswith("workroom_infra.watchdog")
                assert ours or top in sys.stdlib_module_names or top in allowed, name
            # New in 3.10, and not seen by the parser.
            if isinstance(node, ast.Call):
                words = {word.arg for word in node.keywords}
                assert not words & {"slots", "kw_only"}
                assert not (getattr(node.func, "id", "") == "zip" and "strict" in words)
