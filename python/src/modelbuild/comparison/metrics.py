"""Metrics from weighted cells, for many weightings at once.

A cell is a set of rows with the same truth and the same predictions, or one row. ``weights`` has a row for
each weighting (the observed number of rows, or a resample of them) and a column for each cell. The values are
those of scikit-learn's functions of the same names with ``zero_division=0``, by which flows compute the
metrics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]


def is_recorded(value: float, recorded: float) -> bool:
    """Whether a metric that is computed again has its recorded value, except for rounding; if not, the flow
    computes another metric of that name.
    """
    return math.isclose(value, recorded, rel_tol=1e-6, abs_tol=1e-12)


@dataclass(frozen=True)
class LabelCounts:
    """How often each label (column) is true, is predicted, and is both, for each weighting (row)."""

    true: Floats
    predicted: Floats
    hits: Floats

    @classmethod
    def of(
        cls, weights: Floats, truth: npt.NDArray[Any], predicted: npt.NDArray[Any], labels: int
    ) -> LabelCounts:
        """Count.

        Args:
            weights: of shape (weightings, cells).
            truth: the number of each cell's true label.
            predicted: the number of each cell's predicted label.
            labels: the number of labels.
        """
        right = truth == predicted
        return cls(
            _sums(weights, truth, labels),
            _sums(weights, predicted, labels),
            _sums(weights[:, right], truth[right], labels),
        )


@dataclass(frozen=True)
class NumberSums:
    """Sums over the rows of each weighting: of the rows themselves, and of powers of error and truth."""

    rows: Floats
    absolute_errors: Floats
    squared_errors: Floats
    truth: Floats
    squared_truth: Floats

    @classmethod
    def of(cls, weights: Floats, columns: Floats) -> NumberSums:
        """Sum the columns of :func:`number_columns`."""
        return cls(*(weights @ columns).T)


def number_columns(truth: Floats, predicted: Floats) -> Floats:
    """What is summed over rows with these numbers, a column for each field of :class:`NumberSums`."""
    # R² needs the difference of two sums, which loses fewer digits if the truth is centred around its mean.
    centred, errors = truth - truth.mean(), predicted - truth
    return np.column_stack([np.ones(len(truth)), np.abs(errors), errors**2, centred, centred**2])


def f1(counts: LabelCounts) -> Floats:
    """F1 of each label, of shape (weightings, labels)."""
    return _ratio(2 * counts.hits, counts.true + counts.predicted)


def precision(counts: LabelCounts) -> Floats:
    """Precision of each label, of shape (weightings, labels)."""
    return _ratio(counts.hits, counts.predicted)


def recall(counts: LabelCounts) -> Floats:
    """Recall of each label, of shape (weightings, labels)."""
    return _ratio(counts.hits, counts.true)


def macro_f1(counts: LabelCounts) -> Floats:
    """The mean F1 of the labels that are true or predicted at least once."""
    present = (counts.true + counts.predicted) > 0
    return _ratio((f1(counts) * present).sum(axis=1), present.sum(axis=1).astype(float))


def accuracy(counts: LabelCounts) -> Floats:
    """The part of the rows with the right label."""
    return _ratio(counts.hits.sum(axis=1), counts.true.sum(axis=1))


def rmse(sums: NumberSums) -> Floats:
    """The root of the mean squared error."""
    return np.asarray(np.sqrt(sums.squared_errors / sums.rows))


def mae(sums: NumberSums) -> Floats:
    """The mean absolute error."""
    return sums.absolute_errors / sums.rows


def r2(sums: NumberSums) -> Floats:
    """The coefficient of determination; not a number where the truth is the same in all rows."""
    spread = sums.squared_truth - sums.truth**2 / sums.rows
    # Where a resample draws one row many times, its spread is only rounding.
    spreads = spread > _NO_SPREAD * sums.squared_truth
    return 1 - np.divide(sums.squared_errors, spread, out=np.full_like(spread, np.nan), where=spreads)


OF_LABELS: Mapping[str, Callable[[LabelCounts], Floats]] = {"macro_f1": macro_f1, "accuracy": accuracy}
"""Metrics of all rows from predicted labels."""

OF_ONE_LABEL: Mapping[str, Callable[[LabelCounts], Floats]] = {
    "f1": f1,
    "precision": precision,
    "recall": recall,
}
"""Metrics of each label, in the slices of column ``class``."""

OF_NUMBERS: Mapping[str, Callable[[NumberSums], Floats]] = {"rmse": rmse, "mae": mae, "r2": r2}
"""Metrics of all rows from predicted numbers."""

_NO_SPREAD = 1e-12
"""A spread that is a smaller part of the sum of squares counts as none."""


def _sums(weights: Floats, codes: npt.NDArray[Any], labels: int) -> Floats:
    """The sum of each weighting over the cells with each label, of shape (weightings, labels)."""
    sums = np.zeros((len(weights), labels))
    order = np.argsort(codes, kind="stable")
    present, starts = np.unique(codes[order], return_index=True)
    if len(present):
        # The sums of whole numbers are exact in any order.
        sums[:, present] = np.add.reduceat(weights[:, order], starts, axis=1)
    return sums


def _ratio(part: Floats, whole: Floats) -> Floats:
    ratio: Floats = np.divide(part, whole, out=np.zeros_like(part, dtype=float), where=whole > 0)
    return ratio
