"""How the difference of two models by a metric is written."""

from __future__ import annotations

from dataclasses import dataclass

from modelbuild.contract import figure
from modelbuild.contract.report import Difference, Outcome


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
    interval, scale = difference.interval, max(abs(difference.value), abs(difference.other))
    return Delta(
        _signed(difference.gain, scale),
        f"{_signed(interval.low, scale)} to {_signed(interval.high, scale)}" if interval else "",
        difference.outcome,
    )


def _signed(value: float, scale: float) -> str:
    """A part of a value of about this size, with its sign and with the digits of the value."""
    sign = "+" if value > 0 else "-" if value < 0 else ""
    return f"{sign}{abs(value):,.3f}" if scale >= 0.05 else f"{sign}{figure(abs(value))}"
