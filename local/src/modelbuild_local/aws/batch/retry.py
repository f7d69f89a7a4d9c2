"""The retry strategy of Batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def attempts(strategy: Mapping[str, Any]) -> int:
    """The maximum number of attempts at a job, 1 to 10."""
    return min(max(int(strategy.get("attempts") or 1), 1), 10)


def retries(
    strategy: Mapping[str, Any], exit_code: int | None, reason: str | None, status_reason: str | None
) -> bool:
    """Whether ``evaluateOnExit`` allows another attempt after this end of one.

    The first rule whose conditions all match decides; if none matches, Batch retries.
    """
    seen = {
        "onExitCode": "" if exit_code is None else str(exit_code),
        "onReason": reason or "",
        "onStatusReason": status_reason or "",
    }
    for rule in strategy.get("evaluateOnExit") or []:
        if all(_matches(rule[name], seen[name]) for name in seen if rule.get(name)):
            return str(rule["action"]).upper() == "RETRY"
    return True


def _matches(pattern: str, text: str) -> bool:
    """Match a pattern of Batch: a text, or the beginning of a text followed by an asterisk."""
    if pattern.endswith("*"):
        return text.startswith(pattern[:-1])
    return text == pattern
