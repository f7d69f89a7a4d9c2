"""Events: the lines of a log that a program reads. All other lines are for people only.

An event is one line: :data:`MARK` and a JSON object. :mod:`modelbuild.log` prints events, and breaks the mark
in all other output, so that no reader takes foreign text for an event. That also holds for parts of a line:
log drivers split lines that are longer than the 256 KiB of CloudWatch Logs.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from modelbuild.text import one_line

MARK = "modelbuild-event "
_BROKEN_MARK = "modelbuild_event "

TRAINING_ENDED = "training-ended"
"""The head has the result of the training; no output of the flow follows in its log."""

TRAINING_PROGRESS = "training-progress"
"""A step of the flow has measured how the fit goes; the head reads it in the flow's output."""


@dataclass(frozen=True)
class Event:
    """An event; a reader of the log shows its text to people instead of the line.

    Attributes:
        name: the kind of event. Readers ignore unknown names, because the writer of the log may be newer.
        text: a sentence for people, on one line.
    """

    name: str
    text: str

    def to_line(self) -> str:
        """The event as a line of a log, without the line end."""
        return f"{MARK}{json.dumps(asdict(self), ensure_ascii=False)}"


def parse_event(line: str) -> Event | None:
    """The event of a line of a log, or None for a line for people."""
    if not line.startswith(MARK):
        return None
    try:
        found = json.loads(line.removeprefix(MARK))
    except (ValueError, RecursionError):
        return None
    match found:
        case {"name": str(name), "text": str(text)}:
            return Event(name, text)
    return None


def shown(line: str) -> str:
    """A line of a flow for people: with the text in place of an event about its progress."""
    before, mark, rest = line.partition(MARK)
    event = parse_event(mark + rest)
    return before + one_line(event.text) if event and event.name == TRAINING_PROGRESS else line


def break_marks(text: str) -> str:
    """``text`` with broken marks, so that no line and no part of a line is an event."""
    return text.replace(MARK, _BROKEN_MARK)
