"""Compares a model with another model or with a baseline, from their manifests and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from modelbuild.comparison import compare, metrics
from modelbuild.comparison.metrics import Floats
from modelbuild.comparison.predictions import PredictionTable, label_codes, same_rows, shared_rows
from modelbuild.contract import Evaluation, Manifest, Metric, Quality
from modelbuild.contract.report import Comparison, Difference, Role

CLASS = "class"
"""The slicing column of :mod:`modelbuild.flow.classification`: its metrics are of labels, on all rows."""

VALUES = 50
"""How many values of a slicing column are compared, those with the most rows."""

_TOLERANCE = 1e-6
_NO_ROW_METRICS = compare.MeanRows({}, {})


@dataclass(frozen=True)
class Model:
    """A model that can be compared; ``predictions`` is None if they cannot be read."""

    manifest: Manifest
    predictions: PredictionTable | None

    @property
    def evaluation(self) -> Evaluation:
        """The evaluation of the model."""
        return self.manifest.evaluation

    @property
    def name(self) -> str:
        """The model for people: its name and id."""
        return f"{self.manifest.request.model} {self.manifest.request.model_id}"

    @cached_property
    def recomputed(self) -> Sequence[Metric]:
        """The metrics of all rows whose recorded values are those that the predictions give."""
        table, evaluation = self.predictions, self.evaluation
        if table is None:
            return []
        own = table.column("prediction")
        rows = compare.rows_of(table.column("truth"), own, own, _names(evaluation))
        if rows is None:
            return []
        cells = rows.cells()
        values = cells.measure(cells.counts[np.newaxis, :].astype(float), 0)
        computable = {*metrics.OF_LABELS, *metrics.OF_NUMBERS} & values.keys()
        return [
            metric
            for metric in evaluation.overall_metrics
            if metric.name in computable
            and np.isclose(
                values[metric.name][0],
                evaluation.overall.metrics[metric.name],
                rtol=_TOLERANCE,
                atol=_TOLERANCE,
            )
        ]

    @cached_property
    def row_metrics(self) -> Mapping[str, Floats]:
        """The values of each metric that is recorded as the mean of these values, by its name."""
        found = {} if self.predictions is None else self.predictions.row_metrics()
        return _means(found, self.evaluation.overall)


def _names(evaluation: Evaluation) -> list[str]:
    """The names of the metrics of all rows, the primary one first."""
    others = (metric.name for metric in evaluation.overall_metrics)
    return list(dict.fromkeys([evaluation.primary, *others]))


def _means(values: Mapping[str, Floats], quality: Quality) -> dict[str, Floats]:
    """Those values whose mean is the recorded metric."""
    recorded = quality.metrics
    return {
        name: found
        for name, found in values.items()
        if name in recorded and np.isclose(found.mean(), recorded[name], rtol=_TOLERANCE, atol=_TOLERANCE)
    }


@dataclass(frozen=True)
class Scored:
    """What another model answers to all evaluation rows of this one, or why it does not.

    Attributes:
        job: the job that scored the rows.
        predictions: the predictions, with the ids and the truth of this model's rows; None if there are none.
        problem: why there are none, as a part of a sentence.
    """

    job: str = ""
    predictions: PredictionTable | None = None
    problem: str = ""


def lacks_answers(ours: Model, theirs: Model) -> bool:
    """Whether another model of the same primary metric has no recorded answer to some evaluation rows of this
    one.
    """
    first, second = ours.predictions, theirs.predictions
    if first is None or theirs.evaluation.primary != ours.evaluation.primary:
        return False
    if second is None:
        return True
    if ours.evaluation.dataset_sha256 == theirs.evaluation.dataset_sha256:
        return False
    return len(shared_rows(first, second)[0]) < len(first)


def compare_models(role: Role, ours: Model, theirs: Model, scored: Scored | None = None) -> Comparison:
    """Compare a model with another one: on all evaluation rows if they are the same or the other model has
    scored them, else on the shared ones.

    Args:
        role: what the other model is.
        ours: the model to decide about.
        theirs: the other model.
        scored: what the other model answers to the rows of this one; None if that was not asked.
    """
    about = {
        "role": role,
        "name": theirs.name,
        "model_id": theirs.manifest.request.model_id,
        "url": theirs.manifest.request.build.url,
        "primary": ours.evaluation.primary,
        "unscored": scored.problem if scored else "",
    }
    found = _on_rows(ours, theirs, scored)
    return Comparison.model_validate({**about, **found})


def compare_baselines(ours: Model) -> list[Comparison]:
    """Compare a model with each baseline of its evaluation."""
    return [_baseline(ours, name) for name in ours.evaluation.baselines]


def compare_experiment(
    ours: Model, name: str, url: str, metrics: Mapping[str, float], dataset_sha256: str
) -> Comparison:
    """Compare a model with an experimental run, of which the metrics are known and not the predictions.

    Args:
        ours: the model to decide about.
        name: the name of the run.
        url: its page.
        metrics: its metrics by name.
        dataset_sha256: the hash of its evaluation rows.
    """
    found: Mapping[str, object] = {"reason": "it was evaluated on other rows"}
    if dataset_sha256 == ours.evaluation.dataset_sha256:
        found = _without_rows(ours.evaluation, metrics, "only its metrics are known")
    about = {"role": "experiment", "name": name, "url": url, "primary": ours.evaluation.primary}
    return Comparison.model_validate({**about, **found})


def _baseline(ours: Model, name: str) -> Comparison:
    about = {"role": "baseline", "name": name, "primary": ours.evaluation.primary}
    column, table = f"baseline:{name}", ours.predictions
    if table is None or name not in table.names("baseline:"):
        values = ours.evaluation.baselines[name].metrics
        found = _without_rows(ours.evaluation, values, "its predictions are not recorded")
    else:
        theirs = _means(table.row_metrics(name), ours.evaluation.baselines[name])
        found = _with_rows(ours, table, table.column(column), "", _both(ours.row_metrics, theirs))
    return Comparison.model_validate({**about, **found})


def _on_rows(ours: Model, theirs: Model, scored: Scored | None) -> Mapping[str, object]:
    if theirs.evaluation.primary != ours.evaluation.primary:
        title = theirs.evaluation.metric(theirs.evaluation.primary).title
        return {"reason": f"its primary metric is {title}"}
    same = ours.evaluation.dataset_sha256 == theirs.evaluation.dataset_sha256
    first, second = ours.predictions, theirs.predictions
    if same and first is not None and second is not None and not same_rows(first, second):
        return {"reason": "its predictions are of other rows than its evaluation says"}
    if first is not None and scored is not None and scored.predictions is not None:
        reason = f"on all {len(first):,} rows, which job {scored.job} scored with the live model"
        return _with_rows(ours, first, scored.predictions.column("prediction"), reason)
    if same and (first is None or second is None):
        return _without_rows(
            ours.evaluation, theirs.evaluation.overall.metrics, "the predictions cannot be read"
        )
    if first is None or second is None:
        return {"reason": "it was evaluated on other rows, and the predictions cannot be read"}
    if same:
        both = _both(ours.row_metrics, theirs.row_metrics)
        return _with_rows(ours, first, second.column("prediction"), "", both)
    positions, their_positions = shared_rows(first, second)
    if len(positions) == 0:
        return {"reason": f"it was evaluated on {len(second):,} other rows"}
    return _with_rows(
        ours,
        first.take(positions),
        second.take(their_positions).column("prediction"),
        f"on the {len(positions):,} of {len(first):,} rows that it was evaluated on as well",
        _both(
            {name: values[positions] for name, values in ours.row_metrics.items()},
            {name: values[their_positions] for name, values in theirs.row_metrics.items()},
        ),
    )


def _both(ours: Mapping[str, Floats], theirs: Mapping[str, Floats]) -> compare.MeanRows:
    """The metrics that both have."""
    names = [name for name in ours if name in theirs]
    return compare.MeanRows({name: ours[name] for name in names}, {name: theirs[name] for name in names})


def _with_rows(
    ours: Model,
    table: PredictionTable,
    predicted: pa.ChunkedArray,
    reason: str,
    row_metrics: compare.MeanRows = _NO_ROW_METRICS,
) -> Mapping[str, object]:
    """The comparison of this model's predictions and row metrics with others for the same rows."""
    evaluation, truth, own = ours.evaluation, table.column("truth"), table.column("prediction")
    primary = evaluation.metric(evaluation.primary)
    known = [metric for metric in ours.recomputed if metric.name not in row_metrics.ours]
    means = [metric for metric in evaluation.overall_metrics if metric.name in row_metrics.ours]
    answers = compare.rows_of(truth, own, predicted, [metric.name for metric in known])
    decisive = row_metrics if primary in means else answers if primary in known else None
    if decisive is None:
        return {"reason": f"only the flow can compute {primary.title}, not from the predictions"}
    seed = int(evaluation.dataset_sha256[:8], 16)
    measured: list[tuple[compare.Rows, list[Metric]]] = [(row_metrics, means)] if means else []
    if answers is not None and known:
        measured.append((answers, known))
    columns = {column: _slice_differences(table, measured, column, seed) for column in table.names("slice:")}
    slices = {column: by_metric.get(primary.name, {}) for column, by_metric in columns.items()}
    differences = {}
    if means:
        differences = compare.Sample.of(row_metrics.cells(), means, seed).differences(means)
    if answers is not None:
        label_metrics = evaluation.used_in(evaluation.slices.get(CLASS, {}))
        sample = compare.Sample.of(answers.cells(), [*known, *label_metrics], seed)
        if label_metrics:
            columns[CLASS] = {metric.name: sample.label_differences(metric) for metric in label_metrics}
            slices = {CLASS: columns[CLASS][label_metrics[0].name], **slices}
        differences |= sample.differences(known)
    return {
        "rows": len(table),
        "reason": reason,
        "metrics": differences,
        "slices": slices,
        "slices_by_metric": columns,
    }


def _without_rows(evaluation: Evaluation, others: Mapping[str, float], reason: str) -> Mapping[str, object]:
    """The comparison by the recorded metrics, on the same rows and without an interval."""
    own = evaluation.overall.metrics
    return {
        "rows": evaluation.overall.rows,
        "reason": f"{reason}, so there is no interval",
        "metrics": {
            metric.name: Difference(
                value=own[metric.name],
                other=others[metric.name],
                gain=metric.gain(own[metric.name], others[metric.name]),
            )
            for metric in evaluation.overall_metrics
            if metric.name in others
        },
    }


def _slice_differences(
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
