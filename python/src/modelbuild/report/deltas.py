"""How the difference of two models by a metric is written."""

from __future__ import annotations

import math
from dataclasses import dataclass

from modelbuild.contract import figure
from modelbuild.contract.evaluation import LARGE
from modelbuild.contract.report import Difference, Outcome

_DECIMALS, _MOST_DECIMALS = 3, 6

_SMALL = 0.05
"""Below this, and from ``LARGE`` on, a metric is shown with three digits: its differences are, too."""


@dataclass(frozen=True)
class Delta:
    """By how much this model is better than another one, as text.

    Attributes:
        gain: ``+0.012``; ``-0.012`` if this model is worse.
        interval: ``+0.003 to +0.021``; empty if it is not known.
        outcome: ``better`` or ``worse`` if there is an interval that does not contain 0.
    """

    gain: str
    interval: str
    outcome: Outcome


def delta(difference: Difference) -> Delta:
    """A difference as text."""
    interval, size = difference.interval, max(abs(difference.value), abs(difference.other))
    decimals = _decimals(difference) if _SMALL <= size < LARGE else None
    return Delta(
        _signed(difference.gain, decimals),
        f"{_signed(interval.low, decimals)} to {_signed(interval.high, decimals)}" if interval else "",
        difference.outcome,
    )


def _decimals(difference: Difference) -> int:
    """As many decimals as metrics have, or more, so that an interval without 0 is not shown to end at 0."""
    interval = difference.interval
    if interval is None or difference.outcome == "no difference":
        return _DECIMALS
    nearest = min(abs(interval.low), abs(interval.high))
    return min(max(_DECIMALS, -math.floor(math.log10(nearest))), _MOST_DECIMALS)


def _signed(value: float, decimals: int | None) -> str:
    """A number with its sign: with so many decimals, or with the digits of a metric."""
    sign = "+" if value > 0 else "-" if value < 0 else ""
    return f"{sign}{figure(abs(value)) if decimals is None else f'{abs(value):,.{decimals}f}'}"
