"""The AWS account of a deployment: whether it is the right one, its stack, what the stack says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from workroom_hub.deploy import preparation, rollout
from workroom_hub.deploy.assembly import Assembly
from workroom_hub.deploy.calls import Clients, asked
from workroom_hub.deploy.stack_change import NEVER_MADE, StackChange
from workroom_hub.errors import DeployError
from workroom_hub.settings import Settings
from workroom_hub.settings_aws import Aws
from workroom_hub.settings_deployed import NOT_THERE

Sleep = Callable[[float], None]


class Account:
    """One account and region, and the stack in it.

    Args:
        settings: Settings with the section `aws`.
        clients: Clients of AWS's services by name.
        say: Where progress goes, a line at a time.
        sleep: Waits some seconds.
    """

    def __init__(
        self,
        settings: Settings,
        clients: Clients,
        *,
        say: Callable[[str], None] = print,
        sleep: Sleep = time.sleep,
    ) -> None:
        assert settings.aws is not None
        self._aws: Aws = settings.aws
        self._stack = settings.instance
        self._clients = clients
        self._say = say
        self._sleep = sleep

    @classmethod
    def of(cls, made: Assembly) -> Account:
        """Return the account that an assembly is for, once it is known to be the right one."""
        return cls.reached(made.settings)

    @classmethod
    def reached(cls, settings: Settings) -> Account:
        """Return the account of these settings.

        Raises:
            DeployError: There are no credentials, or they are another account's.
        """
        assert settings.aws is not None
        account = cls(settings, Clients(settings.aws.region))
        account.require_right_one()
        return account

    def require_right_one(self) -> None:
        """Do nothing if the credentials are of `aws.account`.

        Raises:
            DeployError: They are another's.
        """
        found = asked(lambda: self._clients("sts").get_caller_identity())["Account"]
        if found != self._aws.account:
            raise DeployError(
                f"aws.account is {self._aws.account}, and these credentials are of {found}.",
                "Choose others with AWS_PROFILE, or correct aws.account in workroom.yaml.",
            )

    def template(self) -> dict[str, Any] | None:
        """Return the deployed template; None if there is no stack."""
        if self._status() in (None, *NEVER_MADE):
            return None
        found = asked(
            lambda: self._clients("cloudformation").get_template(
                StackName=self._stack, TemplateStage="Original"
            )
        )["TemplateBody"]
        return json.loads(found) if isinstance(found, str) else dict(found)

    def outputs(self) -> dict[str, str]:
        """Return the stack's outputs by name.

        Raises:
            DeployError: There is no stack.
        """
        stack = self._described()
        if stack is None:
            raise DeployError(
                f"There is no stack '{self._stack}' in {self._aws.region}.",
                "workroom deploy deploy",
            )
        return {
            each["OutputKey"].removeprefix("Output"): each["OutputValue"]
            for each in stack.get("Outputs", [])
        }

    def deploy(self, made: Assembly, *, agreed: Callable[[list[str]], bool]) -> None:
        """Bring the stack to what was synthesised.

        Args:
            made: What was synthesised.
            agreed: Gets the changes, and says whether to go on.

        Raises:
            DeployError: AWS refuses, a resource fails, or nobody agreed.
        """
        preparation.prepare(self._clients, made, self._aws, sleep=self._sleep)
        change = StackChange(self._clients, made, say=self._say, sleep=self._sleep)
        changes = change.changes()
        if changes:
            for line in changes:
                self._say(line)
            if not agreed(changes):
                raise DeployError("Nothing was changed.", "Run it again, and say yes.")
            change.execute()
        else:
            self._say("No changes.")
        # No property of the template; the CDK's own command makes the same call.
        asked(
            lambda: self._clients("cloudformation").update_termination_protection(
                StackName=self._stack, EnableTerminationProtection=True
            )
        )

    def roll_out(self) -> list[str]:
        """Have machines of an older template take no new servers, and replace the empty ones."""
        outputs = self.outputs()
        names = (outputs["CapacityProvider"], outputs["GpuCapacityProvider"])
        return [
            rollout.roll_out(self._clients, outputs["Cluster"], name)
            for name in names
            if name != NOT_THERE
        ]

    def _status(self) -> str | None:
        stack = self._described()
        return str(stack["StackStatus"]) if stack else None

    def _described(self) -> dict[str, Any] | None:
        found = asked(
            lambda: self._clients("cloudformation").describe_stacks(StackName=self._stack),
            absent="does not exist",
        )
        return dict(found["Stacks"][0]) if found else None
