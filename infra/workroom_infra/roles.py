"""Every role of the installation, empty: what each may do is the stack's to say."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_iam as iam
from constructs import Construct

from workroom_infra.rights import Place

EVERYBODY = "everybody"
"""Name of the role of people who are in no group with rights of its own. No group is called so."""
SERVICES = ("Hub", "Proxy", "Gateway", "Registry", "Metastore")
_SESSION_MANAGER = "AmazonSSMManagedInstanceCore"
_IMAGE_BUILDER = "EC2InstanceProfileForImageBuilder"


class Roles(Construct):
    """Roles of servers, of services, and of machines.

    Args:
        scope: Parent.
        id: Name in the stack.
        place: The account.
        groups: Groups with rights of their own.
    """

    def __init__(self, scope: Construct, id: str, *, place: Place, groups: Sequence[str]) -> None:
        super().__init__(scope, id)
        self._place = place
        self.servers = {
            EVERYBODY: self._of_tasks("Servers", "task"),
            **{group: self._of_tasks(f"Servers-{group}", f"task-{group}") for group in groups},
        }
        self.server_start = self._of_tasks("ServerStart", "start", any_task=True)
        self.services = {name: self._of_tasks(name, name.lower()) for name in SERVICES}
        self.service_starts = {
            name: self._of_tasks(f"{name}Start", f"{name.lower()}-start", any_task=True)
            for name in SERVICES
        }
        self.machine = self._of_machines("Machine", "machine")
        self.image_build = self._of_machines("ImageBuild", "image-build", _IMAGE_BUILDER)

    @property
    def server_arns(self) -> list[str]:
        """ARNs of the roles that people's code can have."""
        return [role.role_arn for role in self.servers.values()]

    def _of_tasks(self, id: str, name: str, *, any_task: bool = False) -> iam.Role:
        """Return a role of tasks; unless `any_task`, of those of this account and region only."""
        tasks = iam.ServicePrincipal("ecs-tasks.amazonaws.com")
        ours = {
            "StringEquals": {"aws:SourceAccount": self._place.account},
            "ArnLike": {"aws:SourceArn": self._place.arn("ecs", "*")},
        }
        return iam.Role(
            self,
            id,
            role_name=self._named(name),
            assumed_by=tasks if any_task else tasks.with_conditions(ours),
        )

    def _of_machines(self, id: str, name: str, *more: str) -> iam.Role:
        managed = [
            iam.ManagedPolicy.from_aws_managed_policy_name(policy)
            for policy in (_SESSION_MANAGER, *more)
        ]
        return iam.Role(
            self,
            id,
            role_name=self._named(name),
            assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"),
            managed_policies=managed,
        )

    def _named(self, name: str) -> str:
        # Roles are the whole account's, so the region is in their names.
        return f"{self._place.instance}-{name}-{self._place.region}"
