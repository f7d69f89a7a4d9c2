"""What a look at one thing gives: a line that says ok, or how to mend it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from modelbuild.errors import ModelbuildError


@dataclass(frozen=True)
class Line:
    """One thing that was looked at: what it is, or a sentence with the fix."""

    ok: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok ' if self.ok else 'fix'} {self.text}"


def tried(subject: str, look: Callable[[], str]) -> Line:
    """What a look at ``subject`` gives; an error that it raises is the sentence with the fix."""
    try:
        return Line(True, f"{subject}: {look()}")
    except ModelbuildError as error:
        return Line(False, f"{subject}: {error}")
