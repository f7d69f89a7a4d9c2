"""CloudWatch Logs of a running process."""

from __future__ import annotations

import os
import time
from typing import Any

_GATHER_SECONDS = 0.05
_CHUNK = 64 * 1024
_LONGEST_MESSAGE = 256 * 1024


class LogStream:
    """A log stream that stores a process's output line by line while the process writes it."""

    def __init__(self, backend: Any, group: str, name: str) -> None:
        self._backend, self._group, self._name = backend, group, name
        backend.ensure_log_group(group)
        backend.ensure_log_stream(group, name)

    def copy_from(self, descriptor: int) -> None:
        """Copy every line of a pipe to the stream at once, until the pipe has no writer."""
        rest = b""
        while chunk := os.read(descriptor, _CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            self._put(lines)
            if len(rest) > _LONGEST_MESSAGE:
                self._put([rest])
                rest = b""
            if len(chunk) < _CHUNK:
                time.sleep(_GATHER_SECONDS)  # many small writes then cost one call
        self._put([rest])

    def _put(self, lines: list[bytes]) -> None:
        now = int(time.time() * 1000)
        texts = [line.decode(errors="replace").rstrip("\r") for line in lines]
        # CloudWatch refuses empty messages, and the log driver also drops empty lines.
        events = [{"timestamp": now, "message": text} for text in texts if text]
        if events:
            self._backend.put_log_events(self._group, self._name, events)
