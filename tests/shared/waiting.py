"""Waits for what another thread or process does."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SECONDS = 60.0
"""How long a test waits before it fails: far longer than a busy machine takes. No test that waits this long
shows that something is fast."""


def wait_until(
    condition: Callable[[], T], what: str = "the condition to come true", seconds: float = SECONDS
) -> T:
    """Return the first true value of ``condition``; fail with ``what`` was waited for after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.02)
    return value


def runs(pid: int | str) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return bool(shown) and not shown.startswith("Z")
