"""The stack in an emulated account: deployed through CloudFormation, then used by a person.

What the emulator leaves out is printed by name, and made through the API where there is one
(`tests/fakes/emulated_account`).
"""

from __future__ import annotations

import io
import json
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import ImageNotFound
from playwright.sync_api import Browser, expect

from tests.e2e.deployed import INSTANCE, Deployed, build_images, deployment
from tests.e2e.installation import wait_for
from tests.e2e.person import Person
from tests.fakes.emulated_account import database, places
from tests.fakes.emulated_account.remainder import NO_API
from tests.support.browser import chromium as real_chromium

pytestmark = pytest.mark.docker
RELEASE = "/opt/release"


@pytest.fixture(scope="module")
def pulled(engine: docker.DockerClient) -> Iterator[list[str]]:
    """Names of images that the engine forgets once no container is left."""
    names: list[str] = []
    yield names
    for name in names:
        with suppress(ImageNotFound):
            engine.images.remove(name)


@pytest.fixture(scope="module")
def deployed(
    engine: docker.DockerClient,
    pulled: list[str],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Deployed]:
    """The stack in an emulated account, and its registry's service."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(line, flush=True)

    assert not pulled  # it ends after this, when nothing uses an image any more
    build_images()
    with deployment(engine, tmp_path_factory.mktemp("deployed"), say) as made:
        made.write_settings()
        made.deploy()
        made.start_registry()
        yield made


@pytest.fixture(scope="module")
def release(
    deployed: Deployed, engine: docker.DockerClient, notebook_image: str, pulled: list[str]
) -> tuple[str, str]:
    """An image that only the registry has: its digest, and what is written in it."""
    word = uuid.uuid4().hex
    tag = f"{deployed.registry}/workroom/notebook:1"
    text = f"FROM {notebook_image}\nUSER root\nRUN echo {word} >{RELEASE}\nUSER workroom\n"
    engine.images.build(fileobj=io.BytesIO(text.encode()), tag=tag, rm=True)
    login = database.secret(deployed.emulator, f"{INSTANCE}/registry-push")
    pushed = list(engine.images.push(tag, stream=True, decode=True, auth_config=login))
    assert not [line for line in pushed if "error" in line], pushed[-1]
    [digest] = [line["aux"]["Digest"] for line in pushed if "aux" in line]
    engine.images.remove(tag)
    ref = f"{deployed.registry}/workroom/notebook@{digest}"
    with pytest.raises(ImageNotFound):
        engine.images.get(ref)
    pulled.append(ref)
    return ref, word


@pytest.fixture(scope="module")
def in_use(deployed: Deployed, release: tuple[str, str]) -> Deployed:
    """The same deployment with the image under `images`, and its hub, proxy and gateway."""
    deployed.pin(release[0])
    deployed.deploy()
    login = database.secret(deployed.emulator, deployed.outputs["RegistrySecret"])
    places.log_in(deployed.emulator, deployed.registry, login)
    deployed.start_hub()
    return deployed


@pytest.fixture
def ada(in_use: Deployed) -> Iterator[Person]:
    """The first admin, with the password of the stack's secret."""
    with real_chromium(*in_use.browser_flags) as browser:
        yield _person(in_use, browser)


def _person(in_use: Deployed, browser: Browser) -> Person:
    return Person(in_use, browser, "ada").logged_in()


def test_what_the_emulator_leaves_out_is_known(deployed: Deployed) -> None:
    """By the emulator's own word: what it learns or loses is noticed here."""
    assert set(deployed.left_out) == {
        "AWS::AutoScaling::WarmPool",
        "AWS::EC2::EIP",
        "AWS::EC2::FlowLog",
        "AWS::EC2::NatGateway",
        "AWS::EC2::Route",  # to the NAT gateway
        "AWS::EC2::SecurityGroupEgress",
        "AWS::EC2::SecurityGroupIngress",
        "AWS::ECS::CapacityProvider",
        "AWS::ECS::ClusterCapacityProviderAssociations",
        "AWS::ECS::Service",
        "AWS::ECS::TaskDefinition",
        "AWS::ImageBuilder::Component",
        "AWS::ImageBuilder::ImagePipeline",
        "AWS::ImageBuilder::ImageRecipe",
        "AWS::ImageBuilder::InfrastructureConfiguration",
    }
    assert set(NO_API) < set(deployed.left_out)


def test_the_account_has_what_the_template_says(deployed: Deployed) -> None:
    client, outputs = deployed.emulator.client, deployed.outputs
    s3 = client("s3")
    bucket = outputs["Warehouse"].removeprefix("s3://").partition("/")[0]
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    [rule] = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert "AbortIncompleteMultipartUpload" in rule
    assert "Expiration" not in rule
    policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    assert any(each["Effect"] == "Deny" for each in policy["Statement"])
    [cluster] = client("ecs").describe_clusters(clusters=[outputs["Cluster"]])["clusters"]
    assert set(cluster["capacityProviders"]) == {
        outputs["CapacityProvider"],
        outputs["GpuCapacityProvider"],
    }
    [files] = client("efs").describe_file_systems(FileSystemId=outputs["FileSystem"])["FileSystems"]
    assert files["Encrypted"]
    [group] = client("ec2").describe_security_groups(GroupIds=[outputs["ServersSecurityGroup"]])[
        "SecurityGroups"
    ]
    # Pages for the proxy and the hub, ssh for the gateway, and nobody by address.
    assert sorted(rule["FromPort"] for rule in group["IpPermissions"]) == [2222, 8888, 8888]
    assert not any(rule["IpRanges"] for rule in group["IpPermissions"])
    role = outputs["TaskRole"].rpartition("/")[2]
    assert client("iam").list_role_policies(RoleName=role)["PolicyNames"]


def test_a_person_runs_a_cell_in_the_image_of_the_registry(
    in_use: Deployed, release: tuple[str, str], ada: Person
) -> None:
    ref, word = release
    ada.spawn("small")
    printed = ada.run(ada.kernel("python3"), f"print(open('{RELEASE}').read(), 6 * 7)")
    assert printed.split() == [word, "42"]
    [server] = in_use.servers()
    [task] = _tasks(in_use)
    assert task["capacityProviderName"] == in_use.outputs["CapacityProvider"]
    definition = in_use.emulator.client("ecs").describe_task_definition(
        taskDefinition=task["taskDefinitionArn"]
    )["taskDefinition"]
    outputs = in_use.outputs
    assert definition["taskRoleArn"] == outputs["TaskRole"]
    assert definition["executionRoleArn"] == outputs["ExecutionRole"]
    [container] = definition["containerDefinitions"]
    assert container["image"] == ref == server.attrs["Config"]["Image"]
    assert container["repositoryCredentials"] == {"credentialsParameter": outputs["RegistrySecret"]}
    [volume] = definition["volumes"]
    assert volume["efsVolumeConfiguration"]["fileSystemId"] == outputs["FileSystem"]


def test_ssh_leads_into_the_same_container(in_use: Deployed, ada: Person, tmp_path: Path) -> None:
    key = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    ada.page.goto(ada.hub_url("account/ssh"))
    ada.page.get_by_label("Public key").fill(key.with_suffix(".pub").read_text())
    ada.page.get_by_role("button", name="Add key").click()
    expect(ada.page.locator("#done")).to_be_visible()
    gateway = places.address(in_use.emulator, in_use.container("gateway"))
    options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
    words = [word for option in options for word in ("-o", option)]
    done = subprocess.run(
        ["ssh", "-F", "none", "-i", str(key), "-p", "2222", *words, f"ada@{gateway}", "hostname"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [server] = in_use.servers()
    assert done.stdout.strip() == server.attrs["Config"]["Hostname"]


def test_another_hub_drops_nobody(in_use: Deployed, ada: Person) -> None:
    ada.page.goto(ada.server_url("lab"))
    ada.open_lab()
    kernel = ada.kernel("python3")
    ada.run(kernel, "kept = 6 * 7")
    [task] = _tasks(in_use)
    in_use.replace_hub()
    # The page that is open did not notice, and the new hub knows the server.
    assert ada.run(kernel, "print(kept)").strip() == "42"
    assert [each["taskArn"] for each in _tasks(in_use)] == [task["taskArn"]]
    ada.stop_from_home()
    wait_for(lambda: not in_use.servers(), "the container is gone")


def _tasks(in_use: Deployed) -> list[dict[str, Any]]:
    ecs, cluster = in_use.emulator.client("ecs"), in_use.outputs["Cluster"]
    arns = ecs.list_tasks(cluster=cluster)["taskArns"]
    found: list[dict[str, Any]] = ecs.describe_tasks(cluster=cluster, tasks=arns)["tasks"]
    return found
