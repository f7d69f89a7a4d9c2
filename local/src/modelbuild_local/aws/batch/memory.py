"""The memory of a process and its descendants."""

from __future__ import annotations

import contextlib
import os
import re

_PROC = "/proc"  # Linux only: on other systems no job is too large
_OWN = re.compile(rb"^(?:RssAnon|Pss_Anon):\s+(\d+) kB$", re.MULTILINE)


def exceeds(pid: int, limit: int) -> bool:
    """Whether the private memory of a process and its descendants is larger than ``limit`` bytes.

    Like for a container, pages of files do not count, and shared pages count once.
    """
    pids = [*_tree(pid)]
    # The first sum is fast, but counts shared pages twice.
    return _sum(pids, "status") > limit and _sum(pids, "smaps_rollup") > limit


def _tree(pid: int) -> list[int]:
    found = [pid]
    with contextlib.suppress(OSError):  # gone meanwhile
        for thread in os.listdir(f"{_PROC}/{pid}/task"):
            for child in _read(f"{_PROC}/{pid}/task/{thread}/children").split():
                found += _tree(int(child))
    return found


def _sum(pids: list[int], file: str) -> int:
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            match = _OWN.search(_read(f"{_PROC}/{pid}/{file}"))
            total += int(match[1]) << 10 if match else 0
    return total


def _read(file: str) -> bytes:
    """The content of a file below /proc; called so often that a Path and a decoder would cost more."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        return os.read(descriptor, 65_536)
    finally:
        os.close(descriptor)
