"""The limits that a candidate must meet to be chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence

from modelbuild.contract import CandidateOutcome, Constraint, figure
from modelbuild.settings.notify import LATENCY, SIZE


def unmet(constraints: Sequence[Constraint], outcome: CandidateOutcome) -> str:
    """Which constraint a candidate does not meet, and why: the first one. Empty if it meets all."""
    return next((why for one in constraints if (why := _unmet(one, outcome))), "")


def _unmet(constraint: Constraint, outcome: CandidateOutcome) -> str:
    value = _value(constraint, outcome)
    where = f" of {constraint.slice}" if constraint.slice else ""
    if value is None:
        return f"it has no {constraint.metric}{where}"
    least, most = constraint.minimum, constraint.maximum
    if least is not None and value < least and not _is_at(value, least):
        return f"{constraint.metric}{where} is {figure(value)}, below {figure(least)}"
    if most is not None and value > most and not _is_at(value, most):
        return f"{constraint.metric}{where} is {figure(value)}, above {figure(most)}"
    return ""


def _is_at(value: float, limit: float) -> bool:
    """Whether a value is at its limit, except for binary rounding, as gates of notify see it."""
    return math.isclose(value, limit, rel_tol=1e-9)


def _value(constraint: Constraint, outcome: CandidateOutcome) -> float | None:
    if constraint.metric == SIZE:
        return outcome.model_bytes
    if constraint.metric == LATENCY:
        return outcome.latency_seconds
    if outcome.evaluation is None:
        return None
    return outcome.evaluation.value(constraint.metric, constraint.slice)
