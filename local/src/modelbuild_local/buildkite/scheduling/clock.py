"""The clock; tests replace it."""

from __future__ import annotations

import time
from datetime import datetime, timezone


class Clock:
    """The time."""

    def now(self) -> datetime:
        """The wall clock, for people."""
        return datetime.now(timezone.utc)

    def seconds(self) -> float:
        """A monotonic clock, which stops while the machine sleeps."""
        return time.monotonic()
