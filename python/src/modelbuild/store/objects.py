"""The interface to objects that the stores use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol


class Objects(Protocol):
    """Objects by ``s3://bucket/key``; :class:`modelbuild.aws.storage.Storage` implements it for S3. Every
    method raises ``AwsError`` if the call fails.
    """

    def read(self, uri: str) -> bytes:
        """The bytes of an object; raises ``NotFound``."""

    def stream(self, uri: str) -> Iterator[bytes]:
        """The bytes of an object in chunks; raises ``NotFound``."""

    def read_tagged(self, uri: str) -> tuple[bytes, str]:
        """The bytes of an object and their tag, by which :meth:`replace` knows them; raises ``NotFound``."""

    def exists(self, uri: str) -> bool:
        """Whether there is such an object."""

    def age(self, uri: str) -> float | None:
        """Seconds since an object was written, or None if it does not exist."""

    def write_once(self, uri: str, body: bytes, content_type: str = "application/json") -> bool:
        """Write an object unless it exists; returns whether this call wrote it."""

    def replace(self, uri: str, body: bytes, tag: str, content_type: str = "application/json") -> str | None:
        """Write an object in place of the bytes with this tag; returns the new tag, or None if other bytes or
        none are there.
        """

    def write(self, uri: str, body: bytes, content_type: str = "application/json") -> None:
        """Write an object, and replace an existing one."""

    def upload(self, path: Path, uri: str) -> None:
        """Write a file to an object."""

    def delete(self, uri: str) -> None:
        """Delete an object, if it exists."""

    def list(self, prefix_uri: str) -> list[tuple[str, int]]:
        """The URI and size in bytes of each object whose URI begins with ``prefix_uri``, sorted by URI."""

    def folders(self, folder_uri: str) -> Sequence[str]:
        """The names of the folders directly below ``folder_uri``, which ends with a slash, sorted."""
