from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from modelbuild.comparison import metrics
from modelbuild.comparison.metrics import LabelCounts, NumberSums, number_columns

WEIGHTED_LABELS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=30
).filter(lambda rows: sum(weight for *_, weight in rows) > 0)

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)


@settings(max_examples=200, deadline=None)
@given(rows=WEIGHTED_LABELS)
def test_metrics_of_labels_are_those_of_scikit_learn(rows: list[tuple[int, int, int]]) -> None:
    """The page must not show another value than the flow computed, also where labels are absent."""
    truth, predicted, weights = (np.array(column) for column in zip(*rows, strict=True))
    counts = LabelCounts.of(weights[np.newaxis, :].astype(float), truth, predicted, 5)
    repeated = np.repeat(truth, weights), np.repeat(predicted, weights)
    options: dict[str, Any] = {"labels": range(5), "average": None, "zero_division": 0}
    assert metrics.f1(counts)[0] == pytest.approx(reference.f1_score(*repeated, **options))
    assert metrics.precision(counts)[0] == pytest.approx(reference.precision_score(*repeated, **options))
    assert metrics.recall(counts)[0] == pytest.approx(reference.recall_score(*repeated, **options))
    macro = reference.f1_score(*repeated, average="macro", zero_division=0)
    assert metrics.macro_f1(counts)[0] == pytest.approx(macro)
    assert metrics.accuracy(counts)[0] == pytest.approx(reference.accuracy_score(*repeated))


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=30))
def test_metrics_of_numbers_are_those_of_scikit_learn(rows: list[tuple[float, float]]) -> None:
    """Numbers of any size give the flow's values."""
    truth, predicted = (np.array(column) for column in zip(*rows, strict=True))
    sums = NumberSums.of(np.ones((1, len(truth))), number_columns(truth, predicted))
    rmse = reference.root_mean_squared_error(truth, predicted)
    assert metrics.rmse(sums)[0] == pytest.approx(rmse, rel=1e-6, abs=1e-6)
    assert metrics.mae(sums)[0] == pytest.approx(reference.mean_absolute_error(truth, predicted), abs=1e-6)
    if np.ptp(truth) > 1e-3:
        r2 = reference.r2_score(truth, predicted)
        assert metrics.r2(sums)[0] == pytest.approx(r2, rel=1e-6, abs=1e-6)


def test_r2_of_a_constant_truth_is_not_a_number() -> None:
    """It would divide by zero, and its resamples are left out of the interval."""
    sums = NumberSums.of(
        np.ones((1, 3)), number_columns(np.array([2.0, 2.0, 2.0]), np.array([1.0, 2.0, 3.0]))
    )
    assert np.isnan(metrics.r2(sums)[0])


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_r2_has_no_scale(scale: float) -> None:
    """The unit of the numbers changes nothing, and rows of one number have no R²."""
    truth = np.random.default_rng(0).normal(size=50) * scale
    columns = number_columns(truth, truth * 0.9)
    only_first = np.zeros(50)
    only_first[0] = 50
    sums = NumberSums.of(np.stack([np.ones(50), only_first]), columns)
    assert metrics.r2(sums)[0] == pytest.approx(reference.r2_score(truth, truth * 0.9))
    assert np.isnan(metrics.r2(sums)[1])
