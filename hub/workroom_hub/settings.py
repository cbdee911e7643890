"""`workroom.yaml` as one typed object.

Every setting of the platform is a field of `Settings`; its description is the
manual (`docs/settings.md` is written from it). Loading never has side effects:
what depends on this machine (addresses, secrets, sizes) is in `runtime.py`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from workroom_hub import checks, checks_aws
from workroom_hub.fields import Port, Section, Size, Slug, Span
from workroom_hub.settings_aws import Aws
from workroom_hub.settings_aws import problem as aws_problem
from workroom_hub.settings_data import Data
from workroom_hub.settings_data import problem as data_problem
from workroom_hub.settings_ecs import Ecs
from workroom_hub.settings_plan import Plan
from workroom_hub.settings_registry import Registry
from workroom_hub.settings_registry import problem as registry_problem
from workroom_hub.settings_ssh import Ssh
from workroom_spawner.efs_root import problem_of_root

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104


class Web(Section):
    """Where people reach Workroom in a browser."""

    host: str = Field("127.0.0.1", description="Address the proxy listens on. Loopback by default.")
    port: Port = Field(8000, description="Port of the web page; `WORKROOM_PORT` overrides it.")
    public_url: str | None = Field(
        None,
        description="The address people type, when something stands in front of the proxy, such as `https://workroom.example.com`.",
    )
    isolation: Literal["path", "subdomain"] = Field(
        "path",
        description="`path`: every server under one host name. `subdomain`: one host name per user, the only full isolation between users' pages in a browser.",
    )
    proxy_api_port: Port = Field(8001, description="Loopback port of the proxy's own API.")
    proxy_api_url: str = Field(
        "",
        description="Where the hub reaches the API of a proxy that runs elsewhere, such as http://proxy.workroom.internal:8001; default: on loopback.",
    )
    _check_proxy_api_url = field_validator("proxy_api_url")(checks_aws.base_url)

    @model_validator(mode="after")
    def _address_known(self) -> Web:
        if self.public_url is not None and not re.fullmatch(r"https?://[^/\s]+/?", self.public_url):
            raise ValueError(
                f"public_url: '{self.public_url}' is not an address; write it like https://workroom.example.com"
            )
        if self.isolation == "subdomain" and not (self.public_url or self.host in _LOOPBACK):
            raise ValueError(
                f"isolation: 'subdomain' with host '{self.host}' needs a public_url such as "
                "https://workroom.example.com, and wildcard DNS for *.workroom.example.com"
            )
        return self

    @property
    def address(self) -> str:
        """The address people type, without a slash at the end."""
        if self.public_url:
            return self.public_url.rstrip("/")
        # Cookies and `*.localhost` agree on the name; an address would log people in twice.
        host = "localhost" if self.host in (*_LOOPBACK, *_EVERYWHERE) else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


class Oidc(Section):
    """One OpenID Connect provider."""

    issuer: str = Field(
        description="Issuer URL; its `/.well-known/openid-configuration` is read at start."
    )
    client_id: str = Field(description="Client ID registered at the provider.")
    client_secret_file: Path = Field(description="File that holds the client secret, mode 0600.")
    title: str = Field(
        "single sign-on", description="What the log-in button says after 'Sign in with'."
    )
    username_claim: str = Field(
        "preferred_username", description="Claim that names the user; must be stable and unique."
    )
    groups_claim: str = Field("groups", description="Claim that lists the user's groups.")
    scopes: list[str] = Field(
        default_factory=lambda: ["openid", "profile", "email", "groups"],
        description="Scopes asked for.",
    )
    allowed_groups: list[str] = Field(
        default_factory=list,
        description="Groups that may log in. Empty together with `allow_all: false` means nobody but admins.",
    )
    admin_groups: list[str] = Field(
        default_factory=list, description="Groups whose members are admins."
    )
    allow_all: bool = Field(False, description="Let every account of the provider log in.")
    _check_issuer = field_validator("issuer")(checks.issuer)
    adopt_existing: bool = Field(
        False,
        description="Give a user who was here before the provider to its first account of that name.",
    )


class Auth(Section):
    """Who may log in."""

    kind: Literal["password", "oidc"] = Field(
        "password",
        description="`password`: local accounts made with `workroom users add`. `oidc`: a company log-in.",
    )
    first_admin: str = Field(
        "admin",
        min_length=1,
        max_length=200,
        description="Admin created at the first `workroom up` (kind `password`).",
    )
    oidc: Oidc | None = Field(None, description="The provider, with kind `oidc`.")

    _check_first_admin = field_validator("first_admin")(checks.user_name)

    @model_validator(mode="after")
    def _oidc_given(self) -> Auth:
        if self.kind == "oidc" and self.oidc is None:
            raise ValueError(
                "oidc: kind 'oidc' needs this section; write issuer, client_id and "
                "client_secret_file in it"
            )
        return self


class Image(Section):
    """One image people may choose."""

    name: Slug = Field(description="Short name used in profiles and forms.")
    ref: str = Field(
        min_length=1, description="Image reference: `repository:tag` or `repository@sha256:…`."
    )
    title: str = Field(min_length=1, max_length=60, description="What the card says.")
    description: str = Field("", max_length=200, description="One line below the title.")
    rstudio: str = Field(
        "",
        max_length=40,
        description="Version of RStudio Server in it, for images that the hub cannot look into (`spawner: ecs`).",
    )
    _check_ref = field_validator("ref")(checks.image_reference)


class Profile(Section):
    """One size of server."""

    name: Slug = Field(description="Short name, unique; stored with every server and usage row.")
    title: str = Field(min_length=1, max_length=60, description="What the card says.")
    description: str = Field("", max_length=200, description="One line below the title.")
    cpu: float = Field(
        ge=0.01, le=1024, description="CPU limit in cores, such as 0.5 or 2; enforced."
    )
    memory: Size = Field(
        ge=256 * 2**20, description="Memory limit such as 2G; enforced, swap included."
    )
    gpu: int = Field(
        0, ge=0, le=16, description="GPUs handed to the server (needs the NVIDIA runtime)."
    )
    images: list[Slug] = Field(
        default_factory=list, description="Names of images offered with this profile; empty: all."
    )
    groups: list[str] = Field(
        default_factory=list, description="Groups that may use it; empty: everyone who may log in."
    )


class Homes(Section):
    """Where people's files live."""

    kind: Literal["volume", "efs", "host-path"] | None = Field(
        None,
        description="`volume`: a volume of this machine's engine each (spawner `local`, and its default). `efs`: an access point each on an Amazon EFS file system (spawner `ecs`, and its default). `host-path`: a folder each below `root`, which every machine of the cluster mounts itself (spawner `ecs`).",
    )
    file_system: str = Field("", description="EFS file system, such as fs-0123456789abcdef0.")
    root: Path = Field(
        Path("/homes"),
        description="Folder that holds the homes: on the EFS file system (there three names and 23 characters at most), or of the machines (`host-path`).",
    )
    prepare: bool = Field(
        False,
        description="With `host-path`: the hub makes each folder, because this machine has the same `root`.",
    )
    _check_file_system = field_validator("file_system")(checks_aws.file_system)
    _check_root = field_validator("root")(checks_aws.absolute)
    shared_data: Path | None = Field(
        None, description="Folder of this machine mounted read-only at `/shared` in every server."
    )


class Idle(Section):
    """When an unused server is stopped. Busy kernels, terminals and R sessions are never idle."""

    stop_after: Span = Field(
        7200, ge=0, description="Idle time before a server is stopped, such as 2h; 0 means never."
    )
    check_every: Span = Field(300, ge=10, description="How often idle servers are looked for.")
    max_age: Span = Field(
        0, ge=0, description="Longest life of a server, busy or not; 0 means no limit."
    )


class Limits(Section):
    """How much of the platform one person, and everyone together, can have."""

    named_servers: int = Field(
        3, ge=0, le=100, description="Named servers per user beside the default one."
    )
    total_servers: int = Field(
        0, ge=0, description="Servers running at once, all users; 0 means no limit."
    )
    start_timeout: Span = Field(
        120,
        ge=10,
        description="Longest wait for a container to report in. With spawner `ecs` the default is 10m: a new machine pulls the image first.",
    )
    http_timeout: Span = Field(60, ge=5, description="Longest wait for its web server to answer.")
    pids: int = Field(
        4096, ge=128, description="Processes and threads in one server (spawner `local`)."
    )


class Local(Section):
    """The Docker engine of this machine."""

    subnet: str | None = Field(
        None,
        description="IPv4 range of the users' network, such as 172.30.0.0/16; default: the engine chooses.",
    )
    hub_port: Port = Field(8081, description="Port of the hub's API on the users' network.")
    dns: list[str] = Field(
        default_factory=list, description="Name servers for containers; default: this machine's."
    )
    _check_dns = field_validator("dns")(lambda servers: [checks.name_server(s) for s in servers])

    @field_validator("subnet")
    @classmethod
    def _check_subnet(cls, value: str | None) -> str | None:
        return value if value is None else checks.subnet(value)


class Build(Section):
    """How `workroom build` makes the notebook image."""

    tag: str = Field(
        "workroom/notebook:latest", min_length=1, description="Tag of the image that is built."
    )
    base_image: str = Field(
        "debian:bookworm-slim",
        description="Base: taken from the engine, else pulled, else made from Debian's packages under this tag.",
    )
    rstudio: Literal["auto", "required", "off"] = Field(
        "auto",
        description="`auto`: RStudio Server if its package can be had; `required`: fail without it; `off`: never. `RSTUDIO` overrides it.",
    )
    ca_bundle: Path | Literal["auto", "none"] = Field(
        "auto",
        description="CA certificates for the build and the containers. `auto`: the ones this machine trusts. `CA_BUNDLE` overrides it.",
    )
    _check_tag = field_validator("tag")(checks.image_tag)
    _check_base_image = field_validator("base_image")(checks.image_reference)


def _default_images() -> list[Image]:
    return [
        Image(
            name="notebook",
            ref="workroom/notebook:latest",
            title="Data science",
            description="JupyterLab with Python, PySpark and R, a terminal, compilers and git.",
        )
    ]


def _default_profiles() -> list[Profile]:
    return [
        Profile(
            name="small", title="Small", description="Explore, write, plot.", cpu=1, memory="2G"
        ),
        Profile(
            name="medium",
            title="Medium",
            description="Joins and models that fit in memory.",
            cpu=2,
            memory="4G",
        ),
        Profile(
            name="large",
            title="Large",
            description="Local Spark and wide data.",
            cpu=2,
            memory="8G",
        ),
        Profile(
            name="x-large",
            title="Extra large",
            description="When Large is not enough.",
            cpu=8,
            memory="32G",
        ),
    ]


class Settings(Section):
    """The whole of `workroom.yaml`; every field has a default, so an empty file is valid."""

    instance: Slug = Field(
        "workroom",
        description="Prefix of every container, volume and network, so that two installations can share an engine. They share the image, too, and what one builds the other starts, unless `build.tag` and the `ref` of `images` differ as well.",
    )
    title: str = Field(
        "Workroom", min_length=1, max_length=40, description="Name shown on every page."
    )
    spawner: Literal["local", "ecs"] = Field(
        "local",
        description="Where servers run. `local`: this machine's Docker engine. `ecs`: a cluster of Amazon ECS; docs/ecs.md.",
    )
    web: Web = Field(default_factory=Web)
    ssh: Ssh = Field(default_factory=Ssh)
    auth: Auth = Field(default_factory=Auth)
    images: list[Image] = Field(
        default_factory=_default_images,
        min_length=1,
        description="Images people may choose (allow-list).",
    )
    profiles: list[Profile] = Field(
        default_factory=_default_profiles, min_length=1, description="Sizes people may choose."
    )
    default_profile: Slug | None = Field(
        None, description="Profile chosen the first time; default: the first one that fits."
    )
    homes: Homes = Field(default_factory=Homes)
    idle: Idle = Field(default_factory=Idle)
    limits: Limits = Field(default_factory=Limits)
    local: Local = Field(default_factory=Local)
    ecs: Ecs = Field(default_factory=Ecs)
    aws: Aws | None = Field(
        None, description="What `workroom deploy` makes in an AWS account; docs/deploy-aws.md."
    )
    data: Data = Field(default_factory=Data)
    build: Build = Field(default_factory=Build)
    plan: Plan = Field(default_factory=Plan)
    registry: Registry = Field(default_factory=Registry)

    @model_validator(mode="after")
    def _names_agree(self) -> Settings:
        for kind, names in (
            ("images", [i.name for i in self.images]),
            ("profiles", [p.name for p in self.profiles]),
        ):
            twice = sorted({n for n in names if names.count(n) > 1})
            if twice:
                raise ValueError(f"{kind}: the name '{twice[0]}' is used twice; give each its own")
        known = [i.name for i in self.images]
        for profile in self.profiles:
            for name in profile.images:
                if name not in known:
                    raise ValueError(
                        f"profiles: '{profile.name}' offers image '{name}', which is not under 'images'; choose from {', '.join(known)}"
                    )
        if self.default_profile and self.default_profile not in {p.name for p in self.profiles}:
            raise ValueError(
                f"default_profile: '{self.default_profile}' is not a profile; choose from {', '.join(p.name for p in self.profiles)}"
            )
        return self

    @model_validator(mode="after")
    def _spawner_complete(self) -> Settings:
        if self.spawner == "ecs":
            problem = _ecs_problem(self)
        elif self.homes.kind not in (None, "volume"):
            problem = f"homes: kind '{self.homes.kind}' is for 'spawner: ecs'; leave it out"
        else:
            problem = ""
        problem = problem or data_problem(self.data, self.spawner)
        problem = problem or registry_problem(self.registry, self.spawner, data=self.data.enabled)
        if self.aws and not problem:
            oidc = self.auth.kind == "oidc"
            problem = aws_problem(self.aws, self.profiles, instance=self.instance, oidc=oidc)
        if problem:
            raise ValueError(problem)
        return self


def _ecs_problem(settings: Settings) -> str:
    """Return what `spawner: ecs` lacks, beginning with the section it is about, or ""."""
    ecs, homes = settings.ecs, settings.homes
    if ecs.missing:
        return f"ecs: 'spawner: ecs' needs {'; '.join(ecs.missing)}"
    if homes.kind == "volume":
        return "homes: kind 'volume' is for 'spawner: local'; write efs or host-path"
    if homes.kind != "host-path" and not homes.file_system:
        return (
            "homes: 'spawner: ecs' needs homes.file_system, such as fs-0123456789abcdef0 "
            "(or homes.kind: host-path)"
        )
    if homes.kind != "host-path" and not ecs.task_role:
        return (
            "ecs: homes on EFS need ecs.task_role, the ARN of a role that may mount them "
            "(elasticfilesystem:ClientMount and ClientWrite)"
        )
    if homes.kind != "host-path" and (problem := problem_of_root(str(homes.root))):
        return f"homes: homes.root: {problem}"
    if homes.shared_data:
        return "homes: shared_data is a folder of this machine, for 'spawner: local' only"
    return ""


def offered_profiles(settings: Settings, cpus: int, memory: int) -> list[Profile]:
    """Return the profiles that can be had here, in their order.

    On ECS those are all of them; the cluster has machines of its own. Otherwise, and with the
    emulator (`configure_ecs.effective`), it is those that a machine of `cpus` cores and `memory`
    bytes can hold.

    A list of the settings' own is checked before anything starts
    (`config_file.check_against_machine`), so this leaves out default profiles only. A machine
    too small for all of them gets the first one, cut down to what there is.
    """
    if settings.spawner == "ecs":
        return list(settings.profiles)
    fitting = [p for p in settings.profiles if p.cpu <= cpus and p.memory <= memory]
    if fitting:
        return fitting
    first = settings.profiles[0]
    return [
        first.model_copy(update={"cpu": min(first.cpu, cpus), "memory": min(first.memory, memory)})
    ]
