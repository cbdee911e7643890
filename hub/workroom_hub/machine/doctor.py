"""`workroom doctor`: every check is one line that says ok, or what to do.

    ok       as it must be
    note     works, and something is worth knowing
    failed   does not work; the line names the fix

Each check is a function that returns one `Check`; what it needs from an earlier one (the
engine's client, the users' network) is handed to it, and it says so when that is missing.
"""

from __future__ import annotations

import os
import pwd
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workroom_hub import config_file
from workroom_hub.errors import WorkroomError
from workroom_hub.machine import (
    data,
    emulator,
    engine,
    firewall,
    hub,
    images_command,
    network,
    probe,
    processes,
)
from workroom_hub.machine import doctor_running as running
from workroom_hub.machine.check import Check
from workroom_hub.machine.console import Reporter, human_bytes
from workroom_hub.machine.stack import Stack
from workroom_hub.runtime import state_folder
from workroom_hub.settings import Oidc, Settings, offered_profiles
from workroom_spawner.requests import UID

if TYPE_CHECKING:
    from docker import DockerClient

_DISK_NEEDED, _DISK_WANTED = 2 * 2**30, 8 * 2**30


def run(seen: Callable[[Check], None] | None = None) -> list[Check]:
    """Do every check and return the outcomes; nothing is changed.

    Args:
        seen: Called with each outcome as soon as it is known.
    """
    checks: list[Check] = []

    def add(check: Check) -> None:
        checks.append(check)
        if seen:
            seen(check)

    stack, check = _settings()
    add(check)
    add(_state_folder(stack))
    client = None
    if stack.spawner == "local" or stack.emulated:
        client, check = _engine()
        add(check)
    else:
        add(running.for_the_cluster_check(stack.settings))
        add(running.hub_url_check(stack.settings))
    if client is not None:
        info = client.info()
        if stack.emulated:
            add(Check("limits", "note", "the AWS emulator sets none: a server may use everything"))
            add(_offered(stack.settings, int(info["NCPU"]), int(info["MemTotal"])))
        else:
            add(_limits(info))
            add(_fits(stack.settings, int(info["NCPU"]), int(info["MemTotal"])))
        add(_disk("disk of the engine", info["DockerRootDir"]))
    add(_disk("disk of the state folder", str(_existing(stack.home))))
    add(_memory())
    add(_ca_bundle(stack.settings))
    add(containers_user())
    if stack.settings.auth.oidc:
        add(_oidc(stack.settings.auth.oidc))
    add(running.proxy_check(stack))
    add(running.hub_check(stack))
    add(running.ssh_check(stack))
    if stack.settings.ssh.enabled:
        add(running.ssh_keys_check(stack))
    if data.is_here(stack):
        add(running.object_store_check(stack))
        add(running.metastore_check(stack, client))
    elif stack.settings.data.enabled:
        add(running.data_elsewhere_check(stack))
    if stack.settings.registry.kind != "none":
        add(running.registry_check(stack))
    if stack.emulated:
        there = emulator.answers(stack)
        add(running.emulator_check(stack, client, answers=there))
        if there:  # else its line has said all there is to say
            add(running.cluster_check(stack))
    elif stack.spawner == "ecs":
        add(running.cluster_check(stack))
    if client is not None:
        for check in _with_engine(client, stack):
            add(check)
    return checks


def _with_engine(client: DockerClient, stack: Stack) -> list[Check]:
    users = network.find(client, stack.settings)
    checks = [_images(client, stack), _firewall(stack, users)]
    first, new = images_command.current(stack, damaged_as_none=True)[0]
    image = new.ref if new else first.ref
    if users is None:
        checks.append(Check("inside a container", "note", "not tried: `workroom up` comes first"))
        return checks
    try:
        seen = probe.look(client, stack, users, image)
    except WorkroomError as error:
        return [*checks, Check("inside a container", "failed", error.message, error.fix)]
    return [*checks, _reach(stack, seen), _dns(seen), _tls(seen)]


def _settings() -> tuple[Stack, Check]:
    try:
        stack = Stack.load(quiet=True)
    except WorkroomError as error:
        stack = Stack(Settings(), None, state_folder(), Reporter(quiet=True))
        return stack, Check("settings", "failed", error.message, error.fix or "Correct that line.")
    return stack, Check("settings", "ok", str(stack.config or "no workroom.yaml: the defaults"))


def _state_folder(stack: Stack) -> Check:
    name, home = "state folder", stack.home
    if not home.is_dir():
        above = _existing(home)
        if os.access(above, os.W_OK):
            return Check(name, "ok", f"{home} will be made")
        return Check(name, "failed", f"{above} cannot be written", "Set WORKROOM_HOME elsewhere.")
    mode = home.stat().st_mode & 0o777
    if mode & 0o077:
        return Check(
            name, "failed", f"{home} can be read by others (mode {mode:o})", f"chmod 700 {home}"
        )
    if not os.access(home, os.W_OK):
        return Check(name, "failed", f"{home} cannot be written", f"sudo chown -R $USER {home}")
    return Check(name, "ok", str(home))


def _engine() -> tuple[DockerClient | None, Check]:
    try:
        client = engine.connect(timeout=20)
    except WorkroomError as error:
        return None, Check("Docker engine", "failed", error.message, error.fix)
    return client, Check("Docker engine", "ok", f"version {client.version()['Version']}")


def _limits(info: dict[str, Any]) -> Check:
    missing = [
        words
        for key, words in (
            ("MemoryLimit", "memory"),
            ("CpuCfsQuota", "CPU"),
            ("PidsLimit", "processes"),
        )
        if not info.get(key)
    ]
    if missing:
        return Check(
            "limits",
            "failed",
            f"this engine cannot limit {', '.join(missing)} of a container",
            "Enable these cgroup controllers in the kernel (cgroup_enable=memory on its command "
            "line).",
        )
    if not info.get("SwapLimit"):
        return Check("limits", "note", "memory, CPU and processes are enforced; swap is not")
    return Check("limits", "ok", "memory, swap, CPU and processes are enforced")


def _fits(settings: Settings, cpus: int, memory: int) -> Check:
    name = "profiles"
    try:
        config_file.check_against_machine(settings, cpus, memory)
    except WorkroomError as error:
        return Check(name, "failed", error.message.replace("\n", " "), error.fix)
    return _offered(settings, cpus, memory)


def _offered(settings: Settings, cpus: int, memory: int) -> Check:
    here = settings.model_copy(update={"spawner": "local"})  # also where the emulator is
    names = ", ".join(p.name for p in offered_profiles(here, cpus, memory))
    return Check("profiles", "ok", f"{cpus} cores and {human_bytes(memory)} hold: {names}")


def _disk(name: str, folder: str) -> Check:
    path = folder if os.path.isdir(folder) else "/"
    room = os.statvfs(path)
    free = room.f_bavail * room.f_frsize
    found = f"{human_bytes(free)} free ({path})"
    fix = "See what takes it: docker system df. Remove what is not used: docker system prune"
    if free < _DISK_NEEDED:
        return Check(name, "failed", found, fix)
    return Check(name, "note" if free < _DISK_WANTED else "ok", found)


def _memory() -> Check:
    lines = Path("/proc/meminfo").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    available, total = sizes["MemAvailable"], sizes["MemTotal"]
    found = f"{human_bytes(available)} available of {human_bytes(total)}"
    if available < 512 * 2**20:
        return Check("memory", "failed", found, "Stop servers: workroom status shows the big ones.")
    return Check("memory", "note" if available < 2 * 2**30 else "ok", found)


def _ca_bundle(settings: Settings) -> Check:
    bundle = settings.build.ca_bundle
    if not isinstance(bundle, Path):
        return Check("CA certificates", "ok", f"{bundle}")
    try:
        ssl.create_default_context(cafile=str(bundle))
    except OSError as error:
        return Check(
            "CA certificates",
            "failed",
            f"{bundle} is not a file of certificates ({error.strerror or type(error).__name__})",
            "Set build.ca_bundle (or CA_BUNDLE) to a PEM file, or to auto.",
        )
    return Check("CA certificates", "ok", str(bundle))


def containers_user() -> Check:
    """Check that no account of this machine has the number of the containers' user.

    Whoever has it owns the containers' processes and everybody's home.
    """
    name = "the containers' user"
    try:
        account = pwd.getpwuid(UID).pw_name
    except KeyError:
        return Check(name, "ok", f"uid {UID} is nobody on this machine")
    return Check(
        name,
        "failed",
        f"the account '{account}' of this machine has the uid {UID}, which is the containers': "
        "it may stop them and read every home",
        f"Give it another number: sudo usermod -u NUMBER {account}   (then chown its files)",
    )


def _oidc(oidc: Oidc) -> Check:
    from workroom_hub.oidc_provider import check_provider

    name = "company log-in"
    problem = check_provider(oidc.issuer, oidc.client_secret_file)
    if problem:
        return Check(name, "failed", "nobody can log in", problem)
    return Check(name, "ok", f"{oidc.issuer} answers")


def _images(client: DockerClient, stack: Stack) -> Check:
    from workroom_hub.machine import images

    missing, notes = [], []
    for image, new in images_command.current(stack, damaged_as_none=True):
        ref = new.ref if new else image.ref
        why = f", promoted {new.at}; workroom.yaml: {image.ref}" if new else ""
        facts = images.facts(client, ref)
        if facts is None:
            missing.append(f"{ref}{why}")
        else:
            said = facts.rstudio or "not in the image"
            notes.append(f"{ref} (RStudio: {said}{why})")
    if missing:
        fix = "workroom up builds or pulls it"
        return Check("images", "failed", f"missing: {', '.join(missing)}", fix)
    return Check("images", "ok", ", ".join(notes))


def _firewall(stack: Stack, users: network.UsersNetwork | None) -> Check:
    from workroom_hub.machine.up import firewall_rules

    name = "firewall"
    if users is None:
        return Check(name, "note", "the users' network does not exist yet", "workroom up")
    wanted = firewall_rules(stack, users)
    there = firewall.in_force(wanted)
    if there is None:
        return Check(name, "note", "only root can read the rules; the line below tries them")
    if not there:
        return Check(
            name, "failed", "containers may reach ports of this machine", "Run again: workroom up"
        )
    return Check(name, "ok", f"chain {wanted.chain} is in force on {users.bridge}")


def _reach(stack: Stack, seen: probe.Seen) -> Check:
    name = "from a container, this machine"
    if seen.reached:
        return Check(
            name,
            "failed",
            f"a container reaches ports it must not: {', '.join(seen.reached)}",
            "Run `workroom up` as root, or the command it prints: it sets the firewall rules.",
        )
    runs = bool(processes.find(stack.home, hub.ROLE))
    silent = [port for port in probe.opened(stack) if port not in seen.answer]
    if silent and runs:
        listed = ", ".join(map(str, silent))
        return Check(
            name,
            "failed",
            f"a container cannot reach the hub's or the data servers' port: {listed}",
            "If the lines above say that they run, another firewall (ufw, firewalld) may block it: "
            f"allow it on {network.bridge_name(stack.settings.instance)}.",
        )
    listed = ", ".join(map(str, seen.answer))
    return Check(
        name,
        "ok",
        f"{listed} (hub and data) answer; {seen.tried} other ports were tried and do not"
        if runs
        else f"{seen.tried} ports were tried and do not answer (the hub does not run)",
    )


def _dns(seen: probe.Seen) -> Check:
    if seen.dns:
        return Check("from a container, DNS", "ok", f"{seen.host} has an address")
    return Check(
        "from a container, DNS",
        "note",
        f"{seen.host} has no address: packages cannot be installed in servers",
        "Set name servers in workroom.yaml (local.dns), unless servers shall be offline.",
    )


def _tls(seen: probe.Seen) -> Check:
    name = "from a container, TLS"
    if not seen.tls_error:
        return Check(name, "ok", f"{seen.host}: certificate trusted")
    if "CERTIFICATE_VERIFY_FAILED" in seen.tls_error:
        return Check(
            name,
            "failed",
            f"{seen.host}: the certificate is not trusted",
            "This network inspects TLS: set build.ca_bundle to its CA (PEM), then workroom up.",
        )
    return Check(name, "note", f"{seen.host} was not reached ({seen.tls_error})")


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
