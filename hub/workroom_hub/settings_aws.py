"""The section `aws` of `workroom.yaml`: what `workroom deploy` makes in an AWS account."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Annotated, Protocol

from pydantic import AfterValidator, Field, field_validator, model_validator

from workroom_hub import checks_aws, checks_deployed
from workroom_hub.fields import Section, Size
from workroom_hub.instance_types import KNOWN, InstanceType, smallest

_ECR = re.compile(
    r"[0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/[a-z0-9][a-z0-9._/-]*@sha256:[0-9a-f]{64}"
)


def _pinned(value: str) -> str:
    if not _ECR.fullmatch(value):
        raise ValueError(
            "write an image of Amazon ECR by its digest, without a tag, such as "
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com/workroom/hub@sha256:…"
        )
    return value


def _database(value: str) -> str:
    if not re.fullmatch(r"\*|[a-z0-9_]{1,128}", value):
        raise ValueError("write the name of a database of tables, or '*' for all of them")
    return value


def _network(value: str) -> str:
    try:
        return str(ipaddress.IPv4Network(value))
    except ValueError as error:
        raise ValueError("write an IPv4 network such as 10.20.0.0/16") from error


Pinned = Annotated[str, AfterValidator(_pinned)]
Databases = list[Annotated[str, AfterValidator(_database)]]
Network = Annotated[str, AfterValidator(_network)]


class AwsImages(Section):
    """Images that the platform itself runs, in the account's own Amazon ECR, pinned by digest."""

    hub: Pinned = Field(description="What `images/hub` builds: hub, proxy and SSH gateway.")
    registry: Pinned = Field(description="The CNCF distribution registry.")
    metastore: Pinned = Field(description="What `images/metastore` builds: the Hive Metastore.")


class DataAccess(Section):
    """What members of one group may do with tables; of several groups the first one here counts."""

    group: str = Field(
        min_length=1,
        max_length=40,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        examples=["letters, digits, '-' and '_', such as finance"],
        description="Name of the group: letters, digits, '-' and '_'.",
    )
    read: Databases = Field(
        default_factory=list, description="Databases whose tables they read; `*` is all."
    )
    write: Databases = Field(
        default_factory=list, description="Databases whose tables they read and add to."
    )


class Aws(Section):
    """What `workroom deploy` makes in an AWS account."""

    account: str = Field(
        pattern=r"^[0-9]{12}$",
        examples=['twelve digits in quotes, such as "123456789012"'],
        description="AWS account, twelve digits.",
    )
    region: str = Field(description="AWS region, such as eu-central-1.")
    domain: str = Field(
        description="Host name of the web page; every user gets a sub-domain of it, and so do `ssh` and `registry`.",
    )
    certificate: str = Field(
        description="ARN of a certificate of AWS Certificate Manager for the domain and `*.` of it."
    )
    zone_id: str = Field(
        "",
        pattern=r"^(Z[A-Z0-9]{1,31})?$",
        examples=["the id of a hosted zone, such as Z0123456789ABCDEFGHIJ; its name is zone_name"],
        description="Route 53 hosted zone that the domain belongs to; empty: its records are made by hand.",
    )
    zone_name: str = Field(
        "", description="Name of that hosted zone, such as example.com; default: the domain itself."
    )
    vpc_cidr: Network = Field("10.20.0.0/16", description="Addresses of the network.")
    availability_zones: list[Annotated[str, Field(pattern=r"^[a-z0-9-]+[a-z]$")]] = Field(
        default_factory=list,
        max_length=3,
        examples=["zones of the region, such as [eu-central-1a, eu-central-1b]"],
        description="Two or three availability zones; default: `a` and `b` of the region.",
    )
    nat_gateways: int = Field(
        1,
        ge=0,
        le=3,
        description="Ways to the internet for people's code (and the hub, for `auth.kind: oidc`). Servers start without any.",
    )
    reachable_from: list[Network] = Field(
        default_factory=lambda: ["0.0.0.0/0"],
        min_length=1,
        description="Networks from which the web page and ssh are reached.",
    )
    internet_facing: bool = Field(
        True, description="Give the load balancers public addresses; `false`: for a VPN."
    )
    registry_reachable: bool = Field(
        False,
        description="Also reach the registry from `reachable_from`, to push from outside; it asks for its tokens.",
    )
    machine_image: str = Field(
        pattern=r"^ami-([0-9a-f]{8}|[0-9a-f]{17})$",
        examples=["the id of an AMI, such as ami-0123456789abcdef0"],
        description="AMI of the machines: ECS-optimised first, then what the image pipeline made.",
    )
    base_image: str = Field(
        "",
        pattern=r"^(ami-([0-9a-f]{8}|[0-9a-f]{17}))?$",
        examples=["the id of an AMI, such as ami-0123456789abcdef0"],
        description="ECS-optimised AMI that the image pipeline starts from; default: `machine_image`.",
    )
    gpu_machine_image: str = Field(
        "",
        pattern=r"^(ami-([0-9a-f]{8}|[0-9a-f]{17}))?$",
        examples=["the id of an AMI, such as ami-0123456789abcdef0"],
        description="AMI of the machines with GPUs, needed if a profile has one: ECS-optimised for GPUs first, then what their image pipeline made.",
    )
    gpu_base_image: str = Field(
        "",
        pattern=r"^(ami-([0-9a-f]{8}|[0-9a-f]{17}))?$",
        examples=["the id of an AMI, such as ami-0123456789abcdef0"],
        description="ECS-optimised AMI for GPUs that their image pipeline starts from; default: `gpu_machine_image`.",
    )
    instance_type: str = Field(
        "", description="EC2 type of the machines; default: the smallest that fits every profile."
    )
    gpu_instance_type: str = Field(
        "", description="EC2 type of the machines with GPUs; default: the smallest that fits."
    )
    min_machines: int = Field(1, ge=0, le=5000, description="Machines that always run.")
    max_machines: int = Field(20, ge=1, le=5000, description="Machines at most, of each group.")
    warm_machines: int = Field(
        0,
        ge=0,
        le=5000,
        description="Machines prepared in all: those that do not run wait stopped, in a warm pool. `workroom plan` tells how many.",
    )
    headroom: int = Field(
        10,
        ge=0,
        le=90,
        description="Percent of the machines kept free, so that a start need not wait for one.",
    )
    machine_disk: Size = Field(
        100 * 2**30, ge=40 * 2**30, description="Disk of a machine: images and what servers write."
    )
    machine_pids: int = Field(
        4096, ge=256, description="Processes and threads in one server (`ECS_TASK_PIDS_LIMIT`)."
    )
    images: AwsImages = Field(description="Images that the platform itself runs.")
    data_read: Databases = Field(
        default_factory=lambda: ["*"],
        description="Databases whose tables everybody reads who is in no group of `data_access`.",
    )
    data_write: Databases = Field(
        default_factory=lambda: ["*"],
        description="Databases whose tables everybody adds to who is in no group of `data_access`.",
    )
    data_access: list[DataAccess] = Field(
        default_factory=list, max_length=50, description="Rights to tables by group."
    )
    database_class: str = Field(
        "t4g.medium",
        pattern=r"^[a-z][a-z0-9]*\.[a-z0-9]+$",
        examples=["family and size, such as t4g.medium, without `db.`"],
        description="Size of the hub's database; 10,000 people want m7g.large.",
    )
    metastore_database_class: str = Field(
        "t4g.small",
        pattern=r"^[a-z][a-z0-9]*\.[a-z0-9]+$",
        examples=["family and size, such as t4g.small, without `db.`"],
        description="Size of the Hive Metastore's database.",
    )
    database_disk: Size = Field(
        20 * 2**30, ge=20 * 2**30, description="Disk of each database; it grows up to five times."
    )
    database_standby: bool = Field(
        True, description="Keep a standby of each database in another availability zone."
    )
    backup_days: int = Field(
        14,
        ge=1,
        le=35,
        description="Days that backups of databases are kept; homes: 35, AWS's own plan.",
    )
    log_days: int = Field(30, description="Days that logs are kept.")
    alarm_email: str = Field("", description="Who is told of alarms; each address confirms once.")
    oidc_secret: Annotated[str, AfterValidator(checks_aws.secret)] = Field(
        "", description="ARN of the secret with the client secret, with `auth.kind: oidc`."
    )
    permissions_boundary: str = Field(
        "",
        description="Name of a policy that bounds every role made, where the account asks for it.",
    )

    _check_region = field_validator("region")(checks_deployed.region)
    _check_network = field_validator("vpc_cidr")(checks_deployed.private)

    @field_validator("domain", "zone_name")
    @classmethod
    def _host_name(cls, value: str) -> str:
        if value and not re.fullmatch(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}", value):
            raise ValueError("write a host name in lower case, such as workroom.example.com")
        return value

    @field_validator("certificate")
    @classmethod
    def _arn(cls, value: str) -> str:
        if not re.fullmatch(
            r"arn:aws[a-z-]*:acm:[a-z0-9-]+:[0-9]{12}:certificate/[0-9a-f-]{36}", value
        ):
            raise ValueError(
                "a certificate is given by its ARN, such as arn:aws:acm:eu-central-1:"
                "123456789012:certificate/01234567-89ab-cdef-0123-456789abcdef"
            )
        return value

    @field_validator("vpc_cidr")
    @classmethod
    def _room(cls, value: str) -> str:
        if not 16 <= int(value.rpartition("/")[2]) <= 20:
            raise ValueError("every server takes an address: write a network from /16 to /20")
        return value

    @field_validator("log_days")
    @classmethod
    def _retention(cls, value: int) -> int:
        allowed = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 3653)
        if value not in allowed:
            raise ValueError(f"CloudWatch Logs keeps {', '.join(map(str, allowed))} days")
        return value

    @field_validator("alarm_email")
    @classmethod
    def _address(cls, value: str) -> str:
        if value and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value):
            raise ValueError("write an e-mail address, such as platform@example.com")
        return value

    @field_validator("instance_type", "gpu_instance_type")
    @classmethod
    def _known(cls, value: str) -> str:
        if value and value not in KNOWN:
            families = sorted({name.partition(".")[0] for name in KNOWN})
            raise ValueError(f"choose a type of {', '.join(families)}, such as m7i.4xlarge")
        return value

    @property
    def zones(self) -> list[str]:
        """Names of the availability zones in use."""
        return self.availability_zones or [f"{self.region}a", f"{self.region}b"]

    @model_validator(mode="after")
    def _numbers_agree(self) -> Aws:
        if self.min_machines > self.max_machines:
            raise ValueError(
                f"min_machines: {self.min_machines} is more than max_machines, "
                f"{self.max_machines}; raise that or lower this"
            )
        elsewhere = next((z for z in self.zones if not z.startswith(self.region)), "")
        if elsewhere or len(set(self.zones)) != len(self.zones) or len(self.zones) < 2:
            raise ValueError(
                f"availability_zones: '{', '.join(self.zones)}' are not two or three zones of "
                f"{self.region}; write such as [{self.region}a, {self.region}b]"
            )
        if self.certificate.split(":")[3] != self.region:
            raise ValueError(
                f"certificate: it is of {self.certificate.split(':')[3]}, and a load balancer "
                f"takes one of its own region; make one in {self.region}"
            )
        zone = self.zone_name or self.domain
        if self.domain != zone and not self.domain.endswith(f".{zone}"):
            raise ValueError(f"zone_name: '{zone}' does not hold the domain '{self.domain}'")
        twice = [each.group for each in self.data_access]
        again = next((group for group in twice if twice.count(group) > 1), "")
        if again:
            raise ValueError(f"data_access: the group '{again}' is there twice; keep one")
        if "everybody" in twice:
            raise ValueError(
                "data_access: no group is called 'everybody'; write data_read and data_write"
            )
        return self


class Size_(Protocol):
    """What a profile must have to be fitted on a machine."""

    @property
    def name(self) -> str: ...
    @property
    def cpu(self) -> float: ...
    @property
    def memory(self) -> int: ...
    @property
    def gpu(self) -> int: ...


def machine_type(aws: Aws, profiles: Sequence[Size_], *, gpu: bool = False) -> InstanceType | None:
    """Return the type of the machines that hold every profile with (or without) a GPU.

    One type holds the largest: ECS never adds a machine for a task that no machine of the group
    could hold.

    Returns:
        None if no profile is of that kind.

    Raises:
        ValueError: The type of the settings is too small, or none is large enough.
    """
    wanted = [each for each in profiles if bool(each.gpu) == gpu]
    if not wanted:
        return None
    cpu, memory = max(p.cpu for p in wanted), max(p.memory for p in wanted)
    gpus = max(p.gpu for p in wanted)
    field = "gpu_instance_type" if gpu else "instance_type"
    given = aws.gpu_instance_type if gpu else aws.instance_type
    fits = smallest(cpu, memory, gpus)
    if not given:
        if fits is None:
            raise ValueError(
                f"{field}: no type known here holds {cpu:g} cores, {_gib(memory)} and {gpus} GPUs; "
                "make the largest profile smaller"
            )
        return fits
    for profile in wanted:
        if not KNOWN[given].holds(profile.cpu, profile.memory, profile.gpu):
            better = f"write {fits.name}, or make" if fits else "make"
            raise ValueError(
                f"{field}: '{given}' ({KNOWN[given].cpu} cores, {_gib(KNOWN[given].for_servers)} "
                f"for servers) does not hold profile '{profile.name}' ({profile.cpu:g} cores, "
                f"{_gib(profile.memory)}{f', {profile.gpu} GPUs' if profile.gpu else ''}); "
                f"{better} the profile smaller"
            )
    return KNOWN[given]


def problem(aws: Aws, profiles: Sequence[Size_], *, instance: str, oidc: bool) -> str:
    """Return what does not go with the rest of the file, beginning with the section, or ""."""
    if wrong := checks_deployed.problem(aws, instance):
        return wrong if wrong.startswith("instance: ") else f"aws: {wrong}"
    try:
        for gpu in (False, True):
            machine_type(aws, profiles, gpu=gpu)
    except ValueError as error:
        return f"aws: {error}"
    if any(each.gpu for each in profiles) and not aws.gpu_machine_image:
        return "aws: a profile has a GPU, and 'gpu_machine_image' is not given; write an AMI"
    if oidc and not aws.oidc_secret:
        return "aws: 'auth.kind: oidc' needs aws.oidc_secret, the ARN of the client's secret"
    if oidc and not aws.nat_gateways:
        return "aws: 'auth.kind: oidc' needs nat_gateways: 1, for the hub asks the provider"
    return ""


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
