"""`workroom up`: every step can be interrupted at any point and done again."""

from __future__ import annotations

import os
from dataclasses import replace

from workroom_hub import config_file, ssh_line
from workroom_hub.errors import HubRefused, MachineError
from workroom_hub.initial_password import (
    forget_initial_password,
    generate_password,
    load_initial_password,
    save_initial_password,
)
from workroom_hub.machine import (
    cluster,
    data,
    data_s3,
    emulator,
    engine,
    firewall,
    hub,
    images,
    network,
    probe,
    proxy,
    registry,
    ssh,
)
from workroom_hub.machine.console import counted
from workroom_hub.machine.down import stop_servers
from workroom_hub.machine.hub import HubApi
from workroom_hub.machine.network import UsersNetwork
from workroom_hub.machine.stack import Stack
from workroom_hub.runtime import Runtime, read_installation

_ROOM = 2 * 2**30


def up(stack: Stack, cloud: str | None = None) -> None:
    """Bring everything up and print where to log in.

    Args:
        stack: The stack.
        cloud: "local" to run servers on the AWS emulator; None for where they ran before.

    Raises:
        WorkroomError: A step failed; it names the step, the reason and the fix.
    """
    with stack.locked():
        stack.prepare_home()
        with emulator.chosen(stack, cloud):
            on_aws = stack.settings.spawner == "ecs" and not stack.emulated
            runtime = _bring_up_for_aws(stack) if on_aws else _bring_up(stack)
        admin = first_admin(stack)
    _warn(stack)
    welcome(stack, runtime, admin)


def _bring_up(stack: Stack) -> Runtime:
    report, settings = stack.report, stack.settings
    _require_ports(stack)
    if stack.emulated:
        emulator.require_port(stack)
    with report.step("Docker engine") as step:
        client = engine.ensure(stack.home, step)
        info = client.info()
        step.result = f"version {info['ServerVersion']}"
    cpus, memory = int(info["NCPU"]), int(info["MemTotal"])
    config_file.check_against_machine(settings, cpus, memory, emulated=stack.emulated)
    _require_room(info["DockerRootDir"])
    with report.step("Users' network") as step:
        users = network.ensure(client, settings, stack.home)
        step.result = f"{users.name}, gateway {users.gateway}"
    if data.is_here(stack):
        data_s3.require_port(stack, users.gateway)
    with report.step("Firewall around the users' network") as step:
        step.result = _firewall(stack, users)
    registry.bring_up(stack, users.gateway)
    facts = images.ensure(client, stack)
    runtime = Runtime(
        stack.home,
        users.gateway,
        users.name,
        cpus,
        memory,
        facts,
        read_installation(stack.home),
        **ssh.keys(stack),
    )
    with data.starting(stack, client, users) as data_servers:
        if stack.emulated:
            with report.step("AWS emulator") as step:
                anew = emulator.ensure(stack, client, users, step)
            runtime = replace(runtime, emulator=emulator.facts(stack))
        _start_hub(stack, runtime)
        if stack.emulated and anew:
            _end_lost_servers(stack)
        data.finish(stack, data_servers)
    return runtime


def _bring_up_for_aws(stack: Stack) -> Runtime:
    """Bring up what runs on this machine; servers run on a cluster of AWS."""
    report, settings = stack.report, stack.settings
    _require_ports(stack)
    cpus = os.cpu_count() or 1
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    config_file.check_against_machine(settings, cpus, memory)
    with report.step("ECS cluster") as step:
        found = cluster.look(settings.ecs)
        step.result = f"{found.name} in {found.region}, {counted(found.machines, 'machine')}"
    installation = read_installation(stack.home)
    runtime = Runtime(
        stack.home, settings.ecs.host, "", cpus, memory, {}, installation, **ssh.keys(stack)
    )
    _start_hub(stack, runtime)
    return runtime


def _require_ports(stack: Stack) -> None:
    """Ask for the ports before anything is made."""
    proxy.require_ports(stack)
    ssh.require_port(stack)


def _end_lost_servers(stack: Stack) -> None:
    """Tell the hub of the servers that ended with an earlier emulator; it would take minutes."""
    lost = stop_servers(stack)
    if lost:
        stack.report.line(
            f"{counted(lost, 'server')} ended with the emulator before this one; people can start "
            "them again, and their files are kept."
        )


def _start_hub(stack: Stack, runtime: Runtime) -> None:
    runtime.save()
    stack.remember_ports()
    with stack.report.step("Web proxy") as step:
        proxy.ensure(stack, runtime.gateway, step)
    with stack.report.step("Hub") as step:
        hub.ensure(stack, runtime, step)
    with stack.report.step("SSH gateway") as step:
        ssh.ensure(stack, runtime, step)


def _warn(stack: Stack) -> None:
    """Say what keeps nobody from starting this, and somebody from using it safely or at all."""
    from workroom_hub.machine.doctor import containers_user

    if stack.emulated:
        stack.report.warn(
            "The AWS emulator is for trying things out. It does not limit what servers use, and\n"
            "every account of this machine can command it (docs/ecs.md). Homes are others than\n"
            f"without it: those in {stack.home / 'homes'}."
        )
    account = containers_user()
    if account.state == "failed" and (stack.emulated or stack.spawner == "local"):
        stack.report.warn(f"{account.message}.\n{account.fix}")
    oidc = stack.settings.auth.oidc
    if stack.settings.auth.kind == "oidc" and oidc:
        from workroom_hub.oidc_provider import check_provider

        problem = check_provider(oidc.issuer, oidc.client_secret_file)
        if problem:
            stack.report.warn(f"Nobody can log in: {problem}")


def _require_room(folder: str) -> None:
    path = folder if os.path.isdir(folder) else "/"
    room = os.statvfs(path)
    free = room.f_bavail * room.f_frsize
    if free < _ROOM:
        raise MachineError(
            f"Only {free / 2**30:.1f} GiB are free where the engine keeps its data ({path}).",
            "Free some room: docker system df shows what takes it, docker system prune removes\n"
            "what no container uses.",
        )


def _firewall(stack: Stack, users: UsersNetwork) -> str:
    wanted = firewall_rules(stack, users)
    if os.geteuid() == 0:
        firewall.apply(wanted)
        opened = ", ".join(f"{users.gateway}:{port}" for port in wanted.ports)
        return f"containers reach {opened} and nothing else of this machine"
    stack.report.warn(
        "EVERY PORT OF THIS MACHINE IS OPEN TO USERS' CONTAINERS: only root may set the\n"
        "firewall rules that close them. Run this now, and after every restart of the machine:\n"
        f"  {firewall.manual_command(wanted, stack.home)}"
    )
    return "not set: this user is not root (see the warning)"


def firewall_rules(stack: Stack, users: UsersNetwork) -> firewall.Rules:
    """Return the rules that must be in force for this stack."""
    settings, local = stack.settings, stack.settings.local
    opened = probe.opened(stack)
    return firewall.rules(settings.instance, users, *opened, dns=firewall.local_dns(local.dns))


def first_admin(stack: Stack) -> tuple[str, str] | None:
    """Create the first admin if there is no user yet.

    The password is on disk before the hub is asked, so an interruption cannot lose it.

    Returns:
        Name and password of the first admin while the password is still the generated one.
    """
    auth = stack.settings.auth
    if auth.kind != "password":
        return None
    api = HubApi.of(stack)
    saved = load_initial_password(stack.home)
    if saved and saved[0] != auth.first_admin and not _has_account(api, saved[0]):
        # Of an earlier try, whose name was corrected since.
        forget_initial_password(saved[0], stack.home)
        saved = None
    if saved is None:
        if api.call("GET", "workroom/users"):
            return None
        saved = auth.first_admin, generate_password()
        save_initial_password(*saved, stack.home)
    name, password = saved
    if _has_account(api, name):
        return saved
    try:
        body = {"name": name, "admin": True, "password": password}
        api.call("POST", "workroom/users", body)
    except HubRefused as refused:
        if refused.status != 409:  # somebody was quicker
            raise
    return saved


def _has_account(api: HubApi, name: str) -> bool:
    return any(user["name"] == name for user in api.call("GET", "workroom/users"))


def welcome(stack: Stack, runtime: Runtime, admin: tuple[str, str] | None) -> None:
    """Print where to log in, and as whom."""
    rows = [("URL", stack.url)]
    auth = stack.settings.auth
    if auth.kind == "oidc":
        rows.append(("Log in", f"with {auth.oidc.title if auth.oidc else 'single sign-on'}"))
    elif admin:
        rows += [("User", admin[0]), ("Password", admin[1])]
    else:
        rows.append(("Log in", "with your user name and password (workroom users --help)"))
    if stack.settings.ssh.enabled:
        line = ssh.command(stack.settings, admin[0] if admin else "NAME")
        page = ssh_line.page(stack.settings)
        rows.append(("SSH", f"{line}   (register your key at {page} first)"))
    rows += rstudio_lines(runtime)
    report = stack.report
    if not report.tty:
        for name, value in rows:
            report.line(f"{name}: {value}")
        return
    from rich import box
    from rich.panel import Panel
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(f"[bold]{name}[/]", value.replace("[", "\\["))
    report.console.print(
        Panel(table, title=f"{stack.settings.title} is up", box=box.ROUNDED, expand=False),
        soft_wrap=False,
    )


def rstudio_lines(runtime: Runtime) -> list[tuple[str, str]]:
    """Return one line on RStudio for each image: its version, or why not and how to add it."""
    several = len(runtime.images) > 1
    return [
        (
            f"RStudio ({ref})" if several else "RStudio",
            facts.rstudio or f"not in the image. {facts.rstudio_note}".strip(),
        )
        for ref, facts in runtime.images.items()
    ]
