"""The best candidates, trained on all training rows: which can be deployed, and how good the best one is."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from modelbuild.contract import CandidateOutcome, Leaderboard, LeaderboardRow, Selection
from modelbuild.errors import VerificationFailed
from modelbuild.sweep import noise, ranking


def without_failed(
    leaderboard: Leaderboard, ended: Mapping[str, CandidateOutcome], read: noise.ReadPredictions
) -> Leaderboard:
    """The leaderboard after the best candidates were trained on all training rows.

    Those that failed have no rank, and the others are compared with the best that is left.

    Args:
        leaderboard: the leaderboard.
        ended: how the best were trained on all training rows, by id.
        read: reads what a candidate answers for the validation rows.

    Raises:
        AwsError: S3 refused.
    """
    reasons = {}
    for model_id, outcome in ended.items():
        if outcome.status == "failed" or outcome.evaluation is None:
            reasons[model_id] = f"trained on all training rows: {outcome.reason}"
        elif outcome.evaluation.value(leaderboard.metric) is None:
            reasons[model_id] = f"its evaluation on the test rows has no {leaderboard.metric_title}"
    if not reasons:
        return leaderboard
    return noise.with_intervals(ranking.with_failed(leaderboard, reasons), read)


def select(
    leaderboard: Leaderboard, best: LeaderboardRow, outcome: CandidateOutcome, test: bytes
) -> Selection:
    """How the best candidate does on the test rows.

    Args:
        leaderboard: the leaderboard that :func:`without_failed` returned.
        best: the best candidate that is offered.
        outcome: how its training on all training rows ended.
        test: what it answers for the test rows; without an interval if that cannot be read.
    """
    assert outcome.evaluation is not None
    assert best.metric is not None
    value = outcome.evaluation.overall.metrics[leaderboard.metric]
    try:
        interval = noise.interval(test, best.model_id, noise.objective(leaderboard), value)
    except VerificationFailed:
        # The page of notify says what is wrong with them.
        interval = None
    return Selection(
        model_id=best.model_id,
        metric=value,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        validation_metric=best.metric,
        within_noise=sum(row.within_noise is True for row in leaderboard.rows),
    )


def with_offers(leaderboard: Leaderboard, offered: Collection[str], selection: Selection) -> Leaderboard:
    """The leaderboard with the candidates that can be deployed.

    Args:
        leaderboard: the leaderboard.
        offered: their ids.
        selection: how the best of them does on the test rows.
    """
    rows = [row.model_copy(update={"offered": row.model_id in offered}) for row in leaderboard.rows]
    return leaderboard.model_copy(update={"rows": tuple(rows), "selection": selection})
