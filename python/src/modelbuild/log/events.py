"""Events: the lines of a log that a program reads. All other lines are for people only.

An event is one line: :data:`MARK` and a JSON object. :mod:`modelbuild.log` prints events, and breaks the mark
in everything else that it prints, so that no text from elsewhere is taken for an event. That holds wherever a
line is cut: CloudWatch Logs takes at most 256 KiB, and log drivers make several lines of what is longer.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

MARK = "modelbuild-event "
_BROKEN_MARK = "modelbuild_event "

TRAINING_ENDED = "training-ended"
"""The head has the result of the training; its log has nothing more of the flow."""


@dataclass(frozen=True)
class Event:
    """An event; what reads the log shows its text to people in place of the line.

    Attributes:
        name: what happened. Readers pass over names that they do not know: the log's writer may be newer.
        text: a sentence for people, on one line.
    """

    name: str
    text: str

    def to_line(self) -> str:
        """The event as a line of a log, without the line end."""
        return f"{MARK}{json.dumps(asdict(self), ensure_ascii=False)}"


def parse_event(line: str) -> Event | None:
    """The event that a line of a log is; None where it is a line for people."""
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


def break_marks(text: str) -> str:
    """``text`` in which no line is an event, nor any part of a line."""
    return text.replace(MARK, _BROKEN_MARK)
