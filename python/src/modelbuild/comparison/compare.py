"""Compares two predictions for the same rows by the metrics of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelbuild.comparison import bootstrap, metrics
from modelbuild.comparison.metrics import Floats, LabelCounts, NumberSums
from modelbuild.comparison.predictions import Codes, are_alike, label_codes
from modelbuild.contract import FEW_ROWS, Metric
from modelbuild.contract.report import Difference, Interval

_FEWEST_DIFFERING = 6
"""Fewer rows on which two models differ show no difference: that all five speak for the same one of two equal
models has a probability of 6 % (the sign test), and resamples without any of them are too rare to tell."""

Measured = Mapping[str, Floats]
"""Metrics by name, each of shape (weightings,); a metric of labels of shape (weightings, labels)."""


@dataclass(frozen=True)
class Cells:
    """Rows with the same truth and the same two predictions, counted; ``measure`` gives the metrics of the
    first (0) or the second (1) prediction.
    """

    counts: Codes
    measure: Callable[[Floats, int], Measured]
    labels: Sequence[Any] = ()
    label_rows: Sequence[int] = ()
    """On how many rows each label is the true one."""
    differing: Mapping[str, int] = field(default_factory=dict)
    """On how many rows the two predictions differ, by metric: as far as the metric can tell them apart."""
    label_differing: Sequence[int] = ()
    """On how many rows only one of the two is each label."""


@dataclass(frozen=True)
class LabelRows:
    """True and predicted labels of some rows, as their numbers in ``labels``, which are sorted."""

    labels: Sequence[Any]
    truth: Codes
    ours: Codes
    theirs: Codes

    def where(self, chosen: npt.NDArray[np.bool_]) -> LabelRows:
        """Those rows that are chosen."""
        return LabelRows(self.labels, self.truth[chosen], self.ours[chosen], self.theirs[chosen])

    def cells(self) -> Cells:
        """The cells of two classifiers, with the labels that these rows have."""
        size = len(self.labels)
        combined, counts = np.unique((self.truth * size + self.ours) * size + self.theirs, return_counts=True)
        columns = np.array([combined // size**2, combined // size % size, combined % size])
        present, numbers = np.unique(columns, return_inverse=True)
        true, *predicted = numbers.reshape(columns.shape)

        def measure(weights: Floats, which: int) -> Measured:
            counted = LabelCounts.of(weights, true, predicted[which], len(present))
            named = {**metrics.OF_LABELS, **metrics.OF_ONE_LABEL}
            return {name: function(counted) for name, function in named.items()}

        def rows_of_labels(codes: Codes, rows: Codes) -> Codes:
            return np.bincount(codes, rows, len(present)).astype(np.int64)

        first, second = predicted
        apart = counts * (first != second)
        differing = dict.fromkeys(metrics.OF_LABELS, int(apart.sum()))
        # Two wrong labels are the same to accuracy.
        differing["accuracy"] = int(counts[(first == true) != (second == true)].sum())
        return Cells(
            counts,
            measure,
            labels=[self.labels[number] for number in present],
            label_rows=rows_of_labels(true, counts).tolist(),
            differing=differing,
            label_differing=(rows_of_labels(first, apart) + rows_of_labels(second, apart)).tolist(),
        )


@dataclass(frozen=True)
class NumberRows:
    """True and predicted numbers of some rows."""

    truth: Floats
    ours: Floats
    theirs: Floats

    def where(self, chosen: npt.NDArray[np.bool_]) -> NumberRows:
        """Those rows that are chosen."""
        return NumberRows(self.truth[chosen], self.ours[chosen], self.theirs[chosen])

    def cells(self) -> Cells:
        """The cells of two regressions: each row is one."""
        columns = [metrics.number_columns(self.truth, predicted) for predicted in (self.ours, self.theirs)]

        def measure(weights: Floats, which: int) -> Measured:
            sums = NumberSums.of(weights, columns[which])
            return {name: function(sums) for name, function in metrics.OF_NUMBERS.items()}

        errors = [np.abs(predicted - self.truth) for predicted in (self.ours, self.theirs)]
        differing = dict.fromkeys(metrics.OF_NUMBERS, int(np.count_nonzero(errors[0] != errors[1])))
        return Cells(np.ones(len(self.truth), dtype=np.int64), measure, differing=differing)


@dataclass(frozen=True)
class MeanRows:
    """Values of some rows whose means are metrics, by the names of these."""

    ours: Mapping[str, Floats]
    theirs: Mapping[str, Floats]

    def where(self, chosen: npt.NDArray[np.bool_]) -> MeanRows:
        """Those rows that are chosen."""
        ours, theirs = (
            {name: values[chosen] for name, values in one.items()} for one in (self.ours, self.theirs)
        )
        return MeanRows(ours, theirs)

    def cells(self) -> Cells:
        """The cells: each row is one."""
        both = (self.ours, self.theirs)

        def measure(weights: Floats, which: int) -> Measured:
            rows = weights.sum(axis=1)
            return {name: weights @ values / rows for name, values in both[which].items()}

        size = max((len(values) for values in self.ours.values()), default=0)
        differing = {
            name: int(np.count_nonzero(values != self.theirs[name])) for name, values in self.ours.items()
        }
        return Cells(np.ones(size, dtype=np.int64), measure, differing=differing)


Rows: TypeAlias = LabelRows | NumberRows | MeanRows


def rows_of(
    truth: pa.ChunkedArray, ours: pa.ChunkedArray, theirs: pa.ChunkedArray, names: Sequence[str]
) -> LabelRows | NumberRows | None:
    """The rows of two predictions, for the task of the first of these metrics that this package computes;
    None if it computes none.
    """
    columns = (truth, ours, theirs)
    numeric = all(pa.types.is_integer(one.type) or pa.types.is_floating(one.type) for one in columns)
    for name in names:
        if name in metrics.OF_NUMBERS and numeric:
            return NumberRows(*(np.asarray(column.to_numpy(), dtype=float) for column in columns))
        if name in metrics.OF_LABELS and are_alike(columns):
            labels, codes = label_codes(columns)
            return LabelRows(labels, *codes)
    return None


@dataclass(frozen=True)
class Sample:
    """Metrics of both predictions by name: on the rows as they are (first row), and on each resample.

    Fewer than ``FEW_ROWS`` rows have no resamples, because their intervals would be too narrow.
    """

    cells: Cells
    ours: Measured
    theirs: Measured

    @classmethod
    def of(cls, cells: Cells, compared: Sequence[Metric], seed: int) -> Sample:
        """Measure both predictions by those metrics that can be computed from the predictions.

        Args:
            cells: the rows.
            compared: the metrics.
            seed: the same seed draws the same rows.
        """
        names = {metric.name for metric in compared}
        both: tuple[dict[str, list[Floats]], dict[str, list[Floats]]] = ({}, {})
        for weights in _observed_and_drawn(cells.counts, seed):
            for which, kept in enumerate(both):
                for name, values in cells.measure(weights, which).items():
                    if name in names:
                        kept.setdefault(name, []).append(values)
        ours, theirs = ({name: np.concatenate(parts) for name, parts in kept.items()} for kept in both)
        return cls(cells, ours, theirs)

    def differences(self, compared: Sequence[Metric]) -> dict[str, Difference]:
        """The difference by each of those metrics that are of all rows."""
        whole = self.ours.keys() - metrics.OF_ONE_LABEL.keys()
        found = {metric.name: self._difference(metric) for metric in compared if metric.name in whole}
        return {name: difference for name, difference in found.items() if difference is not None}

    def label_differences(self, metric: Metric) -> dict[str, Difference]:
        """The difference by a metric of labels, such as F1, for each label by its name."""
        if metric.name not in metrics.OF_ONE_LABEL:
            return {}
        found = {str(name): self._difference(metric, label) for label, name in enumerate(self.cells.labels)}
        return {label: difference for label, difference in found.items() if difference is not None}

    def _difference(self, metric: Metric, label: int | None = None) -> Difference | None:
        """The difference by one metric, of one label if it is given; None if a value is not finite."""
        ours, theirs = (
            values[metric.name] if label is None else values[metric.name][:, label]
            for values in (self.ours, self.theirs)
        )
        if not (np.isfinite(ours[0]) and np.isfinite(theirs[0])):
            return None
        sign = 1.0 if metric.better == "higher" else -1.0
        if label is None:
            few, differing = False, self.cells.differing[metric.name]
        else:
            few, differing = self.cells.label_rows[label] < FEW_ROWS, self.cells.label_differing[label]
        interval = None if few else bootstrap.interval(sign * (ours[1:] - theirs[1:]))
        if interval is not None and differing < _FEWEST_DIFFERING:
            interval = Interval(low=min(interval.low, 0.0), high=max(interval.high, 0.0))
        return Difference(
            value=float(ours[0]),
            other=float(theirs[0]),
            gain=metric.gain(float(ours[0]), float(theirs[0])),
            interval=interval,
        )


def _observed_and_drawn(counts: Codes, seed: int) -> Iterator[Floats]:
    yield counts[np.newaxis, :].astype(float)
    if counts.sum() >= FEW_ROWS:
        yield from bootstrap.weightings(counts, seed)
