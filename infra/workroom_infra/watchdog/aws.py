"""What the watchdog asks of AWS and of the machine itself. Only `helper` calls it: it may block."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Mapping
from typing import Any

import boto3
from botocore.config import Config

from workroom_infra.watchdog import fleet
from workroom_infra.watchdog.plan import Do
from workroom_infra.watchdog.settings import Settings

_LOCAL = 2.0
_PATIENCE = Config(
    connect_timeout=3, read_timeout=5, retries={"max_attempts": 1, "mode": "standard"}
)


class UnknownInstance(Exception):
    """ECS does not know this container instance (any more)."""


def identify(settings: Settings) -> dict[str, str]:
    """Which machine this is, as EC2's metadata and the ECS agent tell it.

    Raises:
        OSError: One of them does not answer, or the agent has not registered yet.
    """
    token = _get(
        f"{settings.imds}/latest/api/token",
        {"X-aws-ec2-metadata-token-ttl-seconds": "60"},
        method="PUT",
    )
    asks = {"X-aws-ec2-metadata-token": token}
    agent = json.loads(_get(f"{settings.agent}/v1/metadata"))
    if not agent.get("ContainerInstanceArn"):
        raise OSError("the ECS agent has not registered this machine yet")
    return {
        "instance": _get(f"{settings.imds}/latest/meta-data/instance-id", asks),
        "region": settings.region
        or _get(f"{settings.imds}/latest/meta-data/placement/region", asks),
        "cluster": agent["Cluster"],
        "arn": agent["ContainerInstanceArn"],
    }


class Aws:
    """The cluster and the group of one machine."""

    def __init__(self, identity: Mapping[str, str], settings: Settings) -> None:
        self._me = identity
        self._settings = settings
        session = boto3.session.Session(region_name=identity["region"])
        self._ecs = session.client("ecs", config=_PATIENCE)
        self._groups = session.client("autoscaling", config=_PATIENCE)
        self._metrics = session.client("cloudwatch", config=_PATIENCE) if settings.metrics else None

    def carry_out(self, do: Do, given: Mapping[str, Any]) -> dict[str, Any]:
        """Do what the plan asks for.

        Raises:
            UnknownInstance: ECS does not know this machine by the name it once had.
            botocore.exceptions.BotoCoreError, ClientError: AWS said no, or nothing.
        """
        return getattr(self, "_" + do.value)(given)  # type: ignore[no-any-return]

    def _look(self, _: Mapping[str, Any]) -> dict[str, Any]:
        found = self._ecs.describe_container_instances(
            cluster=self._me["cluster"], containerInstances=[self._me["arn"]]
        )
        if not found["containerInstances"]:
            raise UnknownInstance(_reason(found))
        [machine] = found["containerInstances"]
        claims = [a.get("value", "") for a in machine["attributes"] if a["name"] == fleet.CLAIM]
        return {
            "status": machine["status"],
            "tasks": machine["runningTasksCount"] + machine["pendingTasksCount"],
            "claim": claims[0] if claims else "",
        }

    def _claim(self, _: Mapping[str, Any]) -> dict[str, Any]:
        value = str(int(time.time()))
        self._ecs.put_attributes(cluster=self._me["cluster"], attributes=[self._attribute(value)])
        return {"claim": value}

    def _unclaim(self, given: Mapping[str, Any]) -> dict[str, Any]:
        value = given.get("claim") or self._look({})["claim"]
        if value:
            self._ecs.delete_attributes(
                cluster=self._me["cluster"], attributes=[self._attribute(value)]
            )
        return {}

    def _attribute(self, value: str) -> dict[str, str]:
        return {"name": fleet.CLAIM, "value": value, "targetId": self._me["arn"]}

    def _count(self, _: Mapping[str, Any]) -> dict[str, Any]:
        # Of the bucket from which the hub looks at tasks this takes one call, rarely two.
        [cluster] = self._ecs.describe_clusters(clusters=[self._me["cluster"]])["clusters"]
        machines = cluster["registeredContainerInstancesCount"]
        enough = fleet.allowed(machines, self._settings.share)
        others, more = 0, dict[str, str]()
        while True:
            page = self._ecs.list_attributes(
                cluster=self._me["cluster"],
                targetType="container-instance",
                attributeName=fleet.CLAIM,
                maxResults=100,
                **more,
            )
            mine = self._me["arn"].rpartition("/")[2]
            values = [
                claim.get("value", "")
                for claim in page["attributes"]
                if claim["targetId"].rpartition("/")[2] != mine
            ]
            others += fleet.count(values, time.time())
            if others >= enough or not page.get("nextToken"):
                return {"machines": machines, "others": others}
            more = {"nextToken": page["nextToken"]}

    def _drain(self, _: Mapping[str, Any]) -> dict[str, Any]:
        self._turn("DRAINING")
        return {}

    def _activate(self, _: Mapping[str, Any]) -> dict[str, Any]:
        self._turn("ACTIVE")
        return {}

    def _turn(self, status: str) -> None:
        done = self._ecs.update_container_instances_state(
            cluster=self._me["cluster"], containerInstances=[self._me["arn"]], status=status
        )
        if done.get("failures") or not done["containerInstances"]:
            raise UnknownInstance(_reason(done))

    def _replace(self, _: Mapping[str, Any]) -> dict[str, Any]:
        self._groups.set_instance_health(
            InstanceId=self._me["instance"],
            HealthStatus="Unhealthy",
            ShouldRespectGracePeriod=False,
        )
        return {}

    def _measure(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if self._metrics:
            # No dimension: one alarm for the cluster, and no metric for each machine to pay for.
            data = [
                {"MetricName": name, "Value": float(value), "Unit": "Count"}
                for name, value in given["metrics"].items()
            ]
            self._metrics.put_metric_data(Namespace=self._settings.metrics, MetricData=data)
        return {}


def _reason(answer: Mapping[str, Any]) -> str:
    return ", ".join(failure.get("reason", "?") for failure in answer.get("failures", [])) or "?"


def _get(url: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> str:
    request = urllib.request.Request(url, headers=dict(headers or {}), method=method)  # noqa: S310 checked
    # Never through a proxy: both addresses are the machine's own.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_LOCAL) as answer:
        text: bytes = answer.read(65536)
    return text.decode()
