"""The only exception of this package, and those of malformed messages."""

from __future__ import annotations

MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""The exceptions of reading a message that is not in the SDK's form."""


class Refused(Exception):
    """A request is refused, with an HTTP status and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
