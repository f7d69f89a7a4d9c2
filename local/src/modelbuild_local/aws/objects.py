"""Access to S3 for services of the stand-in: moto's own store, without HTTP requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moto.core.exceptions import ServiceException
from moto.s3.exceptions import S3ClientError
from moto.s3.models import s3_backends

_PARTITION = "aws"


class NoSuchObject(Exception):
    """The bucket or object does not exist; the message names it."""


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of ``s3://bucket/key``.

    Raises:
        ValueError: it is no S3 address.
    """
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme not in ("s3", "s3a") or not bucket:
        raise ValueError(f"{uri!r} is not an S3 address such as s3://bucket/key")
    return bucket, key


class Objects:
    """The buckets that an account may use: its own, and those of the other accounts of this stand-in."""

    def __init__(self, account: str) -> None:
        self._s3: Any = s3_backends[account][_PARTITION]

    def has_bucket(self, bucket: str) -> bool:
        """Whether the bucket exists in any account."""
        try:
            self._s3.get_bucket(bucket)
        except (ServiceException, S3ClientError):
            return False
        return True

    def list(self, prefix_uri: str) -> Iterator[tuple[str, int]]:
        """URI and size in bytes of every object whose URI begins with ``prefix_uri``, sorted by name.

        Raises:
            NoSuchObject: there is no such bucket.
        """
        bucket, prefix = split(prefix_uri)
        keys = dict(self._bucket(bucket).keys.items())
        for name in sorted(keys):
            if name.startswith(prefix):
                found = self._s3.get_object(bucket, name)
                if found is not None:  # None for what was deleted in a bucket with versions
                    yield f"s3://{bucket}/{name}", int(found.size)

    def read(self, uri: str) -> bytes:
        """The object's bytes.

        Raises:
            NoSuchObject: there is no such bucket or object.
        """
        bucket, key = split(uri)
        self._bucket(bucket)
        found = self._s3.get_object(bucket, key) if key else None
        if found is None:
            raise NoSuchObject(f"there is no object {uri}")
        return bytes(found.value)

    def write(self, uri: str, content: bytes) -> None:
        """Put an object.

        Raises:
            NoSuchObject: there is no such bucket.
        """
        bucket, key = split(uri)
        self._bucket(bucket)
        self._s3.put_object(bucket, key, content)

    def _bucket(self, name: str) -> Any:
        try:
            return self._s3.get_bucket(name)
        except (ServiceException, S3ClientError):
            raise NoSuchObject(f"there is no bucket {name}") from None
