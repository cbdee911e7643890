"""What the values of `workroom.yaml` are made of: names, sizes, times, sections."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
# No more digits than a float has room for.
_SIZE = re.compile(r"(\d{1,99}(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_SPAN = re.compile(r"(\d{1,99}(?:\.\d+)?)\s*(s|m|h|d)", re.IGNORECASE)
_SIZE_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SPAN_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def slug(value: str) -> str:
    """Return a short name that can be part of an address, else say what it must be."""
    if not _SLUG.fullmatch(value):
        raise ValueError(
            "use 1 to 32 lower-case letters, digits and inner hyphens, such as 'small-gpu'"
        )
    return value


def parse_size(value: Any) -> int:
    """Return bytes for a number of bytes or text such as `512M` or `2 GiB` (powers of 1024)."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        raise ValueError("write a size such as 512M, 2G or 1.5G")
    return int(float(match[1]) * _SIZE_UNITS[match[2].upper()])


def parse_span(value: Any) -> int:
    """Return seconds for a number of seconds or text such as `30s`, `90m`, `2h`, `1d`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SPAN.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        raise ValueError("write a time such as 30s, 90m, 2h or 1d")
    return int(float(match[1]) * _SPAN_UNITS[match[2].lower()])


Slug = Annotated[str, AfterValidator(slug)]
Size = Annotated[int, BeforeValidator(parse_size)]
Span = Annotated[int, BeforeValidator(parse_span)]
Port = Annotated[int, Field(ge=1, le=65535)]

SIZES = (
    *("memory", "shared_memory", "instance_memory", "keep_free"),
    *("machine_disk", "database_disk", "disk"),
)
"""Names of the fields that are a `Size`."""
SPANS = (
    *("stop_after", "check_every", "max_age", "start_timeout", "http_timeout"),
    *("stop_timeout", "capacity_timeout", "sweep_every", "orphan_grace"),
    *("certificate_lifetime", "login_timeout", "idle_timeout", "drain", "browser_login_within"),
    *("peak_width", "visit", "visit_long", "target_wait", "evaluate_every", "instance_warmup"),
    *("scale_in_after", "terminate", "instance_launch", "warm_start", "hibernated_start"),
    *("prepare", "image_pull", "task_start"),
)
"""Names of the fields that are a `Span`."""


class Section(BaseModel):
    """One section of the file: no unknown fields, no infinity, and never changed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)
