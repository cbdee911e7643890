"""Where the data is: read from the environment, which the platform fills."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from workroom_data.errors import SettingsError

PREFIX = "WORKROOM_DATA_"


@dataclass(frozen=True)
class Settings:
    """Addresses and keys.

    Attributes:
        warehouse: Where databases are made: `s3://BUCKET/FOLDER` or an absolute path.
        metastore: `thrift://HOST:PORT`.
        s3_endpoint: Address of an S3 server other than AWS (`http://HOST:PORT`), or "".
        s3_region: Region, or "" for the SDK's own choice.
        s3_key_id, s3_secret: Keys, or "" for the SDK's own chain (a task role on AWS).
        who: Name that commits carry.
    """

    warehouse: str
    metastore: str
    s3_endpoint: str = ""
    s3_region: str = ""
    s3_key_id: str = field(default="", repr=False)
    s3_secret: str = field(default="", repr=False)
    who: str = "unknown"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read `WORKROOM_DATA_WAREHOUSE`, `_METASTORE`, `_S3_ENDPOINT`, `_S3_REGION`, `_S3_KEY_ID`,
        `_S3_SECRET`, and the user's name.

        Raises:
            SettingsError: One that is needed is missing or unusable.
        """
        given = os.environ if environment is None else environment
        warehouse = _required(given, "WAREHOUSE", "s3://BUCKET/warehouse").rstrip("/")
        if not warehouse.startswith(("s3://", "/")):
            raise SettingsError(
                f"{PREFIX}WAREHOUSE is {warehouse!r}.",
                "It must be s3://BUCKET/FOLDER or an absolute path.",
            )
        metastore = _required(given, "METASTORE", "thrift://HOST:9083")
        if not metastore.startswith("thrift://"):
            raise SettingsError(
                f"{PREFIX}METASTORE is {metastore!r}.", "It must be thrift://HOST:PORT."
            )
        who = given.get("JUPYTERHUB_USER") or given.get("WORKROOM_USER") or given.get("USER")
        return cls(
            warehouse,
            metastore,
            given.get(PREFIX + "S3_ENDPOINT", ""),
            given.get(PREFIX + "S3_REGION", ""),
            given.get(PREFIX + "S3_KEY_ID", ""),
            given.get(PREFIX + "S3_SECRET", ""),
            who or "unknown",
        )


def _required(given: Mapping[str, str], name: str, example: str) -> str:
    value = given.get(PREFIX + name, "")
    if not value:
        raise SettingsError(
            f"{PREFIX}{name} is not set.",
            f"In a Workroom server it always is; elsewhere set it, for example to {example}.",
        )
    return value
