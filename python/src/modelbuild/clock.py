"""The time, as a value: code that waits takes a clock, and a test passes one that jumps."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """The time in seconds, how to wait, and chance; tests replace all three.

    Attributes:
        now: seconds since any moment; only differences have a meaning.
        sleep: waits for so many seconds.
        jitter: a random number from 0 to 1.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random


SYSTEM_CLOCK = Clock()
"""The clock of this machine."""
