"""`workroom`: the platform from a terminal.

Modules that a command needs are imported inside it, so that each command starts at once.
"""

from __future__ import annotations

import errno
import shlex
import signal
import sys
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from workroom_hub import cli_images, cli_plan
from workroom_hub.deploy import commands as deploy
from workroom_hub.errors import WorkroomError
from workroom_hub.runtime import state_folder

if TYPE_CHECKING:
    from workroom_hub.machine.hub import HubApi
    from workroom_hub.machine.stack import Stack

app = typer.Typer(
    name="workroom",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="""Workroom: a notebook platform for data teams, on this machine.

Settings come from `workroom.yaml` here (or `$WORKROOM_CONFIG`); state lives in `.workroom/`
here (or `$WORKROOM_HOME`).

Examples:

* `workroom up` — start everything; prints where to log in
* `workroom users add ann` — an account for Ann; prints her password
* `workroom status` — what runs, and how much memory it uses
* `workroom doctor` — what is wrong with this machine, and how to fix it
""",
)
users = typer.Typer(no_args_is_help=True, help="Accounts of people who log in with a password.")
config = typer.Typer(no_args_is_help=True, help="The settings file, workroom.yaml.")
app.add_typer(users, name="users")
app.add_typer(config, name="config")
cli_plan.register(app)
cli_images.register(app)
app.add_typer(deploy.app, name="deploy")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def _cloud(value: str | None) -> str | None:
    if value in (None, "local"):
        return value
    raise typer.BadParameter(
        f"'{value}' is not 'local', the AWS emulator of this machine. For AWS itself, leave the "
        "option out and set `spawner: ecs` in workroom.yaml (docs/ecs.md)."
    )


@app.command()
def up(
    cloud: Annotated[
        str | None,
        typer.Option(
            callback=_cloud,
            metavar="local",
            help="`local`: run servers as on Amazon ECS, on an AWS emulator of this machine. "
            "For trying things out; holds until `workroom down`.",
        ),
    ] = None,
) -> None:
    """Start everything that is not running yet, and print where to log in.

    The first time this builds the image, which takes minutes. Doing it again is quick and
    harmless: what runs as the settings say is left alone, and so are people's servers. It can be
    interrupted at any time and run again.
    """
    from workroom_hub.machine import up as command

    command.up(_stack(anew=True), cloud)


@app.command()
def down(
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove people's homes, accounts and all state too.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Stop everything, ssh connections too. Homes stay, unless `--purge` says otherwise."""
    from workroom_hub.machine import down as command

    stack = _stack()
    if purge and not yes:
        _confirm(lambda: command.purge_question(stack))
    command.down(stack, purge=purge)


@app.command()
def status(json: Json = False) -> None:
    """Show what runs: hub, proxy, ssh gateway, engine, images and each person's server."""
    from workroom_hub.machine import status as command

    facts = command.collect(_stack(quiet=True))
    if json:
        _print_json(facts)
    else:
        command.show(facts)


@app.command()
def doctor(json: Json = False) -> None:
    """Check this machine: each line is ok, or says what to do.

    The exit code is 1 if something is wrong.
    """
    from workroom_hub.machine import check
    from workroom_hub.machine import doctor as command

    if json:
        checks = command.run()
        _print_json([check.as_dict() for check in checks])
    else:
        checks = command.run(check.print_check)
        check.show(checks)
    if any(check.state == "failed" for check in checks):
        raise typer.Exit(1)


@app.command()
def logs(
    what: Annotated[
        str,
        typer.Argument(
            help="hub, proxy, ssh, s3, metastore, registry, emulator, build, a user (ann), or a "
            "user's server (ann/gpu)."
        ),
    ] = "hub",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines arrive.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many lines.")] = 100,
) -> None:
    """Show the log of the hub, the proxy, the ssh gateway, or somebody's server.

    Examples: `workroom logs -f`, `workroom logs proxy`, `workroom logs ann`,
    `workroom logs ann/gpu -n 20`.
    """
    from workroom_hub.machine import logs as command

    command.show(_stack(quiet=True), what, lines=lines, follow=follow)


@app.command("restore-data")
def restore_data(
    prefix: Annotated[
        str, typer.Argument(help="Only below it, such as warehouse/sales/; all if left out.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    json_: Json = False,
) -> None:
    """Bring back tables' files and commits that somebody wrote over or removed.

    Every object is made once: its first version becomes the current one again, and nothing is
    removed. Pointers of the metastore are then put right with `workroom-data rebuild`.
    """
    from workroom_hub.machine import data_restore as command

    stack = _stack(quiet=json_)
    found = command.restore(stack, prefix, dry_run=dry_run)
    if json_:
        _print_json([vars(each) for each in found])
        return
    for each in found:
        stack.report.line(f"{each.key}: as it was made on {each.when} (later: {each.later})")
    verb = "would be" if dry_run else "were"
    stack.report.line(f"{len(found)} {verb} restored." if found else "Nothing to restore.")


@app.command()
def build(
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="Everything anew, with the distribution's latest security updates."
        ),
    ] = False,
) -> None:
    """Build the notebook image; quick when nothing changed. `workroom up` does it too.

    If RStudio's package could not be had last time, this tries again.
    """
    from workroom_hub.machine import engine, images

    stack = _stack()
    with stack.locked():
        with stack.report.step("Docker engine") as step:
            engine.ensure(stack.home, step)
        images.build(stack, retry=True, fresh=fresh)


@users.command("add")
def users_add(
    name: Annotated[str, typer.Argument(help="What the person types to log in.")],
    admin: Annotated[bool, typer.Option("--admin", help="May manage users and servers.")] = False,
    json: Json = False,
) -> None:
    """Make an account and print its password, once."""
    made = _hub().call("POST", "workroom/users", {"name": name, "admin": admin})
    _print_password(made, "is made", json=json)


@users.command("reset")
def users_reset(name: str, json: Json = False) -> None:
    """Give an account a new password and print it, once."""
    made = _hub().call("POST", f"workroom/users/{_quoted(name)}/password")
    _print_password(made, "has a new password", json=json)


@users.command("remove")
def users_remove(name: str, yes: Yes = False) -> None:
    """Remove an account and stop its servers; the home stays."""
    if not yes:
        _confirm(lambda: f"This stops every server of '{name}' and removes the account. Go on?")
    _hub().call("DELETE", f"workroom/users/{_quoted(name)}", timeout=180)
    print(f"Removed '{name}'. The home is kept.")


@users.command("disable")
def users_disable(name: str, yes: Yes = False) -> None:
    """Keep somebody out, at once, and stop the servers; account, keys and home stay."""
    if not yes:
        _confirm(lambda: f"This stops every server of '{name}' and ends every session. Go on?")
    _hub().call("PUT", f"workroom/users/{_quoted(name)}/disabled", timeout=180)
    print(
        f"Disabled '{name}': no log-in or SSH key works, and tokens are gone. "
        f"To let them in again: workroom users enable {shlex.quote(name)}"
    )


@users.command("enable")
def users_enable(name: str) -> None:
    """Let somebody in again, with the password and the keys of before; tokens are gone."""
    _hub().call("DELETE", f"workroom/users/{_quoted(name)}/disabled")
    print(f"Enabled '{name}'.")


@users.command("list")
def users_list(json: Json = False) -> None:
    """List the accounts."""
    found = _hub().call("GET", "workroom/users")
    if json:
        _print_json(found)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("User", "Admin", "Disabled", "Servers", "Last seen")
    for user in found:
        seen = (user["last_activity"] or "never").replace("T", " ")[:16]
        words = ["yes" if user[fact] else "" for fact in ("admin", "disabled")]
        table.add_row(user["name"], *words, str(user["servers"]), seen)
    Console().print(table)


@config.command("check")
def config_check(
    file: Annotated[Path | None, typer.Argument(help="The file; default: the one in use.")] = None,
) -> None:
    """Check the settings file and say what is wrong, by line and field."""
    import os

    from workroom_hub import config_file
    from workroom_hub.runtime import state_folder, uses_emulator

    settings = config_file.load(file)
    found = config_file.config_path(file)
    if settings.aws:
        print(f"{found}: ok for a deployment to AWS; it was not compared with this machine")
        return
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cpus, emulated = os.cpu_count() or 1, uses_emulator(state_folder())
    config_file.check_against_machine(settings, cpus, memory, path=file, emulated=emulated)
    print(f"{found}: ok" if found else "There is no workroom.yaml here: the defaults apply.")


@config.command("docs", hidden=True)
def config_docs() -> None:
    """Print docs/settings.md."""
    from workroom_hub import settings_docs

    print(settings_docs.page(), end="")


def _stack(*, quiet: bool = False, anew: bool = False) -> Stack:
    from workroom_hub.machine.stack import Stack

    return Stack.load(quiet=quiet, anew=anew)


def _hub() -> HubApi:
    from workroom_hub.machine.hub import HubApi

    return HubApi.of(_stack(quiet=True))


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


def _print_json(value: Any) -> None:
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))


def _print_password(made: dict[str, Any], what: str, *, json: bool) -> None:
    if json:
        import json as encoder

        print(encoder.dumps({"name": made["name"], "password": made["password"]}))
        return
    print(f"The account '{made['name']}' {what}. Hand the password over privately:")
    print(f"User: {made['name']}\nPassword: {made['password']}")


def _confirm(question: Callable[[], str]) -> None:
    if not sys.stdin.isatty():
        raise WorkroomError(
            "This needs a yes, and there is no terminal to ask.", "Add --yes (with make: YES=1)."
        )
    typer.confirm(question(), abort=True)


def main() -> None:
    """Run a command; people see sentences, the log has the traceback."""
    from workroom_hub.machine.console import print_error

    # As an exception it takes the way out of every `with` and `finally`: nothing half-made stays.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app()
    except WorkroomError as error:
        if state_folder().is_dir():
            _log_traceback()
        print_error(error)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again: it goes on.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except Exception as error:
        print_error(_explained(error, _log_traceback()))
        sys.exit(70)


def _terminated(*_: object) -> NoReturn:
    raise SystemExit(143)


def _explained(error: Exception, log: Path | None) -> WorkroomError:
    """Return a sentence for an error nobody foresaw; its traceback is in `log`."""
    where = f"The details are in {log}." if log else ""
    reason = str(getattr(error, "explanation", "") or error)
    if getattr(error, "errno", None) == errno.ENOSPC or "no space left on device" in reason.lower():
        return WorkroomError(
            "The disk is full.",
            "Free some room (docker system df shows what the engine holds), then run it again.",
        )
    if type(error).__module__.partition(".")[0] in ("docker", "requests", "urllib3"):
        said = reason if type(error).__module__.startswith("docker") else "it does not answer"
        return WorkroomError(
            f"The Docker engine could not do it: {said}", f"workroom doctor\n{where}"
        )
    return WorkroomError(
        f"Something unexpected happened ({type(error).__name__}).",
        f"{where} `workroom doctor` may know more.".strip(),
    )


def _log_traceback() -> Path | None:
    """Add the current traceback to `workroom.log`; return the log, or None if it cannot be."""
    log = state_folder() / "workroom.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with log.open("a") as file:
            log.chmod(0o600)
            file.write(f"--- {datetime.now().astimezone().isoformat()} {sys.argv[1:]}\n")
            file.write(traceback.format_exc())
    except OSError:
        return None
    return log


if __name__ == "__main__":
    main()
