"""S3 in memory, for tests of stores that need no server; the tests of ``store/`` compare it with S3."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from modelbuild.aws.failures import NotFound


class MemoryObjects:
    """Objects by their location; each write happens at one moment, also when threads race."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self._written: dict[str, float] = {}
        self._lock = threading.Lock()

    def read(self, uri: str) -> bytes:
        """The bytes of an object."""
        with self._lock:
            if uri not in self.objects:
                raise NotFound(f"could not read {uri} (NoSuchKey: it is not there)")
            return self.objects[uri]

    def stream(self, uri: str) -> Iterator[bytes]:
        """The bytes of an object in one chunk."""
        yield self.read(uri)

    def read_tagged(self, uri: str) -> tuple[bytes, str]:
        """The bytes of an object and their tag."""
        body = self.read(uri)
        return body, _tag(body)

    def exists(self, uri: str) -> bool:
        """Whether there is such an object."""
        return self.age(uri) is not None

    def age(self, uri: str) -> float | None:
        """Seconds since an object was written, or None without one."""
        with self._lock:
            return time.time() - self._written[uri] if uri in self._written else None

    def write_once(self, uri: str, body: bytes, content_type: str = "application/json") -> bool:
        """Write an object unless one is there; the answer says whether this call wrote it."""
        del content_type
        with self._lock:
            if uri in self.objects:
                return False
            self._put(uri, body)
            return True

    def replace(self, uri: str, body: bytes, tag: str, content_type: str = "application/json") -> str | None:
        """Write an object in place of the bytes with this tag; the answer is the new tag, or None."""
        del content_type
        with self._lock:
            if uri not in self.objects or _tag(self.objects[uri]) != tag:
                return None
            self._put(uri, body)
            return _tag(body)

    def write(self, uri: str, body: bytes, content_type: str = "application/json") -> None:
        """Write an object over whatever is there."""
        del content_type
        with self._lock:
            self._put(uri, body)

    def upload(self, path: Path, uri: str) -> None:
        """Write a file to an object."""
        self.write(uri, path.read_bytes())

    def delete(self, uri: str) -> None:
        """Remove an object, whether or not it is there."""
        with self._lock:
            self.objects.pop(uri, None)
            self._written.pop(uri, None)

    def list(self, prefix_uri: str) -> list[tuple[str, int]]:
        """Location and bytes of each object whose location begins with ``prefix_uri``, sorted by location."""
        with self._lock:
            return sorted(
                (uri, len(body)) for uri, body in self.objects.items() if uri.startswith(prefix_uri)
            )

    def folders(self, folder_uri: str) -> Sequence[str]:
        """The names of the folders directly below ``folder_uri``, sorted."""
        with self._lock:
            below = (uri.removeprefix(folder_uri) for uri in self.objects if uri.startswith(folder_uri))
            return sorted({name.split("/", 1)[0] for name in below if "/" in name})

    def _put(self, uri: str, body: bytes) -> None:
        self.objects[uri] = body
        self._written[uri] = time.time()


def _tag(body: bytes) -> str:
    # As in S3, the same bytes have the same tag.
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
