"""The only exception of this package."""

from __future__ import annotations


class Refused(Exception):
    """A request is refused, with an HTTP status and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
