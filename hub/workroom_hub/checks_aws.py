"""What names and ids of AWS must look like; a refusal is a ValueError's sentence. Pure."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

_ACCOUNT_PART = r"arn:aws[a-z-]*:{service}:{region}:[0-9]{{12}}:{rest}"
_TAG_TEXT = re.compile(r"[\w +\-=.:/@]*")


def region(value: str) -> str:
    """Return the name of an AWS region; "" stands for none."""
    return _like(value, r"[a-z]{2}(-[a-z]+)+-[0-9]", "a region is written like eu-central-1")


def cluster(value: str) -> str:
    """Return the name or ARN of an ECS cluster."""
    arn = _arn("ecs", r"cluster/[A-Za-z0-9_-]{1,255}")
    return _like(
        value,
        rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,254}}|{arn}",
        "a cluster is a name of letters, digits, '-' and '_', such as workroom, or its ARN",
    )


def subnet(value: str) -> str:
    """Return the id of a VPC subnet."""
    return _id(value, "subnet")


def security_group(value: str) -> str:
    """Return the id of a security group."""
    return _id(value, "sg")


def file_system(value: str) -> str:
    """Return the id of an EFS file system."""
    return _id(value, "fs")


def role(value: str) -> str:
    """Return the ARN of an IAM role."""
    return _like(
        value,
        _arn("iam", r"role/[\w+=,.@/-]{1,576}", region=""),
        "a role is given by its ARN, such as arn:aws:iam::123456789012:role/workroom-task",
    )


def secret(value: str) -> str:
    """Return the ARN of a secret in Secrets Manager."""
    return _like(
        value,
        _arn("secretsmanager", r"secret:[\w/+=.@-]+"),
        "a secret is given by its ARN, such as "
        "arn:aws:secretsmanager:eu-central-1:123456789012:secret:registry-a1b2c3",
    )


def log_group(value: str) -> str:
    """Return the name of a CloudWatch log group."""
    return _like(
        value,
        r"[A-Za-z0-9_./#-]{1,512}",
        "a log group is a name such as /workroom/servers",
    )


def log_prefix(value: str) -> str:
    """Return what the names of log streams begin with."""
    if not re.fullmatch(r"[A-Za-z0-9_.#-]{1,100}", value):
        raise ValueError("use 1 to 100 letters, digits and _ . # -, such as servers")
    return value


def capacity_provider(value: str) -> str:
    """Return the name of a capacity provider."""
    return _like(
        value,
        r"(?!(?i:aws|ecs|fargate))[A-Za-z0-9_-]{1,255}",
        "name a capacity provider of your own, over an Auto Scaling group of EC2 machines; "
        "Fargate cannot mount what servers need",
    )


def strategy(providers: list[tuple[str, int, int]]) -> None:
    """Refuse a strategy that RunTask would refuse: providers as name, weight and base.

    Source: ECS API reference, CapacityProviderStrategyItem.
    """
    names = [name for name, _, _ in providers]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise ValueError(f"'{twice}' is there twice; name each capacity provider once")
    based = [f"'{name}'" for name, _, base in providers if base]
    if len(based) > 1:
        raise ValueError(
            f"{' and '.join(based)} have a base; ECS takes one, so leave it out of the others"
        )
    if providers and not any(weight for _, weight, _ in providers):
        raise ValueError(
            "every weight is 0, so no server could ever start; give at least one a weight of 1"
        )


def tags(value: dict[str, str]) -> dict[str, str]:
    """Return tags that AWS takes and that are not ours."""
    for key, text in value.items():
        if re.match(r"(?i)aws:|workroom:", key):
            raise ValueError(f"'{key}': names that begin with aws: or workroom: are taken")
        if not 1 <= len(key) <= 128 or len(text) > 256:
            raise ValueError(f"'{key}': a name has 1 to 128 characters, a value at most 256")
        if not (_TAG_TEXT.fullmatch(key) and _TAG_TEXT.fullmatch(text)):
            raise ValueError(
                f"'{key}: {text}': tags hold letters, digits, spaces and + - = . _ : / @ only"
            )
    return value


def base_url(value: str) -> str:
    """Return an address such as `http://10.0.1.5:8081`, without a slash at its end."""
    if not value:
        return value
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("write an address without a path, such as http://10.0.1.5:8081")
    return value.rstrip("/")


def absolute(value: Path) -> Path:
    """Return a folder's path from the root, other than the root itself."""
    if not value.is_absolute() or value == Path("/") or ".." in value.parts:
        raise ValueError("write the whole path of a folder, such as /homes")
    return value


def _id(value: str, kind: str) -> str:
    return _like(
        value,
        rf"{kind}-(?:[0-9a-f]{{8}}|[0-9a-f]{{17}})",
        f"it is not the id of one; write it like {kind}-0123456789abcdef0",
    )


def _arn(service: str, rest: str, region: str = "[a-z0-9-]+") -> str:
    return _ACCOUNT_PART.format(service=service, region=region, rest=rest)


def _like(value: str, pattern: str, sentence: str) -> str:
    if value and not re.fullmatch(pattern, value):
        raise ValueError(sentence)
    return value
