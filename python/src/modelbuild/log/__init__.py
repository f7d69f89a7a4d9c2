"""What the product prints. Every line goes through here, because any of them may show text from elsewhere.

A line is one line whatever is in it, it obeys nothing, opens no group and is no event, and it holds no secret
that this process knows of.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback

from modelbuild import text
from modelbuild.errors import ModelbuildError, describe
from modelbuild.log import events

_hidden: set[str] = set()


class _Formatter(logging.Formatter):
    """Makes one line of a record: for people, or for programs where the record is an event."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without the line end."""
        line = text.one_line(record.getMessage())
        name = getattr(record, "event", "")
        if name:
            return events.Event(name, line).to_line()
        return getattr(record, "marker", "") + events.break_marks(line)


class _Console(logging.Handler):
    """Prints warnings to standard error and all else to standard output, each line in one write."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record; an error of the stream is the caller's."""
        stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        stream.write(f"{self.format(record)}\n")
        stream.flush()


# Not one of getLogger's: a flow that configures logging would disable it, as dictConfig does by default.
_logger = logging.Logger("modelbuild", logging.INFO)
_console = _Console()
_console.setFormatter(_Formatter())
_logger.addHandler(_console)


def hide(secret: str) -> None:
    """Black out a secret that is in no variable in everything that is printed from now on."""
    _hidden.update(text.secret_variants(secret))


def redact(message: str) -> str:
    """``message`` without this process's secrets: those of its variables, and those given to :func:`hide`."""
    return text.redact(message, _hidden | text.secrets_of(os.environ))


def say(message: str) -> None:
    """Print a line."""
    _logger.info(redact(message))


def event(name: str, message: str) -> None:
    """Print a line that a program reads, with a sentence for people; see :mod:`modelbuild.log.events`."""
    _logger.info(redact(message), extra={"event": name})


def lines(message: str) -> None:
    """Print each line of text that is made of several."""
    for line in message.split("\n"):
        say(line)


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
    """Print lines of another program as they are, except for secrets and marks of events.

    The last line gets an end if it has none: what is printed next begins a line.
    """
    shown = events.break_marks(redact(output.decode(errors="surrogateescape")))
    if shown and not shown.endswith("\n"):
        shown += "\n"
    sys.stdout.buffer.write(shown.encode(errors="surrogateescape"))
    sys.stdout.buffer.flush()


def fail(error: Exception) -> None:
    """Say on standard error why a command ends; of a defect, also where it is.

    Buildkite opens the group that the line stands in; a terminal has none.
    """
    if "BUILDKITE" in os.environ:
        _logger.warning("", extra={"marker": "^^^ +++"})
    warn(f"modelbuild: {describe(error)}")
    if not isinstance(error, ModelbuildError):
        stack(error)


def stack(error: BaseException) -> None:
    """Print to standard error the places that led to an exception, without what its text may hold."""
    for frame in traceback.extract_tb(error.__traceback__):
        warn(f"  {frame.filename}:{frame.lineno} in {frame.name}")
