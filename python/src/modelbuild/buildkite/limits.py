"""Buildkite's limits of requests, as the headers of its answers state them."""

from __future__ import annotations

import email.utils
import math
import time
from collections.abc import Mapping

_LIMITS = ("RateLimit", "RateLimit-User")
_RESET_HEADERS = tuple(f"{limit}-Reset" for limit in _LIMITS)
_LONGEST_SECONDS = 3600.0


def requested_wait(status: int, headers: Mapping[str, str]) -> float | None:
    """The seconds to wait that a refusal's headers ask for."""
    after = headers.get("Retry-After")
    if after is not None:
        return _seconds(after)
    # Every answer has the time when the limits reset; only an answer with 429 is refused because of them.
    if status != 429:
        return None
    resets = [_seconds(headers[name]) for name in _RESET_HEADERS if name in headers]
    return max((reset for reset in resets if reset is not None), default=None)


def pause(headers: Mapping[str, str]) -> float:
    """The seconds until the limits reset, if an answer's headers say that no requests are left; else 0."""
    used_up = [limit for limit in _LIMITS if _seconds(headers.get(f"{limit}-Remaining", "1")) == 0]
    return max((_seconds(headers.get(f"{limit}-Reset", "")) or 0.0 for limit in used_up), default=0.0)


def _seconds(text: str) -> float | None:
    """A number of seconds, or the time until an HTTP date; an hour at most: asking hourly does no harm."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(0.0, seconds), _LONGEST_SECONDS) if math.isfinite(seconds) else None
