"""The pipeline that makes the machines' image, with everything on it that a start would wait for.

Beyond the ECS-optimised image it has the notebook images, pulled by digest; the EFS helper; the
mount watchdog; and an agent that sends the machine's logs. A machine of it starts a server without
fetching anything.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from typing import Any

from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_imagebuilder as imagebuilder
from aws_cdk import aws_s3_assets as assets
from constructs import Construct

from workroom_infra.watchdog_bundle import PYTHON

WATCHDOG_UNIT = "workroom-mount-watchdog.service"
_LOG_UNIT = "workroom-mount-watchdog-log.service"
WATCHDOG_USER = "workroom-watchdog"
_KEPT = "/etc/workroom/kept-images"
_UNUSED = "workroom-unused-images"
_WATCHDOG_LOG = "/var/log/workroom-watchdog.log"


def watchdog_metrics(instance: str) -> str:
    """Return the CloudWatch namespace of an installation's mount watchdogs.

    Their metrics have no dimension, so the namespace is what tells two installations apart.
    """
    return f"Workroom/Mounts/{instance}"


class MachineImage(Construct):
    """An EC2 Image Builder pipeline; started by hand or by `aws imagebuilder`, it makes an AMI.

    Args:
        scope: Parent.
        id: Name in the stack.
        name: First part of its names.
        parent: AMI it starts from.
        images: Notebook images, by digest.
        registry: Host of the registry.
        metrics: CloudWatch namespace of the watchdog's metrics.
        pull_secret: ARN of the secret with the registry's read-only token.
        watchdog: The watchdog with all that it imports, as `watchdog_bundle` makes it.
        log_group: Name of the log group of machines.
        role: What the machine that builds may do.
        subnet: Where it is.
        security_group: Its group.
        disk: GiB of the image's disk.
        region: Region.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        name: str,
        parent: str,
        images: Sequence[str],
        registry: str,
        metrics: str,
        pull_secret: str,
        watchdog: assets.Asset,
        log_group: str,
        role: iam.IRole,
        subnet: ec2.ISubnet,
        security_group: ec2.ISecurityGroup,
        disk: int,
        region: str,
    ) -> None:
        super().__init__(scope, id)
        steps = {
            "system": system(log_group),
            "watchdog": watch(watchdog.s3_object_url, watchdog.asset_hash, metrics),
            "unused": remove_unused(),
            "images": pull(images, registry, pull_secret, region),
        }
        components = [self._component(name, each, data) for each, data in steps.items()]
        recipe = imagebuilder.CfnImageRecipe(
            self,
            "Recipe",
            name=f"{name}-machine",
            version=_version([parent, disk, *steps.values()]),
            parent_image=parent,
            components=[
                imagebuilder.CfnImageRecipe.ComponentConfigurationProperty(
                    component_arn=component.attr_arn
                )
                for component in components
            ],
            block_device_mappings=[
                imagebuilder.CfnImageRecipe.InstanceBlockDeviceMappingProperty(
                    device_name="/dev/xvda",
                    ebs=imagebuilder.CfnImageRecipe.EbsInstanceBlockDeviceSpecificationProperty(
                        encrypted=True, volume_size=disk, volume_type="gp3"
                    ),
                )
            ],
        )
        profile = iam.CfnInstanceProfile(self, "Profile", roles=[role.role_name])
        infrastructure = imagebuilder.CfnInfrastructureConfiguration(
            self,
            "Machine",
            name=f"{name}-machine",
            instance_profile_name=profile.ref,
            instance_types=["m7i.large"],
            subnet_id=subnet.subnet_id,
            security_group_ids=[security_group.security_group_id],
            terminate_instance_on_failure=True,
            instance_metadata_options=(
                imagebuilder.CfnInfrastructureConfiguration.InstanceMetadataOptionsProperty(
                    http_tokens="required", http_put_response_hop_limit=1
                )
            ),
        )
        self.pipeline = imagebuilder.CfnImagePipeline(
            self,
            "Pipeline",
            name=f"{name}-machine",
            image_recipe_arn=recipe.attr_arn,
            infrastructure_configuration_arn=infrastructure.attr_arn,
            enhanced_image_metadata_enabled=True,
            image_tests_configuration=imagebuilder.CfnImagePipeline.ImageTestsConfigurationProperty(
                image_tests_enabled=True, timeout_minutes=60
            ),
        )

    def _component(self, name: str, step: str, data: dict[str, Any]) -> imagebuilder.CfnComponent:
        return imagebuilder.CfnComponent(
            self,
            step.title(),
            name=f"{name}-{step}",
            platform="Linux",
            # What is made once stays; other content is another version.
            version=_version([data]),
            data=_text(self, data),
        )


def system(log_group: str) -> dict[str, Any]:
    """Return the component with the EFS helper and the log agent."""
    files = [
        {
            "file_path": path,
            "log_group_name": log_group,
            "log_stream_name": f"{{instance_id}}/{name}",
        }
        for name, path in (
            ("agent", "/var/log/ecs/ecs-agent.log"),
            ("watchdog", _WATCHDOG_LOG),
            ("efs", "/var/log/amazon/efs/mount.log"),
        )
    ]
    agent = {"logs": {"logs_collected": {"files": {"collect_list": files}}}}
    return _document(
        "The EFS helper and the log agent",
        [
            f"dnf install -y amazon-efs-utils amazon-cloudwatch-agent {PYTHON} awscli-2 unzip",
            _file(
                "/opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.json",
                json.dumps(agent),
            ),
            "systemctl enable amazon-cloudwatch-agent",
        ],
        ["mount.efs --version", "systemctl is-enabled amazon-cloudwatch-agent"],
    )


def watch(archive: str, content: str, metrics: str) -> dict[str, Any]:
    """Return the component with the mount watchdog.

    Args:
        archive: Where its package is in S3, as a ZIP file.
        content: Hash of what is in it.
        metrics: CloudWatch namespace of its metrics.
    """
    place = "/opt/workroom/watchdog"
    site = f"{place}/lib/{PYTHON}/site-packages"
    units = "/etc/systemd/system"
    both = f"{WATCHDOG_UNIT} {_LOG_UNIT}"
    user = WATCHDOG_USER
    return _document(
        f"The mount watchdog {content[:12]}",
        [
            f"aws s3 cp {archive} /tmp/watchdog.zip --only-show-errors",
            # boto3 is in the archive: nothing comes from the internet.
            f"{PYTHON} -m venv --without-pip {place}",
            f"unzip -oq /tmp/watchdog.zip -d {site} && rm /tmp/watchdog.zip",
            f"chmod -R a+rX {place}",
            f"id {user} >/dev/null 2>&1 || "
            f"useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {user}",
            "mkdir -p /etc/workroom",
            f"echo WORKROOM_WATCHDOG_METRICS={metrics} >/etc/workroom/mount-watchdog.env",
            f"cd {site}/workroom_infra/watchdog && install -m 0644 {both} {units}",
            f"systemctl enable {both}",
        ],
        [
            f"runuser -u {user} -- {place}/bin/python -B -m workroom_infra.watchdog --check",
            f"runuser -u {user} -- {place}/bin/python -B -c 'import workroom_infra.watchdog.aws'",
            f"systemctl is-enabled {both}",
        ],
    )


def remove_unused() -> dict[str, Any]:
    """Return the component that removes images when the disk fills.

    With `prefer-cached` the ECS agent removes none. Not `docker image prune`: it would take the
    agent's own pause image, and what was pulled in advance.
    """
    script = rf"""#!/bin/sh
# Removes images that no container uses, once less than 30 % of the disk is free.
set -eu
set -- $(stat -f -c '%a %b' /var/lib/docker)
[ $((100 * $1 / $2)) -lt 30 ] || exit 0
docker image ls --digests --no-trunc |
    awk '$1 !~ /^amazon\/amazon-ecs-/ && $3 ~ /^sha256:/ {{print $1 "@" $3}}' |
    grep -vxFf {_KEPT} |
    xargs -r -n 1 docker image rm || true  # those in use stay
"""
    place = f"/opt/workroom/{_UNUSED}"
    service = f"""[Unit]
Description=Remove images that nobody uses when the disk fills
After=docker.service
[Service]
Type=oneshot
ExecStart={place}
Nice=19
IOSchedulingClass=idle
"""
    timer = """[Unit]
Description=Look daily whether images fill the disk
[Timer]
OnCalendar=*-*-* 02:00
RandomizedDelaySec=2h
[Install]
WantedBy=timers.target
"""
    units = "/etc/systemd/system"
    return _document(
        "Images that nobody uses",
        [
            _file(place, script),
            f"chmod 0755 {place}",
            _file(f"{units}/{_UNUSED}.service", service),
            _file(f"{units}/{_UNUSED}.timer", timer),
            f"systemctl enable {_UNUSED}.timer",
        ],
        [f"systemd-analyze verify {_UNUSED}.timer", f"systemctl is-enabled {_UNUSED}.timer"],
    )


def pull(images: Sequence[str], registry: str, secret: str, region: str) -> dict[str, Any]:
    """Return the component that has the notebook images on the machine already."""
    log_in = (
        f"aws secretsmanager get-secret-value --region {region} --secret-id {secret}"
        " --query SecretString --output text"
        " | python3 -c 'import json, sys; print(json.load(sys.stdin)[\"password\"])'"
        f" | docker login --username cluster --password-stdin {registry}"
    )
    pulls = [f"docker pull --quiet {shlex.quote(image)}" for image in images]
    # As `docker image ls` writes them: without a tag.
    kept = "".join(re.sub(r":[^/@]+@", "@", image) + "\n" for image in images)
    commands = [
        _file(_KEPT, kept),
        "systemctl start docker",
        *([log_in, *pulls, f"docker logout {registry}"] if pulls else []),
        # Each machine registers itself anew, and knows of no cluster before it starts.
        "systemctl stop ecs && rm -f /var/lib/ecs/data/agent.db /etc/ecs/ecs.config",
    ]
    checks = [f"docker image inspect --format ok {shlex.quote(image)}" for image in images]
    return _document("Notebook images, by digest", commands, checks or ["docker info"])


def _document(description: str, commands: list[str], checks: list[str]) -> dict[str, Any]:
    def phase(name: str, words: list[str]) -> dict[str, Any]:
        step = {"name": name.title(), "action": "ExecuteBash", "inputs": {"commands": words}}
        return {"name": name, "steps": [step]}

    return {
        "name": description,
        "schemaVersion": 1.0,
        "phases": [phase("build", ["set -euo pipefail", *commands]), phase("test", checks)],
    }


def _file(path: str, content: str) -> str:
    return f"mkdir -p $(dirname {path}) && printf '%s' {shlex.quote(content)} >{path}"


def _version(content: object) -> str:
    from aws_cdk import Token

    # References have other names in every run, and mean the same.
    text = json.dumps(content, sort_keys=True, default=str)
    if Token.is_unresolved(text):
        text = _without_references(text)
    return f"1.0.{int(hashlib.sha256(text.encode()).hexdigest()[:7], 16)}"


def _without_references(text: str) -> str:
    return re.sub(r"\$\{Token\[[^]]*\]\}", "reference", text)


def _text(scope: Construct, data: dict[str, Any]) -> str:
    from aws_cdk import Stack

    # JSON is YAML, too.
    return Stack.of(scope).to_json_string(data)
