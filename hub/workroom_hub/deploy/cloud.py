"""The AWS account of a deployment: its stack, the bucket that files go through, its machines."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from workroom_hub.deploy.assembly import Assembly
from workroom_hub.deploy.calls import Clients, asked
from workroom_hub.errors import DeployError
from workroom_hub.settings import Settings
from workroom_hub.settings_aws import Aws
from workroom_hub.settings_deployed import NOT_THERE

Sleep = Callable[[float], None]
_LOOK_EVERY = 5.0
_CHANGE_SET = "workroom-deploy"
_DONE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")
_NEVER_MADE = ("ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS")


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
        if self._status() in (None, *_NEVER_MADE):
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
        self._have_trunking()
        self._have_bucket(made)
        self._upload(made)
        changes = self._changes(made)
        if not changes:
            self._say("No changes.")
            return
        for line in changes:
            self._say(line)
        if not agreed(changes):
            raise DeployError("Nothing was changed.", "Run it again, and say yes.")
        self._execute()

    def roll_out(self) -> list[str]:
        """Have machines of an older template take no new servers, and replace the empty ones.

        ECS's termination protection guards every machine with a server on it; the refresh leaves
        protected machines alone, and a drained machine goes when its last server has ended.
        """
        outputs = self.outputs()
        names = (outputs["CapacityProvider"], outputs["GpuCapacityProvider"])
        return [self._roll_out_group(outputs["Cluster"], n) for n in names if n != NOT_THERE]

    def _roll_out_group(self, cluster: str, name: str) -> str:
        scaling, ecs = self._clients("autoscaling"), self._clients("ecs")
        [group] = asked(lambda: scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name]))[
            "AutoScalingGroups"
        ]
        current = group["LaunchTemplate"]["Version"]
        old = {
            machine["InstanceId"]
            for machine in group["Instances"]
            if machine.get("LaunchTemplate", {}).get("Version") != current
        }
        if not old:
            return f"{name}: every machine is of the current image."
        draining = [
            machine["containerInstanceArn"]
            for machine in self._container_instances(ecs, cluster)
            if machine["ec2InstanceId"] in old and machine["status"] == "ACTIVE"
        ]
        for first in range(0, len(draining), 10):  # UpdateContainerInstancesState takes no more
            some = draining[first : first + 10]
            asked(
                lambda some=some: ecs.update_container_instances_state(  # type: ignore[misc]
                    cluster=cluster, containerInstances=some, status="DRAINING"
                )
            )
        asked(
            lambda: scaling.start_instance_refresh(
                AutoScalingGroupName=name,
                Preferences={
                    "ScaleInProtectedInstances": "Ignore",
                    "MinHealthyPercentage": 100,
                    "MaxHealthyPercentage": 110,
                    "SkipMatching": True,
                },
            )
        )
        return (
            f"{name}: {len(old)} machines of an older image take no new servers; those without "
            "servers are replaced now, the others when their last one has ended."
        )

    def _container_instances(self, ecs: Any, cluster: str) -> Iterator[dict[str, Any]]:
        more: dict[str, str] = {}
        while True:
            page = asked(lambda: ecs.list_container_instances(cluster=cluster, **more))  # noqa: B023
            arns = page["containerInstanceArns"]
            if arns:
                yield from asked(
                    lambda arns=arns: ecs.describe_container_instances(  # type: ignore[misc]
                        cluster=cluster, containerInstances=arns
                    )
                )["containerInstances"]
            if not page.get("nextToken"):
                return
            more = {"nextToken": page["nextToken"]}

    def _have_trunking(self) -> None:
        """Let machines hold more servers than they have network cards; a setting of the account."""
        asked(
            lambda: self._clients("ecs").put_account_setting_default(
                name="awsvpcTrunking", value="enabled"
            )
        )

    def _have_bucket(self, made: Assembly) -> None:
        """Make the bucket that templates and files go through, private and encrypted."""
        s3, bucket = self._clients("s3"), made.files[0].bucket
        owner = {"ExpectedBucketOwner": self._aws.account}
        place = {"LocationConstraint": self._aws.region}
        more = {} if self._aws.region == "us-east-1" else {"CreateBucketConfiguration": place}
        try:
            asked(lambda: s3.create_bucket(Bucket=bucket, **more))
        except DeployError as error:
            if "BucketAlreadyOwnedByYou" not in error.message:
                raise
        block = dict.fromkeys(
            ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"),
            True,
        )
        asked(
            lambda: s3.put_public_access_block(
                Bucket=bucket, PublicAccessBlockConfiguration=block, **owner
            )
        )
        asked(
            lambda: s3.put_bucket_policy(
                Bucket=bucket, Policy=json.dumps(_tls_only(bucket)), **owner
            )
        )

    def _upload(self, made: Assembly) -> None:
        s3 = self._clients("s3")
        for file in made.files:
            body = _zipped(file.path) if file.zipped else file.path.read_bytes()
            asked(
                lambda body=body, file=file: s3.put_object(  # type: ignore[misc]
                    Bucket=file.bucket,
                    Key=file.key,
                    Body=body,
                    ServerSideEncryption="AES256",
                    ExpectedBucketOwner=self._aws.account,
                )
            )

    def _changes(self, made: Assembly) -> list[str]:
        """Make a change set; return its changes, a line each."""
        cfn = self._clients("cloudformation")
        status = self._status()
        if status == "ROLLBACK_COMPLETE":
            raise DeployError(
                f"The stack '{self._stack}' was never made whole, and must be removed first.",
                f"aws cloudformation delete-stack --stack-name {self._stack}",
            )
        if status is not None and status not in (*_DONE, *_NEVER_MADE):
            raise DeployError(
                f"The stack '{self._stack}' is {status}.",
                "Wait for its end, or continue its roll-back in the console of CloudFormation.",
            )
        new = status in (None, "REVIEW_IN_PROGRESS")
        name = f"{_CHANGE_SET}-{made.template_key.rpartition('/')[2][:12]}"
        asked(
            lambda: cfn.delete_change_set(StackName=self._stack, ChangeSetName=name), lenient=True
        )
        url = f"https://s3.{self._aws.region}.amazonaws.com/{made.files[0].bucket}/{made.template_key}"
        asked(
            lambda: cfn.create_change_set(
                StackName=self._stack,
                ChangeSetName=name,
                ChangeSetType="CREATE" if new else "UPDATE",
                TemplateURL=url,
                Capabilities=["CAPABILITY_NAMED_IAM"],
                Tags=[{"Key": "workroom:instance", "Value": self._stack}],
            )
        )
        self._set = name
        while True:
            found = asked(
                lambda: cfn.describe_change_set(StackName=self._stack, ChangeSetName=name)
            )
            if found["Status"] == "CREATE_COMPLETE":
                return self._all_changes(cfn, found, name)
            if found["Status"] == "FAILED":
                reason = found.get("StatusReason", "")
                if "didn't contain changes" in reason or "No updates" in reason:
                    return []
                raise DeployError(f"CloudFormation refuses the template: {reason}")
            self._sleep(_LOOK_EVERY)

    def _all_changes(self, cfn: Any, page: dict[str, Any], name: str) -> list[str]:
        found = []
        while True:
            found += [_change(each["ResourceChange"]) for each in page["Changes"]]
            token = page.get("NextToken")
            if not token:
                return found
            page = asked(
                lambda token=token: cfn.describe_change_set(  # type: ignore[misc]
                    StackName=self._stack, ChangeSetName=name, NextToken=token
                )
            )

    def _execute(self) -> None:
        cfn = self._clients("cloudformation")
        seen = {event["EventId"] for event in self._events()}
        asked(lambda: cfn.execute_change_set(StackName=self._stack, ChangeSetName=self._set))
        failed: list[str] = []
        while True:
            self._sleep(_LOOK_EVERY)
            for event in reversed(self._events()):
                if event["EventId"] in seen:
                    continue
                seen.add(event["EventId"])
                status, id = event["ResourceStatus"], event["LogicalResourceId"]
                self._say(f"{status:<30} {event['ResourceType']} {id}")
                if status.endswith("_FAILED"):
                    failed.append(f"{id}: {event.get('ResourceStatusReason', 'no reason given')}")
            status = self._status() or "DELETE_COMPLETE"
            if status in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
                return
            if status.endswith(("_COMPLETE", "_FAILED")) and "CLEANUP" not in status:
                first = failed[0] if failed else "CloudFormation gives no reason"
                raise DeployError(
                    f"The deployment ended as {status}. {first}",
                    "What was there before is there again. Put the reason right and run it again.",
                    details="\n".join(failed),
                )

    def _events(self) -> list[dict[str, Any]]:
        found = asked(
            lambda: self._clients("cloudformation").describe_stack_events(StackName=self._stack)
        )
        return list(found["StackEvents"])

    def _status(self) -> str | None:
        stack = self._described()
        return str(stack["StackStatus"]) if stack else None

    def _described(self) -> dict[str, Any] | None:
        found = asked(
            lambda: self._clients("cloudformation").describe_stacks(StackName=self._stack),
            absent="does not exist",
        )
        return dict(found["Stacks"][0]) if found else None


def _change(change: dict[str, Any]) -> str:
    sign = {"Add": "+", "Remove": "-", "Modify": "~"}.get(change["Action"], "?")
    replaced = {"True": " REPLACED", "Conditional": " (perhaps replaced)"}
    how = replaced.get(change.get("Replacement", ""), "")
    return f"{sign} {change['ResourceType']} {change['LogicalResourceId']}{how}"


def _tls_only(bucket: str) -> dict[str, Any]:
    arn = f"arn:aws:s3:::{bucket}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [arn, f"{arn}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }


def _zipped(folder: Path) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return made.getvalue()
