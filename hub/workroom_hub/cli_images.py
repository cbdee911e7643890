"""`workroom push` and `workroom images`: what is in the registry, and what people get next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from workroom_hub.errors import RegistryError

if TYPE_CHECKING:
    from workroom_hub.machine.stack import Stack

images = typer.Typer(
    no_args_is_help=True,
    help="The image registry, and what people get next. What runs is never changed.",
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `workroom`."""
    app.command("push")(push)
    app.add_typer(images, name="images")


def push(
    name: Annotated[
        str | None,
        typer.Option("--as", help="Name in the registry; default: the image's in workroom.yaml."),
    ] = None,
    json: Json = False,
) -> None:
    """Push the image of `workroom build` to the registry, and print its digest.

    Its tag says what went into it and what came out, so the same image is never sent twice and a
    tag never moves. Nobody gets it before `workroom images promote`.
    """
    from workroom_hub.machine import images_command as command

    stack = _stack(quiet=json)
    pushed = command.push(stack, name)
    if json:
        _print({"ref": pushed.ref, "digest": pushed.digest, "tag": pushed.tag, "new": pushed.anew})
        return
    stack.report.line(f"Digest: {pushed.digest}\nPin it: {pushed.ref}")
    at = command.image_name(stack, name)
    stack.report.line(f"Give it to people: workroom images promote {at} {pushed.tag}")


@images.command("list")
def list_(json: Json = False) -> None:
    """List what people get next for each image, and what else the registry has of it."""
    from workroom_hub.machine import images_list as command

    found = command.collect(_stack(quiet=json))
    if json:
        _print(found)
    else:
        command.show(found)


@images.command()
def promote(
    name: Annotated[str, typer.Argument(help="Name of the image in workroom.yaml.")],
    what: Annotated[
        str, typer.Argument(help="A tag, a digest or its beginning, or what push calls Pin it.")
    ],
) -> None:
    """Give an image's next servers another build. Servers that run keep theirs.

    It counts from the next start of each server; the hub need not be started again.
    """
    from workroom_hub.machine import images_command as command

    stack = _stack()
    new = command.promote(stack, name, what)
    stack.report.line(f"People who start '{name}' get {new.ref} from now on.")


@images.command()
def rollback(
    name: Annotated[str, typer.Argument(help="Name of the image in workroom.yaml.")],
) -> None:
    """Take back the newest promotion: people get next what they got before it."""
    from workroom_hub.machine import images_command as command

    stack = _stack()
    taken, ref = command.rollback(stack, name)
    stack.report.line(f"People who start '{name}' get {ref} again, and no longer {taken.ref}.")


@images.command()
def history(name: Annotated[str | None, typer.Argument()] = None, json: Json = False) -> None:
    """Show every promotion and rollback, and changes of workroom.yaml: when, who, what."""
    from workroom_hub.machine import images_command as command
    from workroom_hub.registry import promotions

    stack = _stack(quiet=json)
    rows = [each for each in promotions.read(stack.home) if name in (None, each.image)]
    if name is not None and not rows:  # of an image that was removed there is a history still
        command.known(stack, name)
    if json:
        _print([vars(each) for each in rows])
        return
    for each in rows:
        what = each.ref or f"{each.replaces} (workroom.yaml's)"
        stack.report.line(f"{each.at}  {each.by}  {each.action} {each.image}: {what}")
    if not rows:
        of = f" for '{name}'" if name else ""
        stack.report.line(f"Nothing was promoted{of} yet: people get what workroom.yaml names.")


@images.command()
def check(
    name: Annotated[str, typer.Argument(help="Name of the image in workroom.yaml.")],
    what: Annotated[
        str | None, typer.Argument(help="A tag or digest; default: all that the registry has.")
    ] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Remove damaged parts (registry.kind machine), so that the next push sends them.",
        ),
    ] = False,
) -> None:
    """Read an image's every byte in the registry and compare it with its digest.

    The exit code is 1 if something is damaged. An engine refuses damaged parts by itself; this says
    which they are before somebody waits for a server.
    """
    from workroom_hub.machine import images_check as command

    if command.check(_stack(), name, what, repair=repair):
        raise typer.Exit(1)


@images.command()
def tokens(
    folder: Annotated[str, typer.Argument(help="A new folder, made with mode 0700.")],
) -> None:
    """Make a push and a pull token for a registry elsewhere, in the files that it and we read.

    `push.json` and `pull.json` are for `registry.push_credentials_file`,
    `registry.pull_credentials_file` and the secret that ECS pulls with; the `.htpasswd` files are
    for the registry (infra/registry), which needs no token itself.
    """
    from pathlib import Path

    from workroom_hub.registry.credentials import make_files

    try:
        target = Path(folder).expanduser()
        if target.exists():
            raise RegistryError(
                f"'{target}' is there already, and tokens in it would be lost.",
                "Name a new folder.",
            )
        made = make_files(target)
    except (OSError, RuntimeError) as error:
        why = (isinstance(error, OSError) and error.strerror) or str(error)
        raise RegistryError(
            f"The folder '{folder}' cannot be made: {why}.",
            "Name a new folder where you may write.",
        ) from error
    for path in made:
        print(path)


def _stack(*, quiet: bool = False) -> Stack:
    from workroom_hub.machine.stack import Stack

    return Stack.load(quiet=quiet)


def _print(value: Any) -> None:
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))
