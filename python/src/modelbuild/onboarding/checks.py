"""One check of doctor: ok, or a sentence with the fix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from modelbuild.errors import ModelbuildError


@dataclass(frozen=True)
class Check:
    """The outcome of one check: what was found, or a sentence with the fix."""

    ok: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok ' if self.ok else 'fix'} {self.text}"


def run_check(subject: str, check: Callable[[], str]) -> Check:
    """Run the check of ``subject``; an error that it raises becomes the sentence with the fix."""
    try:
        return Check(True, f"{subject}: {check()}")
    except ModelbuildError as error:
        return Check(False, f"{subject}: {error}")


def no_identity(error: ModelbuildError) -> Check:
    """The line for an identity that cannot be had, which is the same for each check that needs it."""
    return Check(False, f"identity: {error}; the rest of AWS was not checked")
