"""Charts: a metric's history as a line in a picture of fixed size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelbuild_local.wandb.runs import sampled
from modelbuild_local.wandb.state import step_of

WIDTH, HEIGHT = 300.0, 110.0
_MARGIN = 6.0
_POINTS = 400


@dataclass(frozen=True)
class Chart:
    """A chart of the page: ``points`` in SVG's format, and the numbers beside the line."""

    name: str
    points: str
    end: tuple[float, float]
    low: float
    high: float
    last: float
    first_step: int
    last_step: int


def charts(history: Sequence[dict[str, Any]]) -> list[Chart]:
    """A chart for each numeric metric of a history, by name, except for metrics of the SDK itself."""
    series: dict[str, list[dict[str, Any]]] = {}
    for index, row in enumerate(history):
        for name, value in row.items():
            if not name.startswith("_") and is_number(value):
                series.setdefault(name, []).append({"step": step_of(row, index), "value": float(value)})
    return [_chart(name, series[name]) for name in sorted(series)]


def is_number(value: object) -> bool:
    """Whether it can be drawn: a number, but no boolean, NaN or infinity."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= 1e300


def _chart(name: str, points: list[dict[str, Any]]) -> Chart:
    steps, values = [point["step"] for point in points], [point["value"] for point in points]
    low, high, last = min(values), max(values), points[-1]
    drawn = [*sampled(points[:-1], _POINTS), last]
    positions = [
        (
            scaled(point["step"], min(steps), max(steps), WIDTH),
            round(HEIGHT - scaled(point["value"], low, high, HEIGHT), 2),
        )
        for point in drawn
    ]
    return Chart(
        name=name,
        points=" ".join(f"{x},{y}" for x, y in positions),
        end=positions[-1],
        low=low,
        high=high,
        last=last["value"],
        first_step=min(steps),
        last_step=max(steps),
    )


def scaled(value: float, low: float, high: float, length: float) -> float:
    """The position of a value on a length with margins; the middle if all values are equal."""
    share = 0.5 if math.isclose(low, high, rel_tol=1e-12) else (value - low) / (high - low)
    return round(_MARGIN + share * (length - 2 * _MARGIN), 2)
