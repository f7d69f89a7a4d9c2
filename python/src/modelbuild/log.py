"""What the product prints. Every line goes through here, because any of them may show text from elsewhere.

A line is one line whatever is in it, it obeys nothing and opens no group, and it holds no secret that this
process knows of.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import TextIO

from modelbuild import text
from modelbuild.errors import ModelbuildError, describe

_hidden: set[str] = set()


def hide(secret: str) -> None:
    """Black out a secret that is in no variable in everything that is printed from now on."""
    _hidden.update(text.pieces(secret))


def without_secrets(said: str) -> str:
    """``said`` without the secrets of this process: of its variables, and what :func:`hide` was told."""
    return text.without(said, _hidden | text.secrets_of(os.environ))


def say(said: str) -> None:
    """Print a line."""
    _print(text.one_line(without_secrets(said)))


def lines(said: str) -> None:
    """Print each line of text that is made of several."""
    for line in said.split("\n"):
        say(line)


def warn(said: str) -> None:
    """Print a line to standard error."""
    _print(text.one_line(without_secrets(said)), sys.stderr)


def group(title: str) -> None:
    """Begin a closed group of Buildkite's log."""
    _print(f"--- {text.one_line(without_secrets(title))}")


def open_group(title: str) -> None:
    """Begin an open group of Buildkite's log."""
    _print(f"+++ {text.one_line(without_secrets(title))}")


def fail(error: Exception) -> None:
    """Say on standard error why a command ends; of a defect, also where it is.

    Buildkite opens the group that the line stands in; a terminal has none.
    """
    if "BUILDKITE" in os.environ:
        _print("^^^ +++", sys.stderr)
    warn(f"modelbuild: {describe(error)}")
    if not isinstance(error, ModelbuildError):
        stack(error)


def stack(error: BaseException) -> None:
    """Print to standard error the places that led to an exception, without what its text may hold."""
    for frame in traceback.extract_tb(error.__traceback__):
        warn(f"  {frame.filename}:{frame.lineno} in {frame.name}")


def _print(line: str, to: TextIO | None = None) -> None:
    print(line, file=to, flush=True)
