"""Whether a fit had settled when it ended, by its curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modelbuild.flow.progress import Curves

STILL_IMPROVING = 0.03
"""The part of its whole improvement that a curve may make in the last tenth of the training. An even curve
makes a tenth.
"""

_LOSS, _VALIDATION = "loss", "validation_"
_LOWER_IS_BETTER = ("loss", "error", "rmse", "mae", "mse", "perplexity")


@dataclass(frozen=True)
class Convergence:
    """How a fit ended.

    Attributes:
        converged: whether all curves had settled; None without a loss, or with one finite loss only.
        improving: the names of the curves that were still improving.
    """

    converged: bool | None
    improving: tuple[str, ...] = ()


def of_curves(curves: Curves) -> Convergence:
    """Whether the loss had stopped falling, and the metrics on validation rows had stopped improving.

    The loss had not settled if at the end it is no finite number or higher than at first, or if it was still
    improving. A metric on validation rows (a curve whose name begins with ``validation_``) had not if it was
    still improving and its last value is its best.
    """
    recorded = [value for _, value in curves.get(_LOSS, [])]
    losses = _finite(recorded)
    if not recorded or (len(losses) < 2 and math.isfinite(recorded[-1])):
        return Convergence(None)
    improving = [_LOSS] if _still_falls(losses) else []
    for name, points in curves.items():
        if name.startswith(_VALIDATION):
            sign = 1.0 if name.endswith(_LOWER_IS_BETTER) else -1.0
            values = [sign * value for value in _finite([value for _, value in points])]
            if _still_falls(values) and values[-1] == min(values):
                improving.append(name)
    diverged = not math.isfinite(recorded[-1]) or _rose(losses)
    return Convergence(not (diverged or improving), tuple(improving))


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _part(values: Sequence[float]) -> int:
    """The number of points in a fifth of a curve, at least 1."""
    return max(1, len(values) // 5)


def _rose(values: Sequence[float]) -> bool:
    part = _part(values)
    return float(np.mean(values[-part:])) > float(np.mean(values[:part]))


def _still_falls(values: Sequence[float]) -> bool:
    """Whether a curve falls in its last tenth by more than :data:`STILL_IMPROVING` of its whole fall.

    The fall in the last tenth is estimated from the means of the last two fifths.
    """
    if len(values) < 2:
        return False
    part = _part(values)
    first, before, last = (
        float(np.mean(some)) for some in (values[:part], values[-2 * part : -part], values[-part:])
    )
    in_a_tenth = (before - last) * (len(values) - 1) / part / 10
    return in_a_tenth > STILL_IMPROVING * abs(first - last)
