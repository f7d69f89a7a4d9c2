"""The outcome of one check, as one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from modelbuild.errors import VerificationFailed


class NotChecked(Exception):
    """A check cannot be made; the message says why, and how it can be."""


@dataclass(frozen=True)
class Outcome:
    """What a check found, a sentence with the fix, or why the check was not made."""

    status: Literal["ok", "failed", "not checked"]
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.status:<11} {self.subject}: {self.text}"


def run_check(subject: str, check: Callable[[], str]) -> Outcome:
    """Run the check of ``subject``; :class:`VerificationFailed` means that it failed."""
    try:
        return Outcome("ok", subject, check())
    except VerificationFailed as error:
        return Outcome("failed", subject, str(error))
    except NotChecked as reason:
        return Outcome("not checked", subject, str(reason))
