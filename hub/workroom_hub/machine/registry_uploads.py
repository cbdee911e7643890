"""Uploads to this machine's registry that were broken off: nothing else ever removes them.

The registry's own purge is off (`registry/server_config.py`), and this machine's S3 server has no
life cycle that a rule of the bucket could follow.
"""

from __future__ import annotations

import datetime
from typing import Any

from workroom_hub.machine.registry_config import BUCKET
from workroom_hub.registry.server_config import HALVES

KEPT = datetime.timedelta(weeks=1)
"""An upload that nothing was added to for so long is not going on."""


def remove_old(s3: Any, before: datetime.datetime) -> int:
    """Remove uploads to which nothing was added since; return how many.

    Args:
        s3: Client that may do everything.
        before: Younger ones, even with a part that is older, are left alone.
    """
    begun = [
        (each["Key"], each["UploadId"], each["Initiated"])
        for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=BUCKET)
        for each in page.get("Uploads", [])
    ]
    files = [
        (each["Key"], each["LastModified"])
        for half in HALVES
        for page in s3.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=f"{half}/docker/registry/v2/repositories/"
        )
        for each in page.get("Contents", [])
        if "/_uploads/" in each["Key"]
    ]
    newest: dict[str, datetime.datetime] = {}
    for key, at in (*((key, at) for key, _, at in begun), *files):
        newest[_upload(key)] = max(at, newest.get(_upload(key), at))
    old = {upload for upload, at in newest.items() if at < before}
    for key, upload_id, _ in begun:
        if _upload(key) in old:
            s3.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload_id)
    for key, _ in files:
        if _upload(key) in old:
            s3.delete_object(Bucket=BUCKET, Key=key)
    return len(old)


def _upload(key: str) -> str:
    """Return the folder of an object's upload, or the object itself where it has none."""
    repository, mark, rest = key.partition("/_uploads/")
    return f"{repository}{mark}{rest.partition('/')[0]}" if mark else key
