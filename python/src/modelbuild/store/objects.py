"""The objects that a store keeps its files in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol


class Objects(Protocol):
    """Objects by ``s3://bucket/key``; :class:`modelbuild.aws.storage.Storage` has those of S3.

    Every method raises ``AwsError`` when it is refused.
    """

    def read(self, uri: str) -> bytes:
        """The bytes of an object; ``NotFound`` without one."""

    def stream(self, uri: str) -> Iterator[bytes]:
        """The bytes of an object in chunks; ``NotFound`` without one."""

    def exists(self, uri: str) -> bool:
        """Whether there is such an object."""

    def age(self, uri: str) -> float | None:
        """Seconds since an object was written, or None without one."""

    def write_once(self, uri: str, body: bytes, content_type: str = "application/json") -> bool:
        """Write an object unless one is there; the answer says whether this call wrote it."""

    def write(self, uri: str, body: bytes, content_type: str = "application/json") -> None:
        """Write an object over whatever is there."""

    def upload(self, path: Path, uri: str) -> None:
        """Write a file to an object."""

    def delete(self, uri: str) -> None:
        """Remove an object, whether or not it is there."""

    def list(self, prefix_uri: str) -> list[tuple[str, int]]:
        """Location and bytes of each object whose location begins with ``prefix_uri``, sorted by location."""

    def folders(self, folder_uri: str) -> Sequence[str]:
        """The names of the folders directly below ``folder_uri``, which ends with a slash, sorted."""
