"""What the tests of the Batch stand-in share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

EXITED = "Essential container in task exited"
Wait = Callable[..., Any]


def sh(text: str) -> list[str]:
    """The command that runs ``text`` in a shell."""
    return ["sh", "-c", text]
