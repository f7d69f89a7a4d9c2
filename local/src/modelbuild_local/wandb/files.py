"""Uploaded files: bytes in a folder, each under a random name that is also the permission to fetch it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from modelbuild_local.wandb.errors import Refused


class Files:
    """The files; what a client calls them has no part in where they lie."""

    def __init__(self, folder: Path, url: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._url = url
        self._ids: set[str] = set()

    def new(self) -> str:
        """The id of a file to come."""
        id = secrets.token_hex(20)
        self._ids.add(id)
        return id

    def url(self, id: str) -> str:
        """Where a file is uploaded to and fetched from."""
        return f"{self._url}/storage/{id}"

    def path(self, id: str) -> Path:
        """Where its bytes lie, once they are there. Refused (404): it was never given out."""
        if id not in self._ids:
            raise Refused(404, "No such file")
        return self._folder / id

    def exists(self, id: str) -> bool:
        """Whether it has been uploaded."""
        return self.path(id).is_file()

    def size(self, id: str) -> int:
        """Its bytes."""
        return self.path(id).stat().st_size

    async def write(self, id: str, chunks: AsyncIterator[bytes]) -> None:
        """Take an upload; the file appears once it is whole."""
        target = self.path(id)
        part = target.with_name(f"{id}.{secrets.token_hex(4)}")
        try:
            with part.open("wb") as file:
                async for chunk in chunks:
                    file.write(chunk)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
