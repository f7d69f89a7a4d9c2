"""Objects in S3, by ``s3://bucket/key``."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import (
    ClientError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.utils import determine_content_length

from modelbuild.aws.failures import NotFound, error_code, translated
from modelbuild.contract import split_s3_uri
from modelbuild.errors import ConfigurationError

if TYPE_CHECKING:
    import boto3

__all__ = ["NotFound", "Storage"]

_CHUNK_BYTES = 1 << 20
_BODY_ATTEMPTS = 6
_BODY_WAIT_SECONDS = 1.0
# S3 refuses a conditional write while it executes another one of the same object; it asks to retry.
_CONFLICT_ATTEMPTS = 8
_CONFLICT_WAIT_SECONDS = 3.0


class Storage:
    """A client of S3 with one identity.

    Every method raises ``AwsError`` when AWS refuses or cannot be reached, and ``ConfigurationError`` for a
    text that is no URI of S3.
    """

    def __init__(self, session: boto3.Session) -> None:
        with translated("set up a client for S3"):
            self._s3 = session.client("s3")
        self._s3.meta.events.register_last("before-call.s3", _send_small_at_once)

    def read(self, uri: str) -> bytes:
        """The bytes of an object.

        Raises:
            NotFound: there is no such object.
        """
        return b"".join(self.stream(uri))

    def stream(self, uri: str) -> Iterator[bytes]:
        """The bytes of an object in chunks of at most 1 MiB.

        botocore repeats a request that fails, but not the reading of a body that breaks off: this method then
        requests the rest of the same object.

        Raises:
            NotFound: there is no such object.
        """
        bucket, key = _bucket_and_key(uri)
        with translated(f"read {uri}"):
            yield from self._chunks(self._s3.get_object(Bucket=bucket, Key=key), bucket, key)

    def read_tagged(self, uri: str) -> tuple[bytes, str]:
        """The bytes of an object and their ETag, by which :meth:`replace` knows them.

        Raises:
            NotFound: there is no such object.
        """
        bucket, key = _bucket_and_key(uri)
        with translated(f"read {uri}"):
            found = self._s3.get_object(Bucket=bucket, Key=key)
            tag: str = found["ETag"]
            return b"".join(self._chunks(found, bucket, key)), tag

    def exists(self, uri: str) -> bool:
        """Whether there is such an object."""
        return self.age(uri) is not None

    def age(self, uri: str) -> float | None:
        """Seconds since an object was written, or None if it does not exist."""
        bucket, key = _bucket_and_key(uri)
        try:
            with translated(f"look for {uri}"):
                found = self._s3.head_object(Bucket=bucket, Key=key)
        except NotFound:
            return None
        written: datetime = found["LastModified"]
        return (datetime.now(timezone.utc) - written).total_seconds()

    def write_once(self, uri: str, body: bytes, content_type: str = "application/json") -> bool:
        """Write an object unless it exists; returns whether this call wrote it."""
        return self._write_if(uri, body, content_type, IfNoneMatch="*") is not None

    def replace(self, uri: str, body: bytes, tag: str, content_type: str = "application/json") -> str | None:
        """Write an object in place of the bytes with this ETag; returns the new ETag, or None if other bytes
        or none are there.
        """
        try:
            return self._write_if(uri, body, content_type, IfMatch=tag)
        except NotFound:
            return None

    def write(self, uri: str, body: bytes, content_type: str = "application/json") -> None:
        """Write an object, and replace an existing one."""
        bucket, key = _bucket_and_key(uri)
        with translated(f"write {uri}"):
            self._s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)

    def upload(self, path: Path, uri: str) -> None:
        """Write a file to an object, in parts if it is large."""
        # Imported here, because only a deployment needs it.
        from s3transfer.manager import TransferManager

        bucket, key = _bucket_and_key(uri)
        with translated(f"upload {path.name} to {uri}"), TransferManager(self._s3) as transfers:
            transfers.upload(str(path), bucket, key).result()

    def delete(self, uri: str) -> None:
        """Delete an object, if it exists; a bucket with versioning keeps its bytes."""
        bucket, key = _bucket_and_key(uri)
        with translated(f"delete {uri}"):
            self._s3.delete_object(Bucket=bucket, Key=key)

    def list(self, prefix_uri: str) -> list[tuple[str, int]]:
        """The URI and size in bytes of each object whose URI begins with ``prefix_uri``, sorted by URI."""
        bucket, prefix = _bucket_and_key(prefix_uri)
        with translated(f"list {prefix_uri}"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            return sorted(
                (f"s3://{bucket}/{item['Key']}", item["Size"])
                for page in pages
                for item in page.get("Contents", [])
            )

    def folders(self, folder_uri: str) -> Sequence[str]:
        """The names of the folders directly below ``folder_uri``, which ends with a slash, sorted.

        S3 does not list the objects in them.
        """
        bucket, prefix = _bucket_and_key(folder_uri)
        with translated(f"list {folder_uri}"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=prefix, Delimiter="/"
            )
            return sorted(
                item["Prefix"].removeprefix(prefix).removesuffix("/")
                for page in pages
                for item in page.get("CommonPrefixes", [])
            )

    def _chunks(self, found: Mapping[str, Any], bucket: str, key: str) -> Iterator[bytes]:
        """The body of an answer to GetObject; if it breaks off, the rest of the same object."""
        same, size, read = found["ETag"], found["ContentLength"], 0
        for attempt in range(1, _BODY_ATTEMPTS + 1):
            try:
                for chunk in found["Body"].iter_chunks(_CHUNK_BYTES):
                    read += len(chunk)
                    yield chunk
                return
            except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError):
                if read == size:
                    return
                if attempt == _BODY_ATTEMPTS:
                    raise
            time.sleep(random.uniform(0, _BODY_WAIT_SECONDS * attempt))
            found = self._s3.get_object(Bucket=bucket, Key=key, IfMatch=same, Range=f"bytes={read}-")

    def _write_if(self, uri: str, body: bytes, content_type: str, **condition: Any) -> str | None:
        """Write an object under a condition; returns its ETag, or None if the condition does not hold."""
        bucket, key = _bucket_and_key(uri)
        with translated(f"write {uri}"):
            for attempt in range(1, _CONFLICT_ATTEMPTS + 1):
                try:
                    written: str = self._s3.put_object(
                        Bucket=bucket, Key=key, Body=body, ContentType=content_type, **condition
                    )["ETag"]
                    return written
                except ClientError as error:
                    if error_code(error) == "PreconditionFailed":
                        return None
                    if error_code(error) != "ConditionalRequestConflict" or attempt == _CONFLICT_ATTEMPTS:
                        raise
                time.sleep(random.uniform(0, min(_CONFLICT_WAIT_SECONDS, 0.1 * 2**attempt)))
        raise AssertionError("the last attempt returns or raises")


def _send_small_at_once(params: Mapping[str, Any], **_: object) -> None:
    """Send a small body with its request: with the header ``Expect`` each write takes one more round trip."""
    size = determine_content_length(params["body"])
    if size is not None and size <= _CHUNK_BYTES:
        params["headers"].pop("Expect", None)


def _bucket_and_key(uri: str) -> tuple[str, str]:
    try:
        return split_s3_uri(uri)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
