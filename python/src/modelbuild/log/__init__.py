"""Prints all output of the product.

Any message may contain foreign text. So this module prints each message as one line without control
sequences, which opens no group of Buildkite's log and is no event, and redacts the secrets that this process
knows.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from modelbuild import text
from modelbuild.errors import ModelbuildError, describe
from modelbuild.log import events

_hidden: set[str] = set()
_read_once: ContextVar[set[str] | None] = ContextVar("_read_once", default=None)


class _Formatter(logging.Formatter):
    """Formats a record as one line: text for people, or an event for programs."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without the line end."""
        message = record.getMessage()
        line = text.one_line(message)
        if line != message:
            # A control sequence may have stood inside of a secret.
            line = redact(line)
        name = getattr(record, "event", "")
        if name:
            return events.Event(name, line).to_line()
        return getattr(record, "marker", "") + events.break_marks(line)


class _Console(logging.Handler):
    """Prints warnings to standard error and other records to standard output, each line in one write."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record; errors of the stream propagate to the caller."""
        stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        stream.write(f"{self.format(record)}\n")
        stream.flush()


# Not created by getLogger: when a flow configures logging, dictConfig disables existing loggers by default.
_logger = logging.Logger("modelbuild", logging.INFO)
_console = _Console()
_console.setFormatter(_Formatter())
_logger.addHandler(_console)


def hide(secret: str) -> None:
    """Redact from now on a secret that is in no variable."""
    _hidden.update(text.secret_variants(secret))


def redact(message: str) -> str:
    """``message`` with the secrets redacted that are in this process's variables or were passed to
    :func:`hide`.
    """
    known = _read_once.get()
    return text.redact(message, _secrets() if known is None else known)


@contextmanager
def secrets_read_once() -> Iterator[None]:
    """Within this block :func:`redact` knows the secrets that there are when the block begins.

    Reading all variables takes longer than redacting one value, and a page has hundreds of values.
    """
    token = _read_once.set(_secrets())
    try:
        yield
    finally:
        _read_once.reset(token)


def _secrets() -> set[str]:
    return _hidden | text.secrets_of(os.environ)


def info(message: str) -> None:
    """Print a line."""
    _logger.info(redact(message))


def event(name: str, message: str) -> None:
    """Print an event, with a sentence for people; see :mod:`modelbuild.log.events`."""
    _logger.info(redact(message), extra={"event": name})


def lines(message: str) -> None:
    """Print each line of a text of several lines."""
    for line in message.split("\n"):
        info(line)


def warn(message: str) -> None:
    """Print a line to standard error."""
    _logger.warning(redact(message))


def group(title: str) -> None:
    """Begin a closed group of Buildkite's log."""
    _logger.info(redact(title), extra={"marker": "--- "})


def open_group(title: str) -> None:
    """Begin an open group of Buildkite's log."""
    _logger.info(redact(title), extra={"marker": "+++ "})


def relay(output: bytes) -> None:
    """Print the output of another program unchanged, except for secrets and events.

    For an event about progress, only its text is printed. A missing line end is added after the last line.
    """
    lines = output.decode(errors="surrogateescape").split("\n")
    shown = events.break_marks(redact("\n".join(map(events.shown, lines))))
    if shown and not shown.endswith("\n"):
        shown += "\n"
    sys.stdout.buffer.write(shown.encode(errors="surrogateescape"))
    sys.stdout.buffer.flush()


def fail(error: Exception) -> None:
    """Print an error to standard error; for a defect also its code location.

    In a Buildkite job also open the group of log lines that contains it.
    """
    if "BUILDKITE" in os.environ:
        _logger.warning("", extra={"marker": "^^^ +++"})
    warn(f"modelbuild: {describe(error)}")
    if not isinstance(error, ModelbuildError):
        stack(error)


def stack(error: BaseException) -> None:
    """Print the stack of an exception to standard error, without the exception's text."""
    for frame in traceback.extract_tb(error.__traceback__):
        warn(f"  {frame.filename}:{frame.lineno} in {frame.name}")
