"""The leaderboard of a sweep, from how its candidates ended and what they answer for the validation rows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modelbuild.comparison import bootstrap, predictions
from modelbuild.comparison.compare import MeanRows, Rows, Sample, rows_of
from modelbuild.comparison.predictions import PredictionTable
from modelbuild.contract import (
    CandidateOutcome,
    CandidateTiming,
    Constraint,
    Leaderboard,
    LeaderboardRow,
    Metric,
    Selection,
    TrainingRequest,
    figure,
)
from modelbuild.contract.report import Interval
from modelbuild.errors import TrainingFailed
from modelbuild.settings.notify import LATENCY, SIZE
from modelbuild.sweep.importance import importance
from modelbuild.sweep.search import Objective

_COMPARED = 100
"""How many of the best candidates get an interval: an interval takes about a tenth of a second."""

_SEED = 1

ReadPredictions = Callable[[CandidateOutcome], bytes]


def rank(
    request: TrainingRequest,
    outcomes: Sequence[CandidateOutcome],
    read: ReadPredictions,
    cost: Callable[[CandidateOutcome], float | None],
) -> Leaderboard:
    """The leaderboard before any candidate is offered.

    Args:
        request: the request of the sweep.
        outcomes: how each candidate ended.
        read: reads what a candidate answers for the validation rows.
        cost: what the training of a candidate cost.

    Raises:
        TrainingFailed: no candidate has the metric of the objective.
    """
    sweep = request.sweep
    assert sweep is not None
    objective = Objective.of(sweep, outcomes)
    if objective is None:
        raise TrainingFailed(_why_none(outcomes, sweep.objective.metric))
    validation = next(
        one.evaluation.dataset_sha256
        for one in outcomes
        if one.evaluation and objective.value(one) is not None
    )
    rows = [_row(request, one, objective, validation, sweep.constraints) for one in outcomes]
    ended = {row.model_id: outcome for row, outcome in zip(rows, outcomes, strict=True)}
    ranked = sorted(
        (row for row in rows if row.status == "succeeded"),
        key=lambda row: (-_score(objective, row), row.candidate.number),
    )
    ranked = [row.model_copy(update={"rank": place}) for place, row in enumerate(ranked, 1)]
    ranked = _with_intervals(ranked, objective.metric, lambda row: read(ended[row.model_id]))
    others = sorted((row for row in rows if row.status != "succeeded"), key=lambda row: row.candidate.number)
    return Leaderboard(
        pipeline=request.build.pipeline,
        model=request.model,
        model_id=request.model_id,
        sweep=sweep,
        metric=objective.metric.name,
        metric_title=objective.metric.title,
        higher_is_better=objective.metric.better == "higher",
        validation_sha256=validation,
        rows=(*ranked, *others),
        importance=importance(rows),
        timings=tuple(
            CandidateTiming(
                model_id=row.model_id,
                seconds=outcome.seconds,
                cost=cost(outcome),
                latency_seconds=outcome.latency_seconds,
                wandb_url=outcome.wandb.url if outcome.wandb else "",
            )
            for row, outcome in zip(rows, outcomes, strict=True)
        ),
    )


def with_offers(
    leaderboard: Leaderboard,
    offered: Sequence[str],
    selection: Selection | None,
    failed: Mapping[str, str] | None = None,
) -> Leaderboard:
    """The leaderboard with the candidates that can be deployed, which have the ranks from 1.

    Args:
        leaderboard: the leaderboard.
        offered: their ids.
        selection: how the best of them does on the test rows.
        failed: the reasons of those that failed when they were trained on all training rows, by id: they have
            no rank, and the candidates behind them move up.
    """
    failed = failed or {}
    kept = [row for row in leaderboard.rows if row.rank is not None and row.model_id not in failed]
    rest = [row for row in leaderboard.rows if row.rank is None or row.model_id in failed]
    rows = [
        row.model_copy(
            update={
                "rank": rank,
                "offered": row.model_id in offered,
                "within_noise": row.within_noise and rank > 1,
            }
        )
        for rank, row in enumerate(kept, 1)
    ]
    lost = {"rank": None, "within_noise": False, "status": "failed"}
    rows += [
        row.model_copy(update={**lost, "reason": failed[row.model_id]}) if row.model_id in failed else row
        for row in rest
    ]
    return leaderboard.model_copy(update={"rows": tuple(rows), "selection": selection})


def select(
    leaderboard: Leaderboard, best: LeaderboardRow, outcome: CandidateOutcome, test: bytes
) -> Selection:
    """How the best candidate does on the test rows.

    Args:
        leaderboard: the leaderboard.
        best: the best candidate that is offered.
        outcome: how its training on all training rows ended.
        test: what it answers for the test rows.
    """
    assert outcome.evaluation is not None
    assert best.metric is not None
    metric = outcome.evaluation.metric(leaderboard.metric)
    table = predictions.read(test, best.model_id)
    measured = _measure(table, table, metric)
    interval = None if measured is None else measured[0]
    return Selection(
        model_id=best.model_id,
        metric=outcome.evaluation.overall.metrics[leaderboard.metric],
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        validation_metric=best.metric,
        within_noise=sum(row.within_noise for row in leaderboard.rows if row.model_id != best.model_id),
    )


def table(leaderboard: Leaderboard) -> bytes:
    """The leaderboard as a Parquet file: a row for each candidate, parameters as JSON text, no timings."""
    names = sorted({name for row in leaderboard.rows for name in row.values})
    metrics = sorted({name for row in leaderboard.rows for name in row.metrics})
    rows = leaderboard.rows
    columns: dict[str, pa.Array] = {
        "rank": pa.array([row.rank for row in rows], pa.int32()),
        "model_id": pa.array([row.model_id for row in rows], pa.string()),
        "status": pa.array([row.status for row in rows], pa.string()),
        "reason": pa.array([row.reason for row in rows], pa.string()),
        "metric": pa.array([row.metric for row in rows], pa.float64()),
        "low": pa.array([row.low for row in rows], pa.float64()),
        "high": pa.array([row.high for row in rows], pa.float64()),
        "within_noise": pa.array([row.within_noise for row in rows], pa.bool_()),
        "offered": pa.array([row.offered for row in rows], pa.bool_()),
        "model_bytes": pa.array([row.model_bytes for row in rows], pa.int64()),
    }
    for name in metrics:
        columns[f"metric:{name}"] = pa.array([row.metrics.get(name) for row in rows], pa.float64())
    for name in names:
        texts = [json.dumps(row.values[name]) if name in row.values else None for row in rows]
        columns[f"parameter:{name}"] = pa.array(texts, pa.string())
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def _row(
    request: TrainingRequest,
    outcome: CandidateOutcome,
    objective: Objective,
    validation: str,
    constraints: Sequence[Constraint],
) -> LeaderboardRow:
    task, evaluation, value = outcome.task, outcome.evaluation, objective.value(outcome)
    status: Literal["succeeded", "failed", "stopped", "unfit"] = outcome.status
    reason = outcome.reason
    unmet = [text for one in constraints if (text := _unmet(one, outcome))]
    if evaluation is not None and evaluation.dataset_sha256 != validation:
        status, reason, value = "failed", "it was evaluated on other rows than the first candidate", None
    elif status == "succeeded" and value is None:
        status, reason = "failed", f"its evaluation has no finite {objective.metric.title}"
    elif status == "succeeded" and task.rung:
        status, reason = "stopped", "others of its rung were better"
    elif status == "succeeded" and unmet:
        status, reason = "unfit", unmet[0]
    return LeaderboardRow(
        model_id=f"{request.model_id}.{task.candidate.number}",
        values=task.candidate.values,
        status=status,
        reason=reason,
        metric=value,
        model_bytes=outcome.model_bytes,
        metrics=dict(evaluation.overall.metrics) if evaluation and value is not None else {},
    )


def _unmet(constraint: Constraint, outcome: CandidateOutcome) -> str:
    """Why a candidate does not meet a constraint; empty if it does."""
    value = _constrained(constraint, outcome)
    where = f" of {constraint.slice}" if constraint.slice else ""
    if value is None:
        return f"it has no {constraint.metric}{where}"
    if constraint.minimum is not None and value < constraint.minimum:
        return f"{constraint.metric}{where} is {figure(value)}, below {figure(constraint.minimum)}"
    if constraint.maximum is not None and value > constraint.maximum:
        return f"{constraint.metric}{where} is {figure(value)}, above {figure(constraint.maximum)}"
    return ""


def _constrained(constraint: Constraint, outcome: CandidateOutcome) -> float | None:
    if constraint.metric == SIZE:
        return outcome.model_bytes
    if constraint.metric == LATENCY:
        return outcome.latency_seconds
    if outcome.evaluation is None:
        return None
    return outcome.evaluation.value(constraint.metric, constraint.slice)


def _with_intervals(
    ranked: Sequence[LeaderboardRow], metric: Metric, read: Callable[[LeaderboardRow], bytes]
) -> list[LeaderboardRow]:
    """The best candidates with their intervals, and whether the rows can tell them from the best one."""
    if not ranked:
        return []
    best = predictions.read(read(ranked[0]), ranked[0].model_id)
    found = []
    for row in ranked[:_COMPARED]:
        table = predictions.read(read(row), row.model_id)
        measured = _measure(table, best, metric)
        if measured is None:
            return [*ranked]
        own, difference = measured
        is_noise = difference is not None and difference.low <= 0 <= difference.high
        update = {
            "low": own.low if own else None,
            "high": own.high if own else None,
            "within_noise": row.rank == 1 or is_noise,
        }
        found.append(row.model_copy(update=update))
    return [*found, *ranked[_COMPARED:]]


def _measure(
    table: PredictionTable, best: PredictionTable, metric: Metric
) -> tuple[Interval | None, Interval | None] | None:
    """The interval of a candidate's metric, and of its difference to the best one; None for a metric that
    only the flow can compute.
    """
    means = [table.row_metrics(), best.row_metrics()]
    compared: Rows | None
    if all(metric.name in found for found in means):
        ours, theirs = ({metric.name: found[metric.name]} for found in means)
        compared = MeanRows(ours, theirs)
    else:
        truth, predicted, other = table.column("truth"), table.column("prediction"), best.column("prediction")
        compared = rows_of(truth, predicted, other, [metric.name])
    if compared is None:
        return None
    sample = Sample.of(compared.cells(), [metric], _SEED)
    if metric.name not in sample.ours:
        return None
    drawn, others = (np.asarray(one[metric.name])[1:] for one in (sample.ours, sample.theirs))
    return bootstrap.interval(drawn), bootstrap.interval(drawn - others)


def _score(objective: Objective, row: LeaderboardRow) -> float:
    assert row.metric is not None
    return row.metric if objective.metric.better == "higher" else -row.metric


def _why_none(outcomes: Sequence[CandidateOutcome], metric: str | None) -> str:
    reasons: Mapping[str, int] = _counted([one.reason for one in outcomes if one.reason])
    if not reasons:
        return f"no candidate has a metric {metric!r}: name one of the evaluation in objective.metric"
    first = next(iter(reasons))
    return f"all {len(outcomes):,} candidates failed, {reasons[first]:,} of them because: {first}"


def _counted(reasons: Sequence[str]) -> dict[str, int]:
    """How often each reason is there, the most frequent first."""
    counts = {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}
    return dict(sorted(counts.items(), key=lambda pair: -pair[1]))
