"""The one exception of this room."""

from __future__ import annotations


class Refused(Exception):
    """A request cannot be served: the HTTP status and the sentence that says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
