"""The commands of `workroom deploy`; what they need is imported inside, as in `cli`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    help="Workroom in an AWS account: what the section `aws` of workroom.yaml says "
    "(docs/deploy-aws.md). Needs the extra `infra`: pip install 'workroom[infra]'.",
)
Out = Annotated[
    Path | None, typer.Option("--out", help="Folder of the template; default: in the state folder.")
]


@app.command()
def synth(out: Out = None) -> None:
    """Write the CloudFormation template, checked by cdk-nag. Asks AWS nothing."""
    from workroom_hub.deploy import assembly

    made = assembly.synthesise(out)
    print(f"{made.template_path}: {len(made.template['Resources'])} resources, checked")
    print(f"With the CDK's own command: npx cdk deploy --app {made.folder}")


@app.command()
def diff(out: Out = None) -> None:
    """Show what a deployment would change; changes nothing."""
    from workroom_hub.deploy import assembly, changes, cloud

    made = assembly.synthesise(out)
    account = cloud.Account.of(made)
    for line in changes.lines(account.template(), made.template):
        print(line)


@app.command()
def deploy(
    out: Out = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Make the account be as workroom.yaml says, and write what was made back into the file.

    Shows every change first, with what is replaced, and asks. It can be interrupted: the same
    command goes on.
    """
    from workroom_hub.deploy import assembly, cloud, written

    made = assembly.synthesise(out)
    account = cloud.Account.of(made)
    account.deploy(made, agreed=(lambda _: True) if yes else _agreed)
    for line in written.write(made.settings_path, made.settings, account.outputs()):
        print(line)


@app.command()
def outputs(
    to: Annotated[
        Path | None, typer.Option("--to", help="Settings file; default: the one in use.")
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print them as JSON, and write nothing.")
    ] = False,
) -> None:
    """Write what a deployment made into workroom.yaml, and say what changed; comments stay."""
    import json

    from workroom_hub.deploy import assembly, cloud, written

    path, settings = assembly.settings()
    found = cloud.Account.reached(settings).outputs()
    if json_:
        print(json.dumps(found, indent=2))
        return
    for line in written.write(to or path, settings, found):
        print(line)


@app.command()
def rollout() -> None:
    """Put a new machine image in force without ending anybody's server.

    Machines of an older image take no new servers from now on. Those without servers are replaced
    at once; the others go when their last server has ended.
    """
    from workroom_hub.deploy import assembly, cloud

    _, settings = assembly.settings()
    for line in cloud.Account.reached(settings).roll_out():
        print(line)


def _agreed(changes: list[str]) -> bool:
    import sys

    from workroom_hub.errors import WorkroomError

    if not sys.stdin.isatty():
        raise WorkroomError("This needs a yes, and there is no terminal to ask.", "Add --yes.")
    return typer.confirm(f"Make these {len(changes)} changes?")
