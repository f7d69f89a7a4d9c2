"""Computes when EventBridge's rules on a schedule are due, such as ``rate(1 minute)``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from moto.events.models import Rule

_RATE = re.compile(r"rate\((?:1 (minute|hour|day)|([2-9]|[1-9]\d+) (minute|hour|day)s)\)")
_MINUTES = {"minute": 1, "hour": 60, "day": 24 * 60}


def minutes(expression: str) -> int | None:
    """The minutes between two events of a rule; None if the expression is no rate."""
    match = _RATE.fullmatch(expression)
    if match is None:
        return None
    return int(match[2] or 1) * _MINUTES[match[1] or match[3]]


class Schedule:
    """Finds due rules; a rule is due for the first time one period after it was seen.

    Attributes:
        minute: the seconds of a minute.
    """

    def __init__(self, minute: float) -> None:
        self.minute = minute
        self._next: dict[tuple[str, str], float] = {}

    def due(self, rules: Iterable[Rule], now: float) -> list[Rule]:
        """The enabled rules that are due at the time ``now`` in seconds."""
        found, planned = [], {}
        for rule in rules:
            period = self.minute * (minutes(rule.scheduled_expression or "") or 0)
            if not period or rule.state != "ENABLED":
                continue
            key = (rule.arn, str(rule.scheduled_expression))
            moment = self._next.get(key, now + period)
            if moment <= now:
                found.append(rule)
                moment += period * (1 + (now - moment) // period)
            planned[key] = moment
        self._next = planned
        return found
