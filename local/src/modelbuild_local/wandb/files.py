"""Uploaded files: each in a folder under a random name, which also authorizes the download."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from modelbuild_local.wandb.errors import Refused


class Files:
    """The files; their paths do not depend on the names that clients use."""

    def __init__(self, folder: Path, url: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._url = url
        self._ids: set[str] = set()

    def new(self) -> str:
        """The id of a new file."""
        id = secrets.token_hex(20)
        self._ids.add(id)
        return id

    def url(self, id: str) -> str:
        """The address for the upload and download of a file."""
        return f"{self._url}/storage/{id}"

    def path(self, id: str) -> Path:
        """The path of its bytes, which may not exist yet. Refused (404): the id is unknown."""
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
        """Store an upload; the file appears when it is complete."""
        target = self.path(id)
        part = target.with_name(f"{id}.{secrets.token_hex(4)}")
        try:
            with part.open("wb") as file:
                async for chunk in chunks:
                    file.write(chunk)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
