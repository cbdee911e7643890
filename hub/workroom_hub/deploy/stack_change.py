"""One change of the stack: what it would do, and doing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workroom_hub.deploy.assembly import Assembly
from workroom_hub.deploy.calls import Clients, asked
from workroom_hub.errors import DeployError

NEVER_MADE = ("ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS")
_LOOK_EVERY = 5.0
_CHANGE_SET = "workroom-deploy"
_DONE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")
_STOPPED = ("CREATE_FAILED", "UPDATE_FAILED")
"""A deployment that goes on with the next one: nothing was rolled back."""
_BROKEN = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED")
_GOOD = ("CREATE_COMPLETE", "UPDATE_COMPLETE")


class StackChange:
    """A change set.

    Args:
        clients: Clients of AWS's services by name.
        made: What was synthesised; its files are in their bucket.
        say: Where progress goes, a line at a time.
        sleep: Waits some seconds.
    """

    def __init__(
        self,
        clients: Clients,
        made: Assembly,
        *,
        say: Callable[[str], None],
        sleep: Callable[[float], None],
    ) -> None:
        self._cfn = clients("cloudformation")
        self._stack = made.stack
        self._made = made
        self._say = say
        self._sleep = sleep
        self._name = f"{_CHANGE_SET}-{made.template_key.rpartition('/')[2][:12]}"
        self._before: str | None = None

    def changes(self) -> list[str]:
        """Make the change set; return its changes, a line each; none if there are none.

        Raises:
            DeployError: The stack takes no change now, or CloudFormation refuses the template.
        """
        self._before = self._takeable()
        asked(
            lambda: self._cfn.delete_change_set(StackName=self._stack, ChangeSetName=self._name),
            lenient=True,
        )
        bucket, aws = self._made.files[0].bucket, self._made.settings.aws
        assert aws is not None
        at = f"https://s3.{aws.region}.amazonaws.com/{bucket}/{self._made.template_key}"
        asked(
            lambda: self._cfn.create_change_set(
                StackName=self._stack,
                ChangeSetName=self._name,
                ChangeSetType="CREATE" if self._is_new else "UPDATE",
                TemplateURL=at,
                Capabilities=["CAPABILITY_NAMED_IAM"],
                Tags=[{"Key": "workroom:instance", "Value": self._stack}],
            )
        )
        while True:
            found = asked(
                lambda: self._cfn.describe_change_set(
                    StackName=self._stack, ChangeSetName=self._name
                )
            )
            if found["Status"] == "CREATE_COMPLETE":
                return self._all_changes(found)
            if found["Status"] == "FAILED":
                reason = found.get("StatusReason", "")
                if "didn't contain changes" in reason or "No updates" in reason:
                    return []
                raise DeployError(f"CloudFormation refuses the template: {reason}")
            self._sleep(_LOOK_EVERY)

    def execute(self) -> None:
        """Carry the change set out, and follow it to its end.

        The first deployment, and whatever goes on with one that stopped, is not rolled back:
        databases and load balancers are protected from removal, and secrets with fixed names stay,
        so that what remains of a roll-back would stand in the way of the next attempt.

        Raises:
            DeployError: A resource fails.
        """
        seen = {event["EventId"] for event in self._events(set())}
        how = {"DisableRollback": True} if self._goes_on else {"RetainExceptOnCreate": True}
        asked(
            lambda: self._cfn.execute_change_set(
                StackName=self._stack, ChangeSetName=self._name, **how
            )
        )
        failed: list[str] = []
        while True:
            self._sleep(_LOOK_EVERY)
            for event in reversed(self._events(seen)):
                seen.add(event["EventId"])
                status, id = event["ResourceStatus"], event["LogicalResourceId"]
                self._say(f"{status:<30} {event['ResourceType']} {id}")
                if status.endswith("_FAILED"):
                    failed.append(f"{id}: {event.get('ResourceStatusReason', 'no reason given')}")
            status = self._status() or "DELETE_COMPLETE"
            if status in _GOOD:
                return
            if status.endswith(("_COMPLETE", "_FAILED")) and "CLEANUP" not in status:
                raise self._ended(status, failed)

    @property
    def _is_new(self) -> bool:
        return self._before in (None, "REVIEW_IN_PROGRESS")

    @property
    def _goes_on(self) -> bool:
        return self._is_new or self._before in _STOPPED

    def _takeable(self) -> str | None:
        """Return the stack's status.

        Raises:
            DeployError: A stack of that status takes no change.
        """
        status = self._status()
        if status in (None, "REVIEW_IN_PROGRESS", *_DONE, *_STOPPED):
            return status
        if status in _BROKEN:
            raise DeployError(
                f"The stack '{self._stack}' is {status}: it was never made whole, or was being "
                "removed, and takes no change.",
                "Remove what is left of it: docs/deploy-aws.md, When a deployment fails.",
            )
        if status == "UPDATE_ROLLBACK_FAILED":
            raise DeployError(
                f"The stack '{self._stack}' could not go back to what it was (UPDATE_ROLLBACK_"
                "FAILED).",
                f"aws cloudformation continue-update-rollback --stack-name {self._stack}",
            )
        raise DeployError(
            f"The stack '{self._stack}' is {status}.",
            "Wait for its end: aws cloudformation describe-stacks --stack-name "
            f"{self._stack} --query 'Stacks[0].StackStatus'",
        )

    def _ended(self, status: str, failed: list[str]) -> DeployError:
        """Return what a person is told; what failed by itself comes before what was cancelled."""
        causes = [each for each in failed if "cancelled" not in each.lower()] or failed
        first = causes[0] if causes else "CloudFormation gives no reason"
        return DeployError(
            f"The deployment ended as {status}. {first}",
            "What was made stays. Put the reason right and run the same command: it goes on."
            if self._goes_on
            else "What was there before is there again. Put the reason right and run it again.",
            details="\n".join(failed),
        )

    def _all_changes(self, page: dict[str, Any]) -> list[str]:
        found = []
        while True:
            found += [_change(each["ResourceChange"]) for each in page["Changes"]]
            token = page.get("NextToken")
            if not token:
                return found
            page = asked(
                lambda token=token: self._cfn.describe_change_set(  # type: ignore[misc]
                    StackName=self._stack, ChangeSetName=self._name, NextToken=token
                )
            )

    def _events(self, seen: set[str]) -> list[dict[str, Any]]:
        """Return the events that are new, latest first; a page is not all of a busy moment."""
        found: list[dict[str, Any]] = []
        more: dict[str, str] = {}
        while True:
            page = asked(
                lambda more=more: self._cfn.describe_stack_events(  # type: ignore[misc]
                    StackName=self._stack, **more
                )
            )
            new = [event for event in page["StackEvents"] if event["EventId"] not in seen]
            found += new
            if not page.get("NextToken") or len(new) < len(page["StackEvents"]):
                return found
            more = {"NextToken": page["NextToken"]}

    def _status(self) -> str | None:
        found = asked(
            lambda: self._cfn.describe_stacks(StackName=self._stack), absent="does not exist"
        )
        return str(found["Stacks"][0]["StackStatus"]) if found else None


def _change(change: dict[str, Any]) -> str:
    sign = {"Add": "+", "Remove": "-", "Modify": "~"}.get(change["Action"], "?")
    replaced = {"True": " REPLACED", "Conditional": " (perhaps replaced)"}
    how = replaced.get(change.get("Replacement", ""), "")
    return f"{sign} {change['ResourceType']} {change['LogicalResourceId']}{how}"
