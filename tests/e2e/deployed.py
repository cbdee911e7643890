"""A deployment: the stack in an emulated account, its services in containers, and its door."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import docker
import requests
import yaml
from docker.models.containers import Container

from tests.e2e.installation import wait_for
from tests.fakes.emulated_account import database, places, remainder
from tests.fakes.emulated_account.emulator import ACCOUNT, KEYS, REGION, Emulator, running
from tests.fakes.emulated_account.remainder import DEFINITION, SERVICE, Remainder
from tests.fakes.emulated_account.split import Split, split
from tests.support import platform_images
from tests.support.aws_settings import DIGEST, everything
from tests.support.s3_server import free_port
from workroom_hub.deploy import assembly, cloud, written
from workroom_hub.deploy.calls import Clients

DOMAIN = "workroom.example.com"
INSTANCE = "deployed"
NETWORK = "workroom-test-deployed"
# Nothing listens there, so that the engine's own images are used at once.
_NOWHERE = "127.0.0.1:1"
Say = Callable[[str], None]


@dataclass
class Deployed:
    """A deployment in an emulated account.

    Attributes:
        emulator: The account.
        folder: Its `workroom.yaml`, and files of its doors.
        say: Where it is said what the emulator leaves out.
        port: Port of this machine that its web page's load balancer stands at.
        registry: Address of its registry from this machine.
        outputs: Outputs of the stack.
        left_out: Types that the emulator's CloudFormation leaves out.
        passwords: By user.
    """

    emulator: Emulator
    folder: Path
    say: Say
    port: int = field(default_factory=free_port)
    registry: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    outputs: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    passwords: dict[str, str] = field(default_factory=dict)

    _rest: Remainder | None = None
    _doors: ExitStack = field(default_factory=ExitStack)

    # -- the stack -----------------------------------------------------------------------

    @property
    def settings_path(self) -> Path:
        """The platform engineer's file."""
        return self.folder / "workroom.yaml"

    def write_settings(self, **changes: Any) -> None:
        """Write `workroom.yaml` for this account, with a hosted zone that is there already."""
        given = everything()
        route53 = self.emulator.client("route53")
        zone = route53.create_hosted_zone(Name="example.com", CallerReference="1")["HostedZone"]
        given["aws"] |= {
            "account": ACCOUNT,
            "region": REGION,
            "zone_id": zone["Id"].rpartition("/")[2],
        }
        given |= {
            "instance": INSTANCE,
            "profiles": [
                {"name": "small", "title": "Small", "cpu": 1, "memory": "1G"},
                {"name": "gpu", "title": "GPU", "cpu": 4, "memory": "8G", "gpu": 1},
            ],
            "images": [{"name": "notebook", "title": "Data science", "ref": "workroom/notebook:1"}],
            "auth": {"first_admin": "ada"},
        } | changes
        self.settings_path.write_text(json.dumps(given))

    def pin(self, image: str) -> None:
        """Have servers start from an image by digest."""
        given = yaml.safe_load(self.settings_path.read_text())
        given["images"][0]["ref"] = image
        self.settings_path.write_text(yaml.safe_dump(given, sort_keys=False))

    def deploy(self) -> None:
        """Do what `workroom deploy deploy` does, and what the emulator leaves out of it."""
        with mock.patch.dict(
            os.environ,
            {
                **self.emulator.environment(),
                "WORKROOM_CONFIG": str(self.settings_path),
                "WORKROOM_HOME": str(self.folder / "state"),
            },
        ):
            made = assembly.synthesise()
            parts = split(made.template, *self.emulator.leaves_out(made.template_path))
            made.template_path.write_text(json.dumps(parts.kept))
            account = cloud.Account(
                made.settings, Clients(REGION), say=lambda _: None, sleep=lambda _: None
            )
            account.require_right_one()
            account.deploy(made, agreed=lambda _: True)
            answers = account.outputs()
            self._make_the_rest(made.template, parts, answers)
            shown = {n: v for n, v in answers.items() if n not in parts.asked.values()}
            self.outputs = shown | self._rest_outputs()
            written.write(made.settings_path, made.settings, self.outputs)

    def _make_the_rest(
        self, template: dict[str, Any], parts: Split, answers: dict[str, str]
    ) -> None:
        if self._rest is None:
            self._rest = Remainder(
                parts,
                answers,
                self.emulator.client,
                keys={**KEYS, "REGISTRY_S3_ENDPOINT": self.emulator.url},
                images=_engine_names(template),
                say=self.say,
            )
            self.left_out = self._rest.report()
            self.say(
                f"  The emulator generates secrets of other characters: "
                f"{remainder.write_secrets(template, self.emulator.client)} written again"
            )
        else:
            self._rest.update(parts, answers)
        self._rest.make()
        self._rest.give()

    def _rest_outputs(self) -> dict[str, str]:
        assert self._rest is not None
        made = self._rest.outputs()
        return {
            "ImagePipeline": "none: there is no EC2 Image Builder",
            "GpuImagePipeline": "none",
            **{name.removeprefix("Output"): value for name, value in made.items()},
        }

    # -- its services --------------------------------------------------------------------

    def start_registry(self) -> None:
        """Start the registry's service and its load balancer."""
        address = self._start("Registry", "registry")
        self._door("registry", int(self.registry.rpartition(":")[2]), f"{address}:5000")
        wait_for(self._registry_answers, "the registry answers")

    def start_hub(self) -> None:
        """Start the databases, the proxy, the hub and the gateway, and the web's load balancer."""
        assert self._rest is not None
        definition = self._definition("hub")
        told = {each["name"]: each["value"] for each in definition["environment"]}
        secrets = {each["name"]: each["valueFrom"] for each in definition["secrets"]}
        arn = secrets["WORKROOM_DATABASE_USERNAME"].removesuffix(":username::")
        hub = database.secret(self.emulator, arn)
        database.start(self.emulator, {told["WORKROOM_DATABASE_HOST"]: hub})
        proxy = self._start("Proxy", "proxy")
        self._start("Hub", "hub")
        self._start("Gateway", "gateway")
        self._door("web", self.port, f"{proxy}:8000", tls=True)
        wait_for(self.answers, "the hub answers", 90)
        made = b"first admin: made the account"
        wait_for(lambda: made in self.container("hub").logs(), "the first admin's account is there")
        first = database.secret(self.emulator, self.outputs["FirstPassword"])
        self.passwords[first["username"]] = first["password"]

    def replace_hub(self) -> None:
        """Have ECS start another hub in the place of this one, as a deployment does."""
        old = self.container("hub").id
        self.emulator.client("ecs").update_service(
            cluster=self.outputs["PlatformCluster"], service="hub", forceNewDeployment=True
        )
        wait_for(lambda: self.container("hub").id != old, "another hub", 60)
        places.name(self.emulator, self.container("hub"), f"hub.{INSTANCE}.internal")
        wait_for(self.answers, "it answers", 60)

    def container(self, service: str) -> Container:
        """Return the container of a service."""
        cluster = self.outputs["PlatformCluster"]
        return places.service_container(self.emulator, cluster, service)

    def servers(self) -> list[Container]:
        """Return the containers of people's servers."""
        return self.emulator.containers(self.outputs["Cluster"])

    def close(self) -> None:
        """End its doors."""
        self._doors.close()

    def _start(self, construct: str, service: str) -> str:
        assert self._rest is not None
        self._rest.make([DEFINITION, SERVICE], construct)
        names = f"{service}.{INSTANCE}.internal"
        return places.name(self.emulator, self.container(service), names)

    def _definition(self, service: str) -> dict[str, Any]:
        found = self.emulator.client("ecs").describe_task_definition(
            taskDefinition=f"platform-{self.outputs['PlatformCluster']}-{service}"
        )
        return dict(found["taskDefinition"]["containerDefinitions"][0])

    def _door(self, name: str, port: int, target: str, *, tls: bool = False) -> None:
        self._doors.enter_context(places.balancer(self.folder / name, port, target, tls=tls))

    def _registry_answers(self) -> bool:
        try:
            return requests.get(f"http://{self.registry}/v2/", timeout=5).status_code == 401
        except requests.ConnectionError:
            return False

    # -- its people ----------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Address of its pages."""
        return self.outputs["Web"]

    @property
    def subdomain(self) -> bool:
        """Every user has a host name of her own, as the stack's settings say."""
        return True

    @property
    def browser_flags(self) -> list[str]:
        """Flags with which a browser finds its names at the load balancer on this machine."""
        place = f"127.0.0.1:{self.port}"
        rules = f"MAP {DOMAIN}:443 {place}, MAP *.{DOMAIN}:443 {place}"
        return [f"--host-resolver-rules={rules}", "--ignore-certificate-errors"]

    def answers(self) -> bool:
        """Tell whether the log-in page comes through the load balancer."""
        certificate = self.folder / "web" / "certificate.pem"
        try:
            answer = requests.get(
                f"https://127.0.0.1:{self.port}/hub/login",
                headers={"Host": DOMAIN},
                verify=str(certificate),
                timeout=10,
            )
        except requests.ConnectionError:
            return False
        return answer.status_code == 200


@contextmanager
def deployment(engine: docker.DockerClient, folder: Path, say: Say) -> Iterator[Deployed]:
    """Have an empty account; what is made in it is gone afterwards."""
    with running(engine, folder / "emulator", NETWORK) as emulator:
        made = Deployed(emulator, folder, say)
        try:
            yield made
        finally:
            made.close()


def _engine_names(template: dict[str, Any]) -> dict[str, str]:
    """Return the engine's names of the platform's images, by the template's."""
    found = {}
    for resource in template["Resources"].values():
        if resource["Type"] == DEFINITION:
            [container] = resource["Properties"]["ContainerDefinitions"]
            name = container["Image"].rpartition("@")[0].rpartition("/")[2]
            found[container["Image"]] = f"{_NOWHERE}/{name}:latest"
    assert all(name.endswith(DIGEST) for name in found)
    return found


def build_images() -> None:
    """Build the images of the services that run here."""
    platform_images.build("images/hub/Dockerfile", f"{_NOWHERE}/hub:latest")
    platform_images.build("infra/registry/Dockerfile", f"{_NOWHERE}/registry:latest")
