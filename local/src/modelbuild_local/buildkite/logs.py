"""Job logs: assembled from chunks that arrive in any order, and parsed for pages."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field

# The agent's time stamps, and the beginning of one at the end of a log that is still being written.
_TIMESTAMP = re.compile(r"\x1b_bk;t=\d*\x07|\x1b(?:_(?:b(?:k(?:;[t=\d]*)?)?)?)?\Z")
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b_[^\x07]*\x07")
_HEADER = re.compile(r"(---|\+\+\+|~~~) (.*)")
_OPEN_LAST = re.compile(r"\^\^\^ \+\+\+")


@dataclass
class JobLog:
    """The output of a job so far, without gaps; early chunks wait for the missing ones."""

    content: bytearray = field(default_factory=bytearray)
    early: dict[int, bytes] = field(default_factory=dict)

    def add(self, offset: int, data: bytes) -> None:
        """Add a chunk that begins at byte ``offset`` of the log; a repeated chunk is ignored."""
        self.early[offset] = data
        while len(self.content) in self.early:
            chunk = self.early.pop(len(self.content))
            if not chunk:
                break
            self.content += chunk
        self.early = {at: chunk for at, chunk in self.early.items() if at > len(self.content)}

    def close(self) -> None:
        """The job has ended: append the chunks that wait for a lost one."""
        for offset in sorted(self.early):
            self.content += self.early[offset]
        self.early = {}

    def text(self) -> str:
        """The log without the agent's time stamps. An earlier text is a prefix of every later one."""
        decoded = codecs.getincrementaldecoder("utf-8")("replace").decode(bytes(self.content))
        return _TIMESTAMP.sub("", decoded)


@dataclass
class LogGroup:
    """A part of a log below a line that begins with ``---``, ``~~~`` or ``+++``."""

    title: str
    open: bool
    lines: list[str] = field(default_factory=list)


def group_lines(text: str) -> list[LogGroup]:
    """The log in its groups, colours removed; lines before the first header form a group without a title."""
    groups = [LogGroup(title="", open=True)]
    if not text:
        return []
    for raw in text.removesuffix("\n").split("\n"):
        # Only the text after the last carriage return is visible.
        line = _COLOUR.sub("", raw).rstrip("\r").rpartition("\r")[2]
        header = _HEADER.match(line)
        if header:
            groups.append(LogGroup(title=header[2], open=header[1] == "+++"))
        elif _OPEN_LAST.match(line):
            groups[-1].open = True
        else:
            groups[-1].lines.append(line)
    return [group for group in groups if group.title or group.lines]
