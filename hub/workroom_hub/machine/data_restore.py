"""`workroom restore-data`: undoes what a hostile notebook wrote over or removed.

The data API makes every object once. So the first version of an object is what was meant, and any
later one is somebody's doing. The first is copied on top of the rest, and nothing is removed: what
was written over it can still be looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from workroom_hub.data_environment import BUCKET, PLATFORM
from workroom_hub.errors import DataServerError
from workroom_hub.machine import data_s3
from workroom_hub.machine.stack import Stack

_TEMPORARY = "/_temporary/"


@dataclass(frozen=True)
class Restored:
    """An object whose newest version was not its first.

    Attributes:
        key: Its key.
        version: Id of the first version.
        when: When that was made, UTC, to the second.
        later: How many versions and removals came after it.
    """

    key: str
    version: str
    when: str
    later: int


def restore(stack: Stack, prefix: str = "", *, dry_run: bool = False) -> list[Restored]:
    """Make the first version of every object the current one again; return those that were not.

    Args:
        stack: The stack; its S3 server runs.
        prefix: Only objects whose keys begin so, such as `warehouse/sales/`.
        dry_run: Say what would be done, and do nothing.

    Raises:
        DataServerError: The S3 server does not run, or refuses.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    gateway = stack.gateway()
    if not (gateway and data_s3.answers(stack, gateway)):
        raise DataServerError("The S3 server does not run.", "Start it: workroom up")
    platform = data_s3.client(stack, gateway, PLATFORM)
    done = []
    try:
        for found in _written_over(platform, prefix):
            if not dry_run:
                platform.copy_object(
                    Bucket=BUCKET,
                    Key=found.key,
                    CopySource={"Bucket": BUCKET, "Key": found.key, "VersionId": found.version},
                )
            done.append(found)
    except (ClientError, BotoCoreError) as error:
        raise DataServerError(
            f"Stopped after {len(done)} objects: {error}", "Run it again; what is done stays done."
        ) from error
    return done


def _written_over(platform: Any, prefix: str) -> Iterator[Restored]:
    """Yield the objects whose current content is not that of their first version."""
    for key, versions in _by_key(platform, prefix):
        kept = [version for version in versions if "ETag" in version]
        if _TEMPORARY in key or not kept:
            continue
        first, newest = kept[0], versions[-1]
        if newest.get("ETag") != first["ETag"] or newest.get("Size") != first["Size"]:
            when = first["LastModified"].strftime("%Y-%m-%d %H:%M:%S")
            yield Restored(key, first["VersionId"], when, len(versions) - 1)


def _by_key(platform: Any, prefix: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield every key with its versions and removals, the oldest first."""
    pages = platform.get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix=prefix)
    key, gathered = "", list[dict[str, Any]]()
    for page in pages:
        listed = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        for version in sorted(listed, key=lambda each: each["Key"]):
            if version["Key"] != key:
                if gathered:
                    yield key, _in_order(gathered)
                key, gathered = version["Key"], []
            gathered.append(version)
    if gathered:
        yield key, _in_order(gathered)


def _in_order(versions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # Times are to the second; of those within one, the server's ids count down.
    by_id = sorted(versions, key=lambda each: str(each["VersionId"]), reverse=True)
    return sorted(by_id, key=lambda each: (bool(each.get("IsLatest")), each["LastModified"]))
