"""The section `data` of `workroom.yaml`: where tables are, and what serves them."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from workroom_hub import checks, checks_aws
from workroom_hub.fields import Port, Section, Size

_WAREHOUSE = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s/]+)*")
_METASTORE = re.compile(r"thrift://[A-Za-z0-9][A-Za-z0-9.:-]*:\d{1,5}")


class Data(Section):
    """The data API: tables in S3, and the Hive Metastore that knows where."""

    enabled: bool = Field(
        True,
        description="Give servers the data API. With spawner `local`, an S3 server and a Hive Metastore run on this machine for it.",
    )
    s3_port: Port = Field(
        8333,
        description="Port of this machine's S3 server on the users' network; `WORKROOM_S3_PORT` overrides it.",
    )
    metastore_port: Port = Field(
        9083,
        description="Port of this machine's Hive Metastore on the users' network; `WORKROOM_METASTORE_PORT` overrides it.",
    )
    metastore_image: str = Field(
        "",
        description="Image that the Hive Metastore runs in, one made from the notebook image; default: the first of `images`.",
    )
    keep_free: Size = Field(
        2 * 2**30,
        ge=0,
        description="Room on this machine's disk that tables never take: with less free, the S3 server only reads.",
    )
    warehouse: str = Field(
        "",
        description="With spawner `ecs`: the folder that holds the tables, such as s3://acme-data/warehouse. What people may do there is what their task role may do.",
    )
    metastore: str = Field(
        "",
        description="With spawner `ecs`: the Hive Metastore, such as thrift://metastore.internal:9083.",
    )
    s3_endpoint: str = Field(
        "",
        description="With spawner `ecs`: address of another S3 than AWS's, such as a VPC endpoint's.",
    )
    region: str = Field(
        "", description="With spawner `ecs`: the bucket's region; default: `ecs.region`."
    )

    _check_endpoint = field_validator("s3_endpoint")(checks_aws.base_url)
    _check_region = field_validator("region")(checks_aws.region)

    @field_validator("metastore_image")
    @classmethod
    def _image(cls, value: str) -> str:
        return checks.image_reference(value) if value else value

    @field_validator("warehouse")
    @classmethod
    def _folder(cls, value: str) -> str:
        value = value.rstrip("/")
        if value and not _WAREHOUSE.fullmatch(value):
            raise ValueError("write a bucket and a folder in it, such as s3://acme-data/warehouse")
        return value

    @field_validator("metastore")
    @classmethod
    def _address(cls, value: str) -> str:
        if value and not _METASTORE.fullmatch(value):
            raise ValueError("write an address such as thrift://metastore.internal:9083")
        return value

    @property
    def elsewhere(self) -> dict[str, str]:
        """The fields that are for spawner `ecs` alone and are given."""
        names = ("warehouse", "metastore", "s3_endpoint", "region")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


def problem(data: Data, spawner: str) -> str:
    """Return what does not go with this spawner, beginning with the section, or ""."""
    if spawner == "local":
        given = next(iter(data.elsewhere), "")
        return given and (
            f"data: '{given}' is for 'spawner: ecs'; with 'local' this machine has its own: "
            "leave it out"
        )
    if data.enabled and bool(data.warehouse) != bool(data.metastore):
        there, lacks = ("warehouse", "metastore") if data.warehouse else ("metastore", "warehouse")
        return f"data: '{there}' needs '{lacks}' too (or 'enabled: false')"
    return ""
