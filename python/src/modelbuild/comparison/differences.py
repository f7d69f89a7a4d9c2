"""The differences of two models on the same rows: by their predictions, and by what their evaluations say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from modelbuild.comparison import compare, metrics
from modelbuild.comparison.predictions import PredictionTable, label_codes
from modelbuild.contract import FEW_ROWS, Evaluation, Metric, Quality
from modelbuild.contract.report import Difference

CLASS = "class"
"""The slicing column of :mod:`modelbuild.flow.classification`: its metrics are of labels, on all rows."""

VALUES = 50
"""How many values of a slicing column are compared, those with the most rows."""

NO_ROW_METRICS = compare.MeanRows({}, {})

Slices = dict[str, dict[str, dict[str, Difference]]]
"""By column, metric and value."""


@dataclass(frozen=True)
class Recorded:
    """What the evaluation of the other model says about the rows of this one: it has no interval.

    Attributes:
        metrics: of all rows, by name.
        slices: of parts of the rows, by column and value.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    slices: Mapping[str, Mapping[str, Quality]] = field(default_factory=dict)


def by_predictions(
    evaluation: Evaluation,
    recomputed: Sequence[Metric],
    table: PredictionTable,
    predicted: pa.ChunkedArray,
    *,
    reason: str = "",
    row_metrics: compare.MeanRows = NO_ROW_METRICS,
    recorded: Recorded | None = None,
) -> Mapping[str, object]:
    """What a comparison says about a model's predictions and others for the same rows.

    Args:
        evaluation: of the model.
        recomputed: its metrics that can be computed from predictions.
        table: its predictions.
        predicted: the other predictions.
        reason: which rows these are, if not all.
        row_metrics: metrics that are means over the rows, of both.
        recorded: of the other model. It gives the metrics that cannot be computed from the predictions.
    """
    truth, own = table.column("truth"), table.column("prediction")
    primary, recorded = evaluation.metric(evaluation.primary), recorded or Recorded()
    known = [metric for metric in recomputed if metric.name not in row_metrics.ours]
    means = [metric for metric in evaluation.overall_metrics if metric.name in row_metrics.ours]
    answers = compare.rows_of(truth, own, predicted, [metric.name for metric in known])
    reasons = [reason] if reason else []
    if primary not in means and (answers is None or primary not in known):
        if primary.name not in recorded.metrics:
            return {"reason": f"only the flow can compute {primary.title}, not from the predictions"}
        reasons.append(f"only the flow can compute {primary.title}, so there is no interval")
    elif len(table) < FEW_ROWS:
        reasons.append(f"fewer than {FEW_ROWS} rows are too few to compare, so there is no interval")
    seed = int(evaluation.dataset_sha256[:8], 16)
    measured: list[tuple[compare.Rows, list[Metric]]] = [(row_metrics, means)] if means else []
    if answers is not None and known:
        measured.append((answers, known))
    columns = {column: _of_slices(table, measured, column, seed) for column in table.names("slice:")}
    differences = {}
    if means:
        differences = compare.Sample.of(row_metrics.cells(), means, seed).differences(means)
    if answers is not None:
        of_labels = [] if CLASS in columns else _label_metrics(evaluation)
        sample = compare.Sample.of(answers.cells(), [*known, *of_labels], seed)
        if of_labels:
            columns = {CLASS: {one.name: sample.label_differences(one) for one in of_labels}, **columns}
        differences |= sample.differences(known)
    return _found(evaluation, len(table), "; ".join(reasons), (differences, columns), recorded)


def by_records(evaluation: Evaluation, recorded: Recorded, reason: str) -> Mapping[str, object]:
    """What a comparison says about two evaluations on the same rows, without an interval."""
    rows = evaluation.overall.rows
    return _found(evaluation, rows, f"{reason}, so there is no interval", ({}, {}), recorded)


def _found(
    evaluation: Evaluation,
    rows: int,
    reason: str,
    computed: tuple[Mapping[str, Difference], Slices],
    recorded: Recorded,
) -> Mapping[str, object]:
    """A comparison of what was computed, and of recorded values for the other metrics."""
    overall = _recorded_differences(evaluation.overall_metrics, evaluation.overall.metrics, recorded.metrics)
    columns: Slices = {}
    # A difference that the predictions give replaces the recorded one.
    for column in dict.fromkeys([*computed[1], *evaluation.slices]):
        found = {**_recorded_slices(evaluation, recorded, column), **computed[1].get(column, {})}
        if found or column in computed[1]:
            columns[column] = found
    found_metrics = {**overall, **computed[0]}
    if evaluation.primary not in found_metrics:
        # Such as R² where the truth of all these rows is one number.
        reason = f"{evaluation.metric(evaluation.primary).title} has no value {reason or 'on these rows'}"
    shown = {column: evaluation.used_in(evaluation.slices.get(column, {})) for column in columns}
    return {
        "rows": rows,
        "reason": reason,
        "metrics": found_metrics,
        "slices": {column: columns[column].get(used[0].name, {}) for column, used in shown.items() if used},
        "slices_by_metric": columns,
    }


def _label_metrics(evaluation: Evaluation) -> list[Metric]:
    """The metrics of each label that the evaluation has."""
    used = evaluation.used_in(evaluation.slices.get(CLASS, {}))
    return [metric for metric in used if metric.name in metrics.OF_ONE_LABEL]


def _recorded_differences(
    compared: Sequence[Metric], own: Mapping[str, float], others: Mapping[str, float]
) -> dict[str, Difference]:
    return {
        metric.name: Difference(
            value=own[metric.name],
            other=others[metric.name],
            gain=metric.gain(own[metric.name], others[metric.name]),
        )
        for metric in compared
        if metric.name in own and metric.name in others
    }


def _recorded_slices(
    evaluation: Evaluation, recorded: Recorded, column: str
) -> dict[str, dict[str, Difference]]:
    """The recorded differences on slices that have the same number of rows in both, by metric and value."""
    found: dict[str, dict[str, Difference]] = {}
    values, others = evaluation.slices.get(column, {}), recorded.slices.get(column, {})
    for value in values.keys() & others.keys():
        own, other = values[value], others[value]
        if own.rows == other.rows:
            differences = _recorded_differences(evaluation.metrics, own.metrics, other.metrics)
            for name, difference in differences.items():
                found.setdefault(name, {})[value] = difference
    return {name: dict(sorted(by_value.items())) for name, by_value in found.items()}


def _of_slices(
    table: PredictionTable,
    measured: Sequence[tuple[compare.Rows, list[Metric]]],
    column: str,
    seed: int,
) -> dict[str, dict[str, Difference]]:
    """The differences on the rows of each value of a slicing column, by metric and value.

    Args:
        table: the predictions of this model.
        measured: rows with the metrics that are computed from them.
        column: the slicing column.
        seed: the same seed draws the same rows.
    """
    values, (numbers,) = label_codes([table.column(f"slice:{column}")])
    counts = np.bincount(numbers)
    most_frequent = sorted(range(len(values)), key=lambda number: (-counts[number], values[number]))[:VALUES]
    found: dict[str, dict[str, Difference]] = {}
    for number in sorted(most_frequent):
        for rows, metrics_of_rows in measured:
            cells = rows.where(numbers == number).cells()
            sample = compare.Sample.of(cells, metrics_of_rows, seed)
            for name, difference in sample.differences(metrics_of_rows).items():
                found.setdefault(name, {})[values[number]] = difference
    return found
