"""How much memory a process holds, with all that it started."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

_PROC = Path("/proc")  # Linux only: elsewhere nothing is known, and no job is too large
_OWN = re.compile(r"^(?:RssAnon|Pss_Anon):\s+(\d+) kB$", re.MULTILINE)


def exceeds(pid: int, limit: int) -> bool:
    """Whether a process and its descendants hold more bytes of their own than ``limit``.

    What they read of files is not their own, and what they share counts once, as for a container.
    """
    pids = [*_tree(pid)]
    # The first is quickly told, and counts twice what is shared.
    return _sum(pids, "status") > limit and _sum(pids, "smaps_rollup") > limit


def _tree(pid: int) -> list[int]:
    found = [pid]
    with contextlib.suppress(OSError):  # gone meanwhile
        for children in (_PROC / str(pid) / "task").glob("*/children"):
            for child in children.read_text().split():
                found += _tree(int(child))
    return found


def _sum(pids: list[int], file: str) -> int:
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            match = _OWN.search((_PROC / str(pid) / file).read_text())
            total += int(match[1]) << 10 if match else 0
    return total
