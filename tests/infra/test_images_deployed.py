"""The images of the platform's services, and what the stack and their pages say of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.template import Template
from workroom_hub.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "infra/registry/Dockerfile").read_text()


@pytest.mark.parametrize(
    ("service", "dockerfile"),
    [
        ("Hub", "images/hub"),
        ("Proxy", "images/hub"),
        ("Gateway", "images/hub"),
        ("Registry", "infra/registry"),
        ("Metastore", "images/metastore"),
    ],
)
def test_what_a_service_writes_to_is_a_volume_of_its_image(
    template: Template, service: str, dockerfile: str
) -> None:
    text = (ROOT / dockerfile / "Dockerfile").read_text()
    last = text[text.rindex("\nFROM ") :]
    before, _, after = last.partition("\nVOLUME ")
    declared = json.loads(after.partition("\n")[0])
    folders = {each["ContainerPath"] for each in template.container(service)["MountPoints"]}
    assert folders == set(declared)
    for folder in folders - {"/tmp"}:
        assert re.search(rf"(chown|install -d .*-o) .*{folder}\b", before), folder
    # What comes after a volume is declared does not change it.
    assert "\nRUN " not in after


class TestRegistry:
    README = (ROOT / "infra/registry/README.md").read_text()

    def test_it_is_told_what_its_page_lists(self, template: Template) -> None:
        container = template.container("Registry")
        rows = re.findall(r"^\| `(REGISTRY_\w+)` \| ([^|]*) \|", self.README, re.MULTILINE)
        secret = {name for name, text in rows if "secret" in text}
        needed = {name for name, text in rows if "needed" in text}
        told = {each["Name"] for each in container["Environment"]}
        hidden = {each["Name"] for each in container["Secrets"]}
        assert needed <= told | hidden <= {name for name, _ in rows}
        assert needed & secret == hidden

    def test_ours_begin_as_the_settings_say(self, template: Template, settings: Settings) -> None:
        told = {e["Name"]: e["Value"] for e in template.container("Registry")["Environment"]}
        assert told["REGISTRY_REPOSITORY"] == settings.registry.repository

    def test_it_listens_where_the_balancer_asks(self, template: Template) -> None:
        [port] = re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE)
        [mapped] = template.container("Registry")["PortMappings"]
        assert mapped["ContainerPort"] == int(port)
        assert f"**Ports.** {port}," in self.README
        groups = [
            each
            for id, each in template.of("AWS::ElasticLoadBalancingV2::TargetGroup").items()
            if id.startswith("RegistryDoor")
        ]
        assert len(groups) == 2
        for group in groups:
            assert (group["Port"], group["Protocol"]) == (int(port), "HTTP")
            assert (group["HealthCheckPath"], group["Matcher"]) == ("/", {"HttpCode": "200"})

    def test_it_gets_the_time_it_needs(self, template: Template) -> None:
        container = template.container("Registry")
        [seconds] = re.findall(r"Stop time-out (\d+) s", self.README)
        assert container["StopTimeout"] == int(seconds)
        balancer = template.named("AWS::ElasticLoadBalancingV2::LoadBalancer", "RegistryDoor")
        told = {each["Key"]: each["Value"] for each in balancer["LoadBalancerAttributes"]}
        [idle] = re.findall(r"Idle\s+time-out (\d+) s", self.README)
        assert told["idle_timeout.timeout_seconds"] == idle

    def test_the_image_names_its_user_by_number(self) -> None:
        [made] = re.findall(r"useradd --uid (\d+)", DOCKERFILE)
        assert f"\nUSER {made}\n" in DOCKERFILE
        assert f"Runs as uid {made}" in self.README

    def test_its_rights_are_those_of_its_page(self, template: Template) -> None:
        rights = self.README.partition("**Rights.**")[2].partition("\n\n")[0]
        given = {a for each in template.rights("RolesRegistry") for a in each.actions}
        assert given == set(re.findall(r"`(s3:\w+)`", rights))


@pytest.mark.parametrize("folder", ["images/hub", "infra/registry"])
def test_what_an_image_copies_is_in_its_context(folder: str) -> None:
    """The context of these two is the whole repository, of which Docker is sent what is named."""
    sent = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    text = (ROOT / folder / "Dockerfile").read_text().replace("\\\n", " ")
    copied = [
        path
        for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE)
        for path in line.split()[:-1]
    ]
    assert copied
    for path in copied:
        assert any(path == each or path.startswith(f"{each}/") for each in sent), path
        assert list(ROOT.glob(path)) or path.endswith("ca-bundle.cr[t]"), path
