"""The time, of which tests have their own."""

from __future__ import annotations

import time
from datetime import datetime, timezone


class Clock:
    """The time."""

    def now(self) -> datetime:
        """The wall clock, for people."""
        return datetime.now(timezone.utc)

    def seconds(self) -> float:
        """A clock that only goes forward, and stands while the machine sleeps."""
        return time.monotonic()
