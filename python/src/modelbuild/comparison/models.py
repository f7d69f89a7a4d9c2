"""Compares a model with another model or with a baseline, from their manifests and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from modelbuild.comparison import compare, metrics
from modelbuild.comparison.differences import Recorded, by_predictions, by_records
from modelbuild.comparison.metrics import Floats
from modelbuild.comparison.predictions import PredictionTable, same_rows, shared_rows
from modelbuild.contract import Evaluation, Manifest, Metric, Quality
from modelbuild.contract.report import Comparison, Role
from modelbuild.text import counted

_TOLERANCE = 1e-6
"""The largest relative difference of a recomputed metric from the recorded one."""
_ZERO = 1e-12


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
                atol=_ZERO,
            )
        ]

    @property
    def predicts_numbers(self) -> bool:
        """Whether its predictions are numbers and no labels: by a metric that they give, else by their type.
        Numbers may be whole, and labels may be 1.0 and 2.0.
        """
        names = {metric.name for metric in self.recomputed}
        if found := names & {*metrics.OF_LABELS, *metrics.OF_NUMBERS}:
            return not found.isdisjoint(metrics.OF_NUMBERS)
        table = self.predictions
        return table is not None and any(
            pa.types.is_floating(table.column(name).type) for name in ("truth", "prediction")
        )

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
        if name in recorded and np.isclose(found.mean(), recorded[name], rtol=_TOLERANCE, atol=_ZERO)
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
    """Compare a model with an experimental run, whose metrics are known, but not its predictions.

    Args:
        ours: the model to decide about.
        name: the name of the run.
        url: its page.
        metrics: its metrics by name.
        dataset_sha256: the hash of its evaluation rows; empty if it is not known.
    """
    found: Mapping[str, object] = {"reason": "it was evaluated on other rows"}
    if dataset_sha256 == ours.evaluation.dataset_sha256:
        found = by_records(ours.evaluation, Recorded(metrics), "only its metrics are known")
    elif not dataset_sha256:
        found = {"reason": "the rows that it was evaluated on are not known"}
    about = {"role": "experiment", "name": name, "url": url, "primary": ours.evaluation.primary}
    return Comparison.model_validate({**about, **found})


def _baseline(ours: Model, name: str) -> Comparison:
    about = {"role": "baseline", "name": name, "primary": ours.evaluation.primary}
    column, table, quality = f"baseline:{name}", ours.predictions, ours.evaluation.baselines[name]
    recorded = Recorded(quality.metrics)
    if table is None or name not in table.names("baseline:"):
        found = by_records(ours.evaluation, recorded, "its predictions are not recorded")
    else:
        found = by_predictions(
            ours.evaluation,
            ours.recomputed,
            table,
            table.column(column),
            row_metrics=_both(ours.row_metrics, _means(table.row_metrics(name), quality)),
            recorded=recorded,
        )
    return Comparison.model_validate({**about, **found})


def _on_rows(ours: Model, theirs: Model, scored: Scored | None) -> Mapping[str, object]:
    if theirs.evaluation.primary != ours.evaluation.primary:
        title = theirs.evaluation.metric(theirs.evaluation.primary).title
        return {"reason": f"its primary metric is {title}"}
    same = ours.evaluation.dataset_sha256 == theirs.evaluation.dataset_sha256
    recorded = Recorded(theirs.evaluation.overall.metrics, theirs.evaluation.slices)
    first, second = ours.predictions, theirs.predictions
    if same and first is not None and second is not None and not same_rows(first, second):
        return {"reason": "its predictions are of other rows than its evaluation says"}
    if first is not None and scored is not None and scored.predictions is not None:
        reason = f"on all {len(first):,} rows, which job {scored.job} scored with the live model"
        predicted = scored.predictions.column("prediction")
        return by_predictions(ours.evaluation, ours.recomputed, first, predicted, reason=reason)
    if same and (first is None or second is None):
        return by_records(ours.evaluation, recorded, "the predictions cannot be read")
    if first is None or second is None:
        return {"reason": "it was evaluated on other rows, and the predictions cannot be read"}
    if same:
        return by_predictions(
            ours.evaluation,
            ours.recomputed,
            first,
            second.column("prediction"),
            row_metrics=_both(ours.row_metrics, theirs.row_metrics),
            recorded=recorded,
        )
    positions, their_positions = shared_rows(first, second)
    if len(positions) == 0:
        return {"reason": f"it was evaluated on {counted(len(second), 'other row')}"}
    return by_predictions(
        ours.evaluation,
        ours.recomputed,
        first.take(positions),
        second.take(their_positions).column("prediction"),
        reason=f"on the {len(positions):,} of {len(first):,} rows that it was evaluated on as well",
        row_metrics=_both(
            {name: values[positions] for name, values in ours.row_metrics.items()},
            {name: values[their_positions] for name, values in theirs.row_metrics.items()},
        ),
    )


def _both(ours: Mapping[str, Floats], theirs: Mapping[str, Floats]) -> compare.MeanRows:
    """The metrics that both have."""
    names = [name for name in ours if name in theirs]
    return compare.MeanRows({name: ours[name] for name in names}, {name: theirs[name] for name in names})
