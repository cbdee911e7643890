"""One AWS account of moto over HTTP: a cluster, a group with machines; with bad days to order.

moto's ListAttributes answers nothing where only a name is asked for; AWS answers all values of that
name (API reference), so that is put right here.
"""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

import boto3
from moto.ecs.models import EC2ContainerServiceBackend
from moto.moto_api._internal.models import moto_api_backend
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

REGION = "eu-central-1"
CLUSTER = GROUP = "workroom"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


class MotoAccount:
    """A context manager. `calls` are the calls that came, with their times."""

    def __init__(self, machines: int = 1) -> None:
        self.calls: list[tuple[float, str]] = []
        self.errors: dict[str, str] = {}
        """What each call is answered with instead, by its name; `*` is every call."""
        self._hold = threading.Event()
        self._machines = machines

    def __enter__(self) -> MotoAccount:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet
        )
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._plain = make_server("127.0.0.1", 0, self._moto, request_handler=_Quiet)
        threading.Thread(target=self._plain.serve_forever, args=(0.02,), daemon=True).start()
        moto_api_backend.reset()
        self.ecs, self.groups = self._client("ecs"), self._client("autoscaling")
        self._fill()
        return self

    def __exit__(self, *_: object) -> None:
        self._hold.set()
        for server in (self._server, self._plain):
            server.shutdown()
            server.server_close()

    def status(self, number: int = 0) -> str:
        """A machine's status in ECS."""
        return str(self._machine(number)["status"])

    def claim(self, number: int = 0) -> str | None:
        """The time of its claim."""
        found = {a["name"]: a.get("value") for a in self._machine(number)["attributes"]}
        return found.get("workroom.mount-hang")

    def health(self, number: int = 0) -> str:
        """A machine's health in its group."""
        found = self.groups.describe_auto_scaling_instances(InstanceIds=[self.instances[number]])
        return str(found["AutoScalingInstances"][0]["HealthStatus"])

    def metrics(self, name: str) -> list[dict[str, Any]]:
        """CloudWatch's metrics of a name."""
        return list(self._client("cloudwatch").list_metrics(MetricName=name)["Metrics"])

    def put_claim(self, number: int, age: float = 0.0) -> None:
        """Write another machine's claim."""
        attribute = {"name": "workroom.mount-hang", "value": str(int(time.time() - age))}
        self.ecs.put_attributes(
            cluster=CLUSTER, attributes=[{**attribute, "targetId": self.arns[number]}]
        )

    def _machine(self, number: int) -> dict[str, Any]:
        found = self.ecs.describe_container_instances(
            cluster=CLUSTER, containerInstances=[self.arns[number]]
        )
        return dict(found["containerInstances"][0])

    def _client(self, name: str) -> Any:
        # What the tests ask themselves is neither recorded nor spoilt.
        return boto3.client(
            name,
            region_name=REGION,
            endpoint_url=f"http://127.0.0.1:{self._plain.server_port}",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def _fill(self) -> None:
        ec2 = self._client("ec2")
        subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
        image = ec2.describe_images()["Images"][0]["ImageId"]
        self.groups.create_launch_configuration(
            LaunchConfigurationName="machines", ImageId=image, InstanceType="m5.large"
        )
        self.groups.create_auto_scaling_group(
            AutoScalingGroupName=GROUP,
            LaunchConfigurationName="machines",
            MinSize=self._machines,
            MaxSize=self._machines,
            VPCZoneIdentifier=subnet,
        )
        [group] = self.groups.describe_auto_scaling_groups()["AutoScalingGroups"]
        self.instances = [instance["InstanceId"] for instance in group["Instances"]]
        self.ecs.create_cluster(clusterName=CLUSTER)
        self.arns = [
            self.ecs.register_container_instance(
                cluster=CLUSTER, instanceIdentityDocument=json.dumps({"instanceId": instance})
            )["containerInstance"]["containerInstanceArn"]
            for instance in self.instances
        ]

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        name = _name(environ)
        self.calls.append((time.monotonic(), name))
        error = self.errors.get(name) or self.errors.get("*")
        if error == "silence":
            self._hold.wait(30)
        if error:
            text = json.dumps({"__type": error, "message": "as ordered"}).encode()
            start("400 Bad Request", [("Content-Type", "application/x-amz-json-1.1")])
            return [text]
        return self._moto(environ, start)  # type: ignore[no-any-return]


def _name(environ: dict[str, Any]) -> str:
    if "HTTP_X_AMZ_TARGET" in environ:
        return str(environ["HTTP_X_AMZ_TARGET"]).rpartition(".")[2]
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return parse_qs(body.decode()).get("Action", ["?"])[0]


def _list_attributes(
    self: EC2ContainerServiceBackend,
    target_type: str,
    cluster_name: str | None = None,
    attr_name: str | None = None,
    attr_value: str | None = None,
) -> Any:
    return [
        (cluster, instance.container_instance_arn, name, value)
        for cluster, instances in self.container_instances.items()
        for instance in instances.values()
        for name, value in instance.attributes.items()
        if cluster_name in (None, cluster)
        and attr_name in (None, name)
        and attr_value in (None, value)
    ]


EC2ContainerServiceBackend.list_attributes = _list_attributes  # type: ignore[method-assign]
