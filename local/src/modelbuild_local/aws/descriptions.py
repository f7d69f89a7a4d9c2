"""botocore's descriptions of services, of which EC2's alone takes 0.1 s to read."""

from __future__ import annotations

from functools import cache
from typing import Any

from botocore.loaders import JSONFileLoader, Loader


class SharedFileLoader(JSONFileLoader):
    """Reads each file once for all sessions of this process."""

    _read = staticmethod(cache(JSONFileLoader().load_file))

    def load_file(self, file_path: str) -> Any:
        """Return the content of a file, by its path without the suffix; None if there is none."""
        return self._read(file_path)


def share() -> None:
    """Have all sessions of this process share what they read.

    A session keeps what it reads, but moto makes a session for each service and region, and most tests make
    sessions of their own.
    """
    Loader.FILE_LOADER_CLASS = SharedFileLoader
