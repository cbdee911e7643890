"""What is asked of the engine, the firewall and the proxy, as plain data."""

from __future__ import annotations

import os
import pwd
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workroom_hub.machine import (
    doctor,
    down,
    firewall,
    network,
    proxy,
    status,
)
from workroom_hub.machine.console import Reporter
from workroom_hub.machine.network import UsersNetwork
from workroom_hub.machine.stack import Stack
from workroom_hub.runtime import SECRETS, read_installation, read_secret, renew_secret
from workroom_hub.settings import Settings

USERS = UsersNetwork("workroom-users", "wr-workroom", "172.30.0.1")


def stack(home: Path, **settings: Any) -> Stack:
    return Stack(Settings.model_validate(settings), None, home, Reporter(quiet=True))


# -- firewall ------------------------------------------------------------------------


def test_containers_reach_the_hub_and_nothing_else() -> None:
    assert firewall.rules("workroom", USERS, 8081).ipv4 == (
        "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        "-d 172.30.0.1/32 -p tcp -m tcp --dport 8081 -j ACCEPT",
        "-j REJECT --reject-with icmp-port-unreachable",
    )


def test_a_name_server_on_this_machine_stays_reachable() -> None:
    made = firewall.rules("workroom", USERS, 8081, dns=("10.0.0.5",)).ipv4
    assert made[2:4] == (
        "-d 10.0.0.5/32 -p udp -m udp --dport 53 -j ACCEPT",
        "-d 10.0.0.5/32 -p tcp -m tcp --dport 53 -j ACCEPT",
    )
    assert made[-1].startswith("-j REJECT")


def test_only_own_addresses_count_as_local_name_servers() -> None:
    assert firewall.local_dns(["127.0.0.53", "192.0.2.77", "not an address", "::1"]) == ()


def test_rules_are_in_force_only_if_each_is_there() -> None:
    wanted = firewall.rules("workroom", USERS, 8081)
    listed = """-N WORKROOM-workroom
-A WORKROOM-workroom -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A WORKROOM-workroom -d 172.30.0.1/32 -p tcp -m tcp --dport 8081 -j ACCEPT
-A WORKROOM-workroom -j REJECT --reject-with icmp-port-unreachable
"""
    assert firewall.same_rules(listed, wanted.chain, wanted.ipv4)
    wider = listed.replace("-d 172.30.0.1/32 -p tcp -m tcp --dport 8081 ", "")
    assert not firewall.same_rules(wider, wanted.chain, wanted.ipv4)
    assert not firewall.same_rules(listed.replace("8081", "8082"), wanted.chain, wanted.ipv4)
    assert not firewall.same_rules("", wanted.chain, wanted.ipv4)


def test_without_root_the_command_to_run_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firewall, "_kernel_has_ipv6", lambda: True)
    wanted = firewall.rules("workroom", USERS, 8081)
    tmp_path = tmp_path / "our state"
    tmp_path.mkdir()
    command = firewall.manual_command(wanted, tmp_path)
    assert f"sudo iptables-restore --noflush '{tmp_path}/firewall.v4'" in command
    assert f"sudo ip6tables-restore --noflush '{tmp_path}/firewall.v6'" in command
    assert "sudo ip6tables -I INPUT -i wr-workroom -j WORKROOM-workroom" in command
    assert "-j REJECT" in (tmp_path / "firewall.v6").read_text()
    assert "sudo iptables -I INPUT -i wr-workroom -j WORKROOM-workroom" in command
    assert "sudo iptables -I DOCKER-USER -i wr-workroom -d 169.254.0.0/16 -j DROP" in command
    lines = (tmp_path / "firewall.v4").read_text().splitlines()
    assert lines[:2] == ["*filter", ":WORKROOM-workroom - [0:0]"]
    assert lines[-2:] == [
        "-A WORKROOM-workroom -j REJECT --reject-with icmp-port-unreachable",
        "COMMIT",
    ]


def test_without_root_the_command_that_removes_them_names_all_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(firewall, "_kernel_has_ipv6", lambda: True)
    command = firewall.manual_removal("workroom", "wr-workroom")
    for piece in (
        "-D INPUT -i wr-workroom -j WORKROOM-workroom",
        "-F WORKROOM-workroom",
        "-X WORKROOM-workroom",
        "-D DOCKER-USER -i wr-workroom -d 169.254.0.0/16 -j DROP",
    ):
        assert f"sudo iptables {piece}" in command
        assert f"sudo ip6tables {piece}" in command or "DOCKER-USER" in piece


# -- doctor --------------------------------------------------------------------------


def test_an_account_with_the_containers_number_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "UID", os.geteuid())
    name = pwd.getpwuid(os.geteuid()).pw_name
    check = doctor.containers_user()
    assert check.state == "failed"
    assert f"'{name}'" in check.message
    assert f"sudo usermod -u NUMBER {name}" in check.fix
    monkeypatch.setattr(doctor, "UID", 59998)
    assert doctor.containers_user().state == "ok"


# -- names ---------------------------------------------------------------------------

INSTANCES = ["w", "workroom", "a" * 12, "a" * 13, "a" * 32, "a" * 31 + "b", "team-research-1"]


def test_names_fit_the_kernel_and_differ() -> None:
    bridges = [network.bridge_name(name) for name in INSTANCES]
    chains = [firewall.chain_name(name) for name in INSTANCES]
    assert all(len(name) <= 15 for name in bridges)
    assert all(len(name) <= 28 for name in chains)
    assert len(set(bridges)) == len(set(chains)) == len(INSTANCES)


# -- network -------------------------------------------------------------------------


def as_made(**changes: Any) -> dict[str, Any]:
    return {
        "Driver": "bridge",
        "EnableIPv6": False,
        "Labels": {"io.workroom.instance": "workroom", "io.workroom.home": "/state"},
        "Options": {
            "com.docker.network.bridge.enable_icc": "false",
            "com.docker.network.bridge.name": "wr-workroom",
        },
        "IPAM": {"Config": [{"Subnet": "172.30.0.0/16", "Gateway": "172.30.0.1"}]},
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, ""),
        ({"Driver": "overlay"}, "driver overlay"),
        ({"EnableIPv6": True}, "IPv6 is on"),
        ({"Labels": None}, "its labels are of another installation"),
        (
            {"Labels": {"io.workroom.instance": "workroom", "io.workroom.home": "/other"}},
            "its labels are of another installation",
        ),
        ({"Options": {}}, "its containers can reach each other"),
        ({"IPAM": {"Config": [{"Subnet": "10.1.0.0/16"}]}}, "its address range is 10.1.0.0/16"),
    ],
)
def test_a_network_is_used_only_if_it_is_as_we_make_it(
    changes: dict[str, Any], wanted: str
) -> None:
    settings = Settings.model_validate({"local": {"subnet": "172.30.0.0/16"}})
    assert network._wrong(as_made(**changes), settings, Path("/state")) == wanted


def test_a_gateway_the_engine_leaves_out_is_the_first_address() -> None:
    attrs = as_made(Name="workroom-users", IPAM={"Config": [{"Subnet": "172.30.0.0/16"}]})
    assert network._described(attrs, Settings()) == USERS


# -- proxy and address ---------------------------------------------------------------


def test_the_proxy_is_started_as_the_hub_would(tmp_path: Path) -> None:
    web = {"host": "0.0.0.0", "port": 80, "isolation": "subdomain"}
    web["public_url"] = "https://workroom.example.com"
    assert proxy.arguments(stack(tmp_path, web=web), "172.30.0.1") == [
        *("--ip", "0.0.0.0", "--port", "80"),
        *("--api-ip", "127.0.0.1", "--api-port", "8001"),
        *("--default-target", "http://172.30.0.1:8081"),
        *("--error-target", "http://172.30.0.1:8081/hub/error"),
        *("--log-level", "warn"),
        "--host-routing",
    ]
    assert "--host-routing" not in proxy.arguments(stack(tmp_path), "172.30.0.1")


def test_processes_inherit_no_hub_of_somebody_else(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "of another hub")
    monkeypatch.setenv("CONFIGPROXY_AUTH_TOKEN", "of another proxy")
    monkeypatch.setenv("WORKROOM_CONFIG", "gone.yaml")
    env = stack(tmp_path).environment
    assert env["WORKROOM_HOME"] == str(tmp_path)
    assert not {"JUPYTERHUB_API_TOKEN", "CONFIGPROXY_AUTH_TOKEN", "WORKROOM_CONFIG"} & set(env)


# -- purge ---------------------------------------------------------------------------


def test_purge_takes_the_homes_of_this_installation_only(tmp_path: Path) -> None:
    labels = {"io.workroom.instance": "workroom", "io.workroom.installation": ""}
    ours = {**labels, "io.workroom.installation": read_installation(tmp_path)}

    class Volumes:
        def list(self, filters: dict[str, str]) -> list[Any]:
            assert filters == {"label": "io.workroom.instance=workroom"}
            return [
                SimpleNamespace(name="theirs", attrs={"Labels": {**labels, "x": "y"}}),
                SimpleNamespace(name="ours", attrs={"Labels": ours}),
                SimpleNamespace(name="of-no-one", attrs={"Labels": None}),
            ]

    client: Any = SimpleNamespace(volumes=Volumes())
    found, kept = down.homes(client, stack(tmp_path))
    assert [volume.name for volume in found] == ["ours"]
    assert kept == ["of-no-one", "theirs"]


def test_the_installation_keeps_its_id(tmp_path: Path) -> None:
    first = read_installation(tmp_path)
    assert len(first) == 32
    assert read_installation(tmp_path) == first
    assert read_installation(tmp_path / "other") != first


# -- state folder --------------------------------------------------------------------


def test_the_state_folder_is_private(tmp_path: Path) -> None:
    made = stack(tmp_path / "state")
    with made.locked():
        made.prepare_home()
    assert made.home.stat().st_mode & 0o777 == 0o700
    secrets = sorted((made.home / "secrets").iterdir())
    assert [s.name for s in secrets] == sorted(SECRETS)
    assert {s.stat().st_mode & 0o777 for s in secrets} == {0o600}
    before = [s.read_text() for s in secrets]
    made.prepare_home()
    assert [s.read_text() for s in secrets] == before


def test_two_that_make_a_secret_at_once_get_the_same(tmp_path: Path) -> None:
    made: list[str] = []
    start = threading.Barrier(8)

    def make() -> None:
        start.wait()
        made.append(read_secret(tmp_path, "cli-token"))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len(set(made)) == 1
    assert [p.name for p in (tmp_path / "secrets").iterdir()] == ["cli-token"]


def test_an_empty_secret_is_none(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "cli-token").touch()
    first = read_secret(tmp_path, "cli-token")
    assert len(first) == 64
    assert renew_secret(tmp_path, "cli-token") != first


def test_a_lock_that_a_purge_removed_is_taken_anew(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with stack(tmp_path).locked():
            order.append("second")
            assert (tmp_path / "up.lock").exists()

    with stack(tmp_path).locked():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.3)
        (tmp_path / "up.lock").unlink()
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_two_commands_take_turns(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with stack(tmp_path).locked():
            order.append("second")

    with stack(tmp_path).locked():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.3)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


# -- status --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "wanted"),
    [
        ({"usage": 100, "stats": {"inactive_file": 30}}, 70),
        ({"usage": 100, "stats": {"total_inactive_file": 40, "inactive_file": 30}}, 60),
        ({"usage": 10, "stats": {"inactive_file": 30}}, 10),
        ({"usage": 10}, 10),
        ({}, None),
    ],
)
def test_memory_is_counted_without_the_file_cache(
    memory: dict[str, Any], wanted: int | None
) -> None:
    assert status.memory_used(memory) == wanted


def test_servers_join_what_hub_and_engine_say() -> None:
    known = [
        {"user": "ann", "server": "", "profile": "small", "state": "running", "uptime_seconds": 9},
        {
            "user": "bob",
            "server": "gpu",
            "profile": None,
            "state": "starting",
            "uptime_seconds": None,
        },
    ]
    measured = {
        ("ann", ""): {"user": "ann", "server": "", "memory_bytes": 5, "memory_limit_bytes": 10}
    }
    ann, bob = status._servers(known, measured)
    assert ann == {**known[0], "memory_bytes": 5, "memory_limit_bytes": 10}
    assert bob == {**known[1], "memory_bytes": None, "memory_limit_bytes": None}
    [alone] = status._servers(None, measured)
    assert (alone["user"], alone["state"]) == ("ann", "running")
