"""The leaderboard of a sweep, from how its candidates ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from modelbuild.contract import (
    CandidateOutcome,
    CandidateTiming,
    Constraint,
    Leaderboard,
    LeaderboardRow,
    TrainingRequest,
)
from modelbuild.errors import TrainingFailed
from modelbuild.sweep.constraints import unmet
from modelbuild.sweep.importance import importance
from modelbuild.sweep.search import Objective


def rank(
    request: TrainingRequest,
    outcomes: Sequence[CandidateOutcome],
    cost: Callable[[CandidateOutcome], float | None],
) -> Leaderboard:
    """The leaderboard before any candidate is offered.

    Args:
        request: the request of the sweep.
        outcomes: how each candidate ended.
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
    ranked = sorted(
        (row for row in rows if row.status == "succeeded"),
        key=lambda row: (-_score(objective, row), row.candidate.number),
    )
    ranked = [row.model_copy(update={"rank": place}) for place, row in enumerate(ranked, 1)]
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


def with_failed(leaderboard: Leaderboard, reasons: Mapping[str, str]) -> Leaderboard:
    """The leaderboard after more candidates have failed: those behind them move up.

    Args:
        leaderboard: the leaderboard.
        reasons: why candidates have failed, by id.
    """
    kept = [row for row in leaderboard.ranked if row.model_id not in reasons]
    rest = [row for row in leaderboard.rows if row.rank is None or row.model_id in reasons]
    lost = {"rank": None, "within_noise": None, "status": "failed"}
    rows = (
        *(row.model_copy(update={"rank": rank}) for rank, row in enumerate(kept, 1)),
        *(
            row.model_copy(update={**lost, "reason": reasons[row.model_id]})
            if row.model_id in reasons
            else row
            for row in rest
        ),
    )
    return leaderboard.model_copy(update={"rows": rows})


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
    why_unfit = unmet(constraints, outcome)
    if evaluation is not None and evaluation.dataset_sha256 != validation:
        status, reason, value = "failed", "it was evaluated on other rows than the first candidate", None
    elif status == "succeeded" and value is None:
        status, reason = "failed", f"its evaluation has no finite {objective.metric.title}"
    elif status == "succeeded" and task.rung:
        status, reason = "stopped", "others of its rung were better"
    elif status == "succeeded" and why_unfit:
        status, reason = "unfit", why_unfit
    return LeaderboardRow(
        model_id=f"{request.model_id}.{task.candidate.number}",
        values=task.candidate.values,
        status=status,
        reason=reason,
        metric=value,
        model_bytes=outcome.model_bytes,
        metrics=dict(evaluation.overall.metrics) if evaluation and value is not None else {},
    )


def _score(objective: Objective, row: LeaderboardRow) -> float:
    assert row.metric is not None
    return row.metric if objective.metric.better == "higher" else -row.metric


def _why_none(outcomes: Sequence[CandidateOutcome], metric: str | None) -> str:
    evaluations = [one.evaluation for one in outcomes if one.evaluation is not None]
    if evaluations:
        known = sorted({name for one in evaluations for name in one.overall.metrics})
        return (
            f"no candidate has a metric {metric!r} on all validation rows: name one of {', '.join(known)} in "
            "objective.metric"
        )
    [(first, count)] = Counter(one.reason for one in outcomes).most_common(1)
    return f"all {len(outcomes):,} candidates failed, {count:,} of them because: {first}"
