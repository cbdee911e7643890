"""An account that `workroom deploy` meets: CloudFormation, S3, IAM, ECS, Auto Scaling, bad days.

    account = FakeAccount(events=[("CREATE_FAILED", "AWS::EFS::FileSystem", "Homes", "no quota")])

It keeps what it was asked, in order, and answers as AWS does; nothing waits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

Event = tuple[str, str, str, str]


class FakeAccount:
    """All clients of one account.

    Args:
        account: Its id.
        status: Status of the stack; None: there is none.
        template: What is deployed.
        changes: Changes that a change set has.
        refusal: Why a change set fails; "": it does not.
        events: Status, type, id and reason of what happens when a change set is carried out.
        ends_as: Status of the stack afterwards.
        outputs: The stack's outputs.
        machines: Machines: EC2 id, version of their launch template, status in ECS, tasks.
        warm: The same of the warm pool, of which ECS knows nothing.
        most: Machines that the group may have.
        refreshing: An instance refresh is under way.
        roles: Service-linked roles that are there.
    """

    def __init__(
        self,
        *,
        account: str = "123456789012",
        status: str | None = None,
        template: dict[str, Any] | None = None,
        changes: list[dict[str, Any]] | None = None,
        refusal: str = "",
        events: list[Event] | None = None,
        ends_as: str = "CREATE_COMPLETE",
        outputs: dict[str, str] | None = None,
        machines: list[tuple[str, str, str, int]] | None = None,
        warm: list[tuple[str, str]] | None = None,
        most: int = 20,
        refreshing: bool = False,
        roles: set[str] | None = None,
    ) -> None:
        self.account = account
        self.status = status
        self.template = template
        self.changes = changes or []
        self.refusal = refusal
        self.events = events or []
        self.ends_as = ends_as
        self.outputs = outputs or {}
        self.machines = machines or []
        self.warm = warm or []
        self.most = most
        self.refreshing = refreshing
        self.roles = roles if roles is not None else set()
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.objects: dict[str, bytes] = {}
        self.at_once = 1
        self._happened: list[dict[str, Any]] = []

    def __call__(self, service: str) -> Any:
        """Return a client; every service's calls are methods of this account."""
        return _Client(self)

    def calls(self, name: str) -> list[dict[str, Any]]:
        """Return the arguments of every call of that name."""
        return [given for asked, given in self.asked if asked == name]

    # Calls, named as boto3's.

    def get_caller_identity(self) -> dict[str, Any]:
        return {"Account": self.account}

    def describe_stacks(self, StackName: str) -> dict[str, Any]:
        if self.status is None:
            raise refused("DescribeStacks", f"Stack with id {StackName} does not exist")
        outputs = [
            {"OutputKey": f"Output{name}", "OutputValue": value}
            for name, value in self.outputs.items()
        ]
        return {"Stacks": [{"StackStatus": self.status, "Outputs": outputs}]}

    def get_template(self, **_: Any) -> dict[str, Any]:
        return {"TemplateBody": json.dumps(self.template)}

    def put_object(self, Bucket: str, Key: str, Body: bytes, **_: Any) -> None:
        self.objects[f"{Bucket}/{Key}"] = Body

    def create_bucket(self, **_: Any) -> None:
        if self.objects:
            raise refused("CreateBucket", "it is yours", code="BucketAlreadyOwnedByYou")

    def delete_change_set(self, **_: Any) -> None:
        if self.status is None:
            raise refused("DeleteChangeSet", "there is no such change set")

    def create_change_set(self, **_: Any) -> None:
        if self.status is None:
            self.status = "REVIEW_IN_PROGRESS"

    def describe_change_set(self, **given: Any) -> dict[str, Any]:
        seen = len(self.calls("describe_change_set"))
        if self.refusal:
            return {"Status": "FAILED", "StatusReason": self.refusal}
        if seen == 1:
            return {"Status": "CREATE_IN_PROGRESS"}
        changes = [{"ResourceChange": change} for change in self.changes]
        if "NextToken" in given:
            return {"Status": "CREATE_COMPLETE", "Changes": changes[1:]}
        more = {"NextToken": "more"} if len(changes) > 1 else {}
        return {"Status": "CREATE_COMPLETE", "Changes": changes[:1], **more}

    def execute_change_set(self, **_: Any) -> None:
        self.status = "CREATE_IN_PROGRESS"

    def describe_stack_events(self, **given: Any) -> dict[str, Any]:
        if self.calls("execute_change_set") and "NextToken" not in given:
            for _ in range(min(self.at_once, len(self.events))):
                status, kind, id, reason = self.events.pop(0)
                self._happened.insert(
                    0,
                    {
                        "EventId": str(len(self._happened)),
                        "ResourceStatus": status,
                        "ResourceType": kind,
                        "LogicalResourceId": id,
                        "ResourceStatusReason": reason,
                    },
                )
            if not self.events:
                self.status = self.ends_as
        # Two a page, the latest first.
        first = int(given.get("NextToken", 0))
        page = {"StackEvents": self._happened[first : first + 2]}
        more = first + 2 < len(self._happened)
        return {**page, "NextToken": str(first + 2)} if more else page

    def list_roles(self, PathPrefix: str) -> dict[str, Any]:
        service = PathPrefix.split("/")[2]
        return {"Roles": [{"Path": PathPrefix}] if service in self.roles else []}

    def create_service_linked_role(self, AWSServiceName: str) -> dict[str, Any]:
        if AWSServiceName in self.roles:
            message = f"Service role name of {AWSServiceName} has been taken in this account"
            raise refused("CreateServiceLinkedRole", message, code="InvalidInput")
        self.roles.add(AWSServiceName)
        return {"Role": {}}

    def describe_auto_scaling_groups(self, **_: Any) -> dict[str, Any]:
        instances = [_instance(id, version) for id, version, _, _ in self.machines]
        group = {"LaunchTemplate": {"Version": "2"}, "Instances": instances, "MaxSize": self.most}
        return {"AutoScalingGroups": [group]}

    def describe_warm_pool(self, **_: Any) -> dict[str, Any]:
        return {"Instances": [_instance(id, version) for id, version in self.warm]}

    def describe_instance_refreshes(self, **_: Any) -> dict[str, Any]:
        now = [{"Status": "InProgress"}] if self.refreshing else []
        return {"InstanceRefreshes": [*now, {"Status": "Successful"}]}

    def list_container_instances(self, **_: Any) -> dict[str, Any]:
        return {"containerInstanceArns": [f"arn:{id}" for id, _, _, _ in self.machines]}

    def describe_container_instances(self, **_: Any) -> dict[str, Any]:
        return {
            "containerInstances": [
                {
                    "containerInstanceArn": f"arn:{id}",
                    "ec2InstanceId": id,
                    "status": status,
                    "runningTasksCount": tasks,
                    "pendingTasksCount": 0,
                }
                for id, _, status, tasks in self.machines
            ]
        }

    def update_container_instances_state(
        self, containerInstances: list[str], status: str, **_: Any
    ) -> None:
        self.machines = [
            (id, version, status if f"arn:{id}" in containerInstances else before, tasks)
            for id, version, before, tasks in self.machines
        ]


class _Client:
    """Keeps each call, and hands it to the account; calls it does not know answer nothing."""

    def __init__(self, account: FakeAccount) -> None:
        self._account = account

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(**given: Any) -> Any:
            self._account.asked.append((name, given))
            answer = getattr(type(self._account), name, None)
            return answer(self._account, **given) if answer else None

        return call


def _instance(id: str, version: str) -> dict[str, Any]:
    return {"InstanceId": id, "LaunchTemplate": {"Version": version}}


def refused(operation: str, message: str, code: str = "ValidationError") -> ClientError:
    """Return a refusal as boto3 raises it."""
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)
