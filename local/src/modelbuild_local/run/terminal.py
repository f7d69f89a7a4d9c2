"""Prints a build to the terminal: the lines of several jobs, each with the name of its step."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TextIO

from modelbuild_local.run.plain import to_text

_WIDTH = 16
_EMOJI = re.compile(r":[a-z0-9_+\-]+:\s*")
_HEADER = re.compile(r"(---|\+\+\+|~~~)(?:\s+(.*))?$")
_COMMAND = re.compile(r"Running (command|script|batch|.* command hook)")
"""Closed groups in which the agent runs the command of the step; other closed groups are about the agent
itself.
"""
_CONTROL = re.compile(
    r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*\x07?|\x1b_[^\x07\x1b]*\x07?|[\x00-\x08\x0a-\x1f\x7f-\x9f]"
)
_BOLD, _RESET = "\x1b[1m", "\x1b[0m"
_COLOURS = ("\x1b[36m", "\x1b[35m", "\x1b[33m", "\x1b[34m", "\x1b[32m")


def plain_label(label: str) -> str:
    """A step's label without its emoji codes."""
    label = _CONTROL.sub("", label)
    return _EMOJI.sub("", label).strip() or label


def _colour_only(match: re.Match[str]) -> str:
    """A control sequence that sets a colour; an empty text for any other."""
    return match[0] if match[0].startswith("\x1b[") and match[0].endswith("m") else ""


@dataclass
class JobView:
    """How much of a job's log has been shown; ``hidden`` are the lines of a closed group (``~~~``)."""

    name: str
    colour: str
    shown: int = 0
    closed: bool = False
    hidden: list[str] = field(default_factory=list)


class Terminal:
    """Writes whole lines, so that the lines of parallel jobs do not mix."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._colours = out.isatty()
        self._jobs: dict[str, JobView] = {}
        self._annotations: dict[str, str] = {}

    def print_line(self, text: str) -> None:
        """Print a line."""
        self._write(self._paint(text, _BOLD))

    def started(self, job: str, label: str, description: str) -> None:
        """Print that a job has started."""
        colour = _COLOURS[len(self._jobs) % len(_COLOURS)]
        self._jobs[job] = JobView(plain_label(label), colour)
        self._line(self._jobs[job], self._paint(description, _BOLD))

    def log(self, job: str, text: str, *, ended: bool) -> None:
        """Print the new lines of a job's log; ``text`` is the whole log so far."""
        view = self._jobs[job]
        end = len(text) if ended else text.rfind("\n") + 1
        fresh = text[view.shown : end]
        view.shown = max(view.shown, end)
        for line in fresh.removesuffix("\n").split("\n") if fresh else []:
            self._log_line(view, line)

    def ended(self, job: str, result: str, *, good: bool) -> None:
        """Print that a job has ended; for a failed job also the hidden lines of its last closed group."""
        view = self._jobs[job]
        if not good:
            self._open(view)
        self._line(view, self._paint(result, _BOLD))

    def annotation(self, id: str, context: str, style: str, html: str) -> None:
        """Print an annotation that is new or has changed."""
        if self._annotations.get(id) == html:
            return
        self._annotations[id] = html
        self._write("")
        self._write(self._paint(f"[{style or 'note'}: {context}]", _BOLD))
        for line in to_text(html).split("\n"):
            self._write(f"  {_CONTROL.sub('', line)}")
        self._write("")

    def _log_line(self, view: JobView, raw: str) -> None:
        # Only the text after the last carriage return is visible.
        line = raw.rstrip("\r").rpartition("\r")[2]
        bare = _CONTROL.sub("", line)
        shown = _CONTROL.sub(_colour_only, line) if self._colours else bare
        header = _HEADER.match(bare)
        if header:
            title = f"{header[1]} {plain_label(header[2] or '')}"
            view.closed, view.hidden = header[1] == "~~~" and not _COMMAND.search(title), [title]
            if header[1] != "~~~":
                self._line(view, self._paint(title, _BOLD))
        elif bare.startswith("^^^ +++"):
            self._open(view)
        elif view.closed:
            view.hidden.append(shown)
        else:
            self._line(view, shown)

    def _open(self, view: JobView) -> None:
        if view.closed:
            for line in view.hidden:
                self._line(view, line)
        view.closed = False

    def _line(self, view: JobView, text: str) -> None:
        prefix = self._paint(f"{view.name[:_WIDTH]:<{_WIDTH}} |", view.colour)
        self._write(f"{prefix} {text}{_RESET if self._colours else ''}")

    def _paint(self, text: str, code: str) -> str:
        return f"{code}{text}{_RESET}" if self._colours else text

    def _write(self, text: str) -> None:
        encoding = self._out.encoding or "utf-8"
        print(text.rstrip().encode(encoding, "replace").decode(encoding), file=self._out, flush=True)
