"""A large file on S3: parts that travel side by side, and become a file at once at the end."""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from workroom_data.errors import NotFound
from workroom_data.storage_s3_calls import TAKEN, error_code, taken, where

if TYPE_CHECKING:
    from workroom_data.storage_s3 import S3

PART = 16 << 20
"""Bytes of a part. S3 takes 10,000 of them: 156 GiB, far above what one file of a batch has."""

LANES = 4
"""Parts of one file that travel at once."""


class Upload:
    """One upload in parts. Without its last step the file is not there.

    Args:
        s3: Where to.
        path: The file, `s3://BUCKET/KEY`.
    """

    def __init__(self, s3: S3, path: str) -> None:
        self._s3 = s3
        self._path = path
        self._where = where(path)

    def run(self, parts: Iterator[bytes]) -> int:
        """Send the parts, at most `LANES` of them in memory besides the one being made.

        Returns:
            Bytes of the file.

        Raises:
            Exists, Unavailable, Damaged: As `Storage.create`. What was sent is given up then.
        """
        made = self._s3.ask(
            self._path,
            lambda _: self._s3.client.create_multipart_upload(
                **self._where, ChecksumAlgorithm="SHA256"
            ),
        )
        self._where["UploadId"] = made["UploadId"]
        try:
            sent, size = self._send_all(parts)
            self._complete(sent, size)
        except BaseException:
            # Of an upload without its last step nothing is ever visible: no data is lost here.
            with suppress(BotoCoreError, ClientError):
                self._s3.client.abort_multipart_upload(**self._where)
            raise
        return size

    def _send_all(self, parts: Iterator[bytes]) -> tuple[list[dict[str, Any]], int]:
        sent: list[dict[str, Any]] = []
        size = 0
        under_way: deque[Future[dict[str, Any]]] = deque()
        with ThreadPoolExecutor(LANES, "workroom-data-write") as pool:
            for number, part in enumerate(parts, start=1):
                size += len(part)
                if len(under_way) == LANES:
                    sent.append(under_way.popleft().result())
                under_way.append(pool.submit(self._send, number, part))
            sent += [future.result() for future in under_way]
        return sent, size

    def _send(self, number: int, part: bytes) -> dict[str, Any]:
        checksum = base64.b64encode(hashlib.sha256(part).digest()).decode()
        answer = self._s3.ask(
            self._path,
            lambda _: self._s3.client.upload_part(
                **self._where, PartNumber=number, Body=part, ChecksumSHA256=checksum
            ),
        )
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}

    def _complete(self, sent: list[dict[str, Any]], size: int) -> None:
        def complete(again: bool) -> None:
            try:
                self._s3.client.complete_multipart_upload(
                    **self._where, MultipartUpload={"Parts": sent}, IfNoneMatch="*"
                )
            except ClientError as error:
                # After a lost answer the upload is over, or its name is taken: by us?
                code = error_code(error)
                over = code in TAKEN or (again and code == "NoSuchUpload")
                if not over:
                    raise
                if not (again and self._is_there(sent, size)):
                    raise taken(self._path) from None

        self._s3.ask(self._path, complete)

    def _is_there(self, sent: list[dict[str, Any]], size: int) -> bool:
        """Whether what is there has our parts: S3 keeps the checksum of their checksums."""
        try:
            head = self._s3.head(self._path)
        except NotFound:
            return False
        digests = b"".join(base64.b64decode(part["ChecksumSHA256"]) for part in sent)
        checksum = base64.b64encode(hashlib.sha256(digests).digest()).decode()
        return bool(
            int(head["ContentLength"]) == size
            and head.get("ChecksumSHA256", "") == f"{checksum}-{len(sent)}"
        )
