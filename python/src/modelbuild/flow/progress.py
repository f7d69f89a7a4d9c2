"""How the fit of a model goes: its curves for the manifest, and events from which the head knows where it is.

What fits a model takes a plain function, :data:`RecordProgress`, so that it can be used without a flow. It
calls the function after an epoch, or after each so many steps, with what it measured: ``loss``,
``learning_rate``, and of validation rows ``validation_<metric>``.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TypeAlias

from modelbuild.contract import CurvePoint
from modelbuild.text import storable

RecordProgress: TypeAlias = Callable[[int, Mapping[str, float]], None]
"""Takes the number of the step or epoch that is done, and what was measured then, by name."""

Curves: TypeAlias = dict[str, list[tuple[int, float]]]
"""The steps and values of each name, also values that are not finite: an artifact of Metaflow."""

POINTS = 200
"""How many points a curve has at most; of more, it keeps some at even distances, and the last one."""

EVENT_SECONDS = 3.0
"""Two events are at least so far apart."""


class ProgressRecorder:
    """Records what a fit measures.

    Args:
        curves: where the values are kept; at first empty.
        emit: is called with a sentence for people, at most one in :data:`EVENT_SECONDS`.
        track: is called with all that is recorded.
        now: the time in seconds.
    """

    def __init__(
        self,
        curves: Curves,
        emit: Callable[[str], None],
        track: RecordProgress | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._curves = curves
        self._emit = emit
        self._track = track
        self._now = now
        self._silent_until = -math.inf
        self._thinned: dict[str, _ThinnedCurve] = {}

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """Record what was measured after a step or an epoch; values need not be finite.

        Raises:
            ValueError: ``step`` is negative.
        """
        step, measured = int(step), {storable(name): float(value) for name, value in values.items()}
        if step < 0:
            raise ValueError(f"progress is recorded after step {step}: count steps from 0 or 1")
        for name, value in measured.items():
            if name not in self._thinned:
                self._thinned[name] = _ThinnedCurve(self._curves.setdefault(name, []))
            self._thinned[name].add(step, value)
        if self._track is not None:
            self._track(step, measured)
        if self._now() >= self._silent_until:
            self._silent_until = self._now() + EVENT_SECONDS
            shown = ", ".join(f"{name} {value:.4g}" for name, value in measured.items())
            self._emit(f"step {step:,}: {shown}")


class _ThinnedCurve:
    """Adds to a list each point whose number is a multiple of ``_every``, and always the last point."""

    def __init__(self, points: list[tuple[int, float]]) -> None:
        self._points = points
        self._added = 0
        self._every = 1

    def add(self, step: int, value: float) -> None:
        if self._added and (self._added - 1) % self._every:
            self._points.pop()
        self._points.append((step, value))
        self._added += 1
        if len(self._points) > POINTS:
            del self._points[1::2]
            self._every *= 2


def curve(curves: Curves) -> tuple[CurvePoint, ...]:
    """The curves as points of the manifest, by their steps, without values that are not finite."""
    points: defaultdict[int, dict[str, float]] = defaultdict(dict)
    for name, found in curves.items():
        for step, value in found:
            if math.isfinite(value):
                points[step][name] = value
    return tuple(CurvePoint(step=step, values=values) for step, values in sorted(points.items()))
