from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.contract import TrainingSummary
from modelbuild.flow.progress import EVENT_SECONDS, POINTS, Curves, ProgressRecorder, curve


class Told(list[str]):
    """What people were told, by a clock that the test moves."""

    now = 0.0


def recorder(curves: Curves, told: Told | None = None) -> ProgressRecorder:
    """A recorder with a clock that stands still unless the test moves it."""
    told = Told() if told is None else told
    return ProgressRecorder(curves, told.append, now=lambda: told.now)


@given(st.integers(1, 5_000))
def test_curve_is_short_even_and_has_both_ends(recorded: int) -> None:
    """Of any number of points it keeps at most 200: the first, the last, and others at even distances."""
    curves: Curves = {}
    record = recorder(curves).record
    for step in range(recorded):
        record(step, {"loss": 1.0})
    steps = [step for step, _ in curves["loss"]]
    assert len(steps) <= POINTS
    assert (steps[0], steps[-1]) == (0, recorded - 1)
    assert len({after - before for before, after in pairwise(steps[:-1])}) <= 1
    assert len(steps) == recorded or len(steps) >= POINTS // 2


def test_rare_values_stay() -> None:
    """A value that is seldom measured keeps all of its points beside one of which most are left out."""
    curves: Curves = {}
    record = recorder(curves).record
    for step in range(10_000):
        record(step, {"loss": 1.0, **({"validation_macro_f1": 0.5} if step % 1_000 == 7 else {})})
    assert [step for step, _ in curves["validation_macro_f1"]] == [*range(7, 10_000, 1_000)]


@given(st.lists(st.dictionaries(st.text(), st.floats(), max_size=3), max_size=20))
def test_any_values_make_a_manifest(values: list[dict[str, Any]]) -> None:
    """Whatever a fit measures, the document reads back: values that are no finite numbers are left out."""
    curves: Curves = {}
    record = recorder(curves).record
    for step, measured in enumerate(values):
        record(step, measured)
    points = curve(curves)
    TrainingSummary(rows=1, curve=points).to_json()
    assert all(math.isfinite(value) for point in points for value in point.values.values())
    finite = sum(math.isfinite(value) for measured in values for value in measured.values())
    assert sum(len(point.values) for point in points) <= finite


def test_points_of_one_step_are_one() -> None:
    """What was measured after the same step is one point, and the points are in the order of steps."""
    curves: Curves = {}
    record = recorder(curves).record
    record(2, {"loss": 0.5})
    record(1, {"loss": 0.7})
    record(2, {"validation_macro_f1": 0.6})
    assert [(point.step, point.values) for point in curve(curves)] == [
        (1, {"loss": 0.7}),
        (2, {"loss": 0.5, "validation_macro_f1": 0.6}),
    ]


def test_events_are_seconds_apart() -> None:
    """However often a fit records, people are told once in a few seconds, and of the newest values."""
    told = Told()
    record = recorder({}, told).record
    for step in range(100):
        record(step, {"loss": 0.123456, "learning_rate": 1e-5})
        told.now += EVENT_SECONDS / 50
    assert told == ["step 0: loss 0.1235, learning_rate 1e-05", "step 50: loss 0.1235, learning_rate 1e-05"]


def test_values_that_are_not_finite_are_told() -> None:
    """A loss that diverged is what a person has to see."""
    told = Told()
    recorder({}, told).record(3, {"loss": math.nan})
    assert told == ["step 3: loss nan"]


def test_negative_steps_are_refused() -> None:
    """The first record says what is wrong, and not the manifest after hours."""
    with pytest.raises(ValueError, match="step -1: count steps from 0 or 1"):
        recorder({}).record(-1, {"loss": 1.0})
