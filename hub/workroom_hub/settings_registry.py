"""The section `registry` of `workroom.yaml`: where images are kept and fetched from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from workroom_hub import checks
from workroom_hub.fields import Port, Section

_ADDRESS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?")
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
DOCKER_HUB = "https://registry-1.docker.io"


class Registry(Section):
    """The image registry: our images, and a cache of others', behind one address."""

    kind: Literal["none", "machine", "distribution", "artifactory"] = Field(
        "none",
        description="`none`: images stay in this machine's engine. `machine`: a registry on this machine, its images in this machine's S3 server. `distribution`: one that runs elsewhere, such as `infra/registry` on AWS. `artifactory`: the company's JFrog Artifactory.",
    )
    address: str = Field(
        "",
        description="Host and port of a registry elsewhere, such as acme.jfrog.io or registry.acme.internal:5000; https, but for loopback.",
    )
    repository: str = Field(
        "workroom",
        description="Folder of our images, which comes before their names: workroom or team/workroom.",
    )
    repository_key: str = Field(
        "",
        description="Kind `artifactory` with the repository path method: key of the (virtual) Docker repository, such as docker-virtual, which comes first in every name. Empty with the host name method, where `address` names the repository.",
    )
    push_credentials_file: Path | None = Field(
        None,
        description='File of mode 0600 with the user name and token that may push, as JSON: {"username": …, "password": …}. Kind `machine` has its own.',
    )
    pull_credentials_file: Path | None = Field(
        None,
        description="The same for the token that may only pull; it is the one a cluster gets (`ecs.registry_secret`).",
    )
    port: Port = Field(
        5000,
        description="Loopback port of this machine's registry (kind `machine`); `WORKROOM_REGISTRY_PORT` overrides it.",
    )
    upstream: str = Field(
        DOCKER_HUB,
        description="Registry whose images this machine's registry fetches once and keeps (kind `machine`).",
    )
    upstream_credentials_file: Path | None = Field(
        None, description="User name and token for `upstream`, in a file like the others."
    )

    @field_validator("address")
    @classmethod
    def _host(cls, value: str) -> str:
        if value and not _ADDRESS.fullmatch(value):
            raise ValueError(
                "write a host and, if need be, a port, without https:// and path, such as "
                "acme.jfrog.io"
            )
        _, colon, port = value.partition(":")
        if colon and not 1 <= int(port) <= 65535:
            raise ValueError(
                "a port is a number from 1 to 65535; write such as registry.acme.internal:5000"
            )
        return value

    @field_validator("repository")
    @classmethod
    def _path(cls, value: str) -> str:
        if not re.fullmatch(rf"{_PART}(?:/{_PART})*", value):
            raise ValueError(
                "write lower-case names with slashes between them, such as team/workroom"
            )
        return value

    @field_validator("repository_key")
    @classmethod
    def _key(cls, value: str) -> str:
        if value and not re.fullmatch(_PART, value):
            raise ValueError(
                "write the repository's key alone, such as docker-virtual; folders in it belong to "
                "repository"
            )
        return value

    @field_validator("upstream")
    @classmethod
    def _url(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError("it is not a URL such as https://registry-1.docker.io") from error
        here = host in ("localhost", "127.0.0.1")
        if not host or parts.username or parts.path.strip("/") or parts.query:
            raise ValueError("write only scheme and host, such as https://registry-1.docker.io")
        if not (parts.scheme == "https" or (parts.scheme == "http" and here)):
            raise ValueError("write it as https://… (http only for this very machine)")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _complete(self) -> Registry:
        elsewhere = self.kind in ("distribution", "artifactory")
        if elsewhere and not self.address:
            raise ValueError(
                f"address: it is missing, and kind '{self.kind}' needs it; write a host such as "
                "acme.jfrog.io"
            )
        if self.repository_key and self.kind != "artifactory":
            raise ValueError(
                f"repository_key: it is for kind 'artifactory', and kind is '{self.kind}'; set kind, "
                "or leave it out"
            )
        if not elsewhere:
            names = ("address", "push_credentials_file", "pull_credentials_file")
            given = next((name for name in names if getattr(self, name)), "")
            if given:
                raise ValueError(
                    f"{given}: it is for kind 'distribution' or 'artifactory', and kind is "
                    f"'{self.kind}': set kind, or leave {given} out"
                )
        return self

    @property
    def host(self) -> str:
        """Where it answers, `HOST[:PORT]`; "" without one."""
        return f"127.0.0.1:{self.port}" if self.kind == "machine" else self.address

    def path(self, name: str) -> str:
        """Return where an image is at that address, ours as `REPOSITORY/NAME`."""
        return f"{self.repository_key}/{name}" if self.repository_key else name


def problem(registry: Registry, spawner: str, *, data: bool) -> str:
    """Return what does not go with the other sections, beginning with the section, or "".

    Args:
        registry: The section.
        spawner: Where servers run.
        data: Whether this machine has an S3 server, which keeps the registry's images.
    """
    if registry.kind != "machine":
        return ""
    if spawner == "ecs":
        return (
            "registry: kind 'machine' is for 'spawner: local'; a cluster cannot reach this "
            "machine's loopback: write distribution or artifactory, and its address"
        )
    if not data:
        return (
            "registry: kind 'machine' keeps images in this machine's S3 server; set data: "
            "{enabled: true}"
        )
    return ""


def reference(registry: Registry, name: str) -> str:
    """Return the reference of our image `name`, without a tag: `HOST/[KEY/]REPOSITORY/NAME`."""
    return f"{registry.host}/{registry.path(f'{registry.repository}/{name}')}"


def upstream_reference(registry: Registry, ref: str) -> str:
    """Return the reference of somebody else's image through the registry's cache.

    Args:
        registry: The section.
        ref: The image as Docker Hub knows it, such as `debian:bookworm-slim`.

    Returns:
        "" if it names a registry of its own, or there is no registry to go through.
    """
    if registry.kind == "none" or checks.names_registry(ref):
        return ""
    path = ref if "/" in ref.partition("@")[0] else f"library/{ref}"
    if path.startswith(f"{registry.repository}/"):
        return ""
    return f"{registry.host}/{registry.path(path)}"
