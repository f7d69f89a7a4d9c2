"""Compares two predictions for the same rows by the metrics of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from modelbuild.comparison import bootstrap, metrics
from modelbuild.comparison.metrics import Floats, LabelCounts, NumberSums
from modelbuild.comparison.predictions import Codes, label_codes
from modelbuild.contract import Metric
from modelbuild.contract.report import Difference

Measured = Mapping[str, Floats]
"""For each weighting a metric by its name; a metric of labels has a column for each label."""


@dataclass(frozen=True)
class Cells:
    """Rows with the same truth and the same two predictions, counted; ``measure`` gives the metrics of the
    first (0) or the second (1) prediction.
    """

    counts: Codes
    measure: Callable[[Floats, int], Measured]
    labels: Sequence[Any] = ()


def label_cells(truth: pa.ChunkedArray, ours: pa.ChunkedArray, theirs: pa.ChunkedArray) -> Cells:
    """The cells of two classifiers."""
    labels, (true, first, second) = label_codes([truth, ours, theirs])
    size = len(labels)
    combined, counts = np.unique((true * size + first) * size + second, return_counts=True)
    true, predicted = combined // size**2, (combined // size % size, combined % size)

    def measure(weights: Floats, which: int) -> Measured:
        counted = LabelCounts.of(weights, true, predicted[which], size)
        named = {**metrics.OF_LABELS, **metrics.OF_ONE_LABEL}
        return {name: function(counted) for name, function in named.items()}

    return Cells(counts, measure, labels)


def number_cells(truth: pa.ChunkedArray, ours: pa.ChunkedArray, theirs: pa.ChunkedArray) -> Cells:
    """The cells of two regressions: each row is one."""
    true, *predicted = (np.asarray(column.to_numpy(), dtype=float) for column in (truth, ours, theirs))

    def measure(weights: Floats, which: int) -> Measured:
        sums = NumberSums.of(weights, true, predicted[which])
        return {name: function(sums) for name, function in metrics.OF_NUMBERS.items()}

    return Cells(np.ones(len(true), dtype=np.int64), measure)


def cells_of(
    truth: pa.ChunkedArray, ours: pa.ChunkedArray, theirs: pa.ChunkedArray, primary: str
) -> Cells | None:
    """The cells of two predictions of the task that the primary metric is of; None for a metric that only the
    flow can compute.
    """
    numeric = all(
        pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        for column in (truth, ours, theirs)
    )
    if primary in metrics.OF_NUMBERS and numeric:
        return number_cells(truth, ours, theirs)
    if primary in metrics.OF_LABELS and truth.type == ours.type == theirs.type:
        return label_cells(truth, ours, theirs)
    return None


def differences(cells: Cells, compared: Sequence[Metric], seed: int) -> dict[str, Difference]:
    """The difference by each metric of all rows that can be computed from the predictions.

    Args:
        cells: the rows.
        compared: the metrics.
        seed: the same seed gives the same intervals.
    """
    chosen = [metric for metric in compared if metric.name in {*metrics.OF_LABELS, *metrics.OF_NUMBERS}]
    values = _Sampled.of(cells, [metric.name for metric in chosen], seed)
    found = {metric.name: values.difference(metric) for metric in chosen if metric.name in values.ours}
    return {name: difference for name, difference in found.items() if difference is not None}


def label_differences(cells: Cells, metric: Metric, seed: int) -> dict[str, Difference]:
    """The difference by a metric of labels, such as F1, for each label by its name."""
    if metric.name not in metrics.OF_ONE_LABEL:
        return {}
    values = _Sampled.of(cells, [metric.name], seed)
    found = {str(name): values.difference(metric, label) for label, name in enumerate(cells.labels)}
    return {label: difference for label, difference in found.items() if difference is not None}


@dataclass(frozen=True)
class _Sampled:
    """Metrics of both predictions by name: on the rows as they are (first row), and on each resample."""

    ours: Mapping[str, Floats]
    theirs: Mapping[str, Floats]

    @classmethod
    def of(cls, cells: Cells, names: Sequence[str], seed: int) -> _Sampled:
        both: tuple[dict[str, list[Floats]], dict[str, list[Floats]]] = ({}, {})
        for weights in _observed_and_drawn(cells.counts, seed):
            for which, kept in enumerate(both):
                measured = cells.measure(weights, which)
                for name in names:
                    if name in measured:
                        kept.setdefault(name, []).append(measured[name])
        ours, theirs = ({name: np.concatenate(parts) for name, parts in kept.items()} for kept in both)
        return cls(ours, theirs)

    def difference(self, metric: Metric, label: int | None = None) -> Difference | None:
        """The difference by one metric, of one label if it is given; None if a value is not finite."""
        ours, theirs = (
            values[metric.name] if label is None else values[metric.name][:, label]
            for values in (self.ours, self.theirs)
        )
        if not (np.isfinite(ours[0]) and np.isfinite(theirs[0])):
            return None
        sign = 1.0 if metric.better == "higher" else -1.0
        return Difference(
            value=float(ours[0]),
            other=float(theirs[0]),
            gain=metric.gain(float(ours[0]), float(theirs[0])),
            interval=bootstrap.interval(sign * (ours[1:] - theirs[1:])),
        )


def _observed_and_drawn(counts: Codes, seed: int) -> Iterator[Floats]:
    yield counts[np.newaxis, :].astype(float)
    yield from bootstrap.weightings(counts, seed)
