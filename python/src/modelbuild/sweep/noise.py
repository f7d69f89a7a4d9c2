"""Which candidates the validation rows cannot tell from the best one, by a paired bootstrap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from modelbuild.aws.failures import NotFound
from modelbuild.comparison import bootstrap, predictions
from modelbuild.comparison.compare import MeanRows, Rows, Sample, rows_of
from modelbuild.comparison.predictions import PredictionTable
from modelbuild.contract import FEW_ROWS, Leaderboard, LeaderboardRow, Metric
from modelbuild.contract.report import Interval
from modelbuild.errors import VerificationFailed
from modelbuild.sweep.ranking import with_failed

_COMPARED = 100
"""How many of the best candidates get an interval: an interval takes about a tenth of a second."""

_SEED = 1

ReadPredictions = Callable[[LeaderboardRow], bytes]
"""Reads what a candidate answers for the validation rows."""


def with_intervals(leaderboard: Leaderboard, read: ReadPredictions) -> Leaderboard:
    """The leaderboard with the intervals of the best candidates, and which ones are within noise of the best.

    A candidate whose predictions cannot be read counts as failed.

    Args:
        leaderboard: the leaderboard.
        read: reads the predictions.

    Raises:
        AwsError: S3 refused.
    """
    metric = objective(leaderboard)
    best: PredictionTable | None = None
    measured: dict[str, LeaderboardRow] = {}
    unreadable: dict[str, str] = {}
    for row in leaderboard.ranked:
        if len(measured) == _COMPARED:
            break
        try:
            table = _read(read(row), row.model_id, metric)
        except (VerificationFailed, NotFound) as error:
            unreadable[row.model_id] = str(error)
            continue
        best = table if best is None else best
        own, difference = _measure(table, best, metric)
        is_noise = difference is not None and difference.low <= 0 <= difference.high
        if len(table) < FEW_ROWS and predictions.same_rows(table, best):
            # So few rows have no interval, and tell no candidate from the best.
            is_noise = True
        update = {
            "low": own.low if own else None,
            "high": own.high if own else None,
            "within_noise": table is not best and is_noise,
        }
        measured[row.model_id] = row.model_copy(update=update)
    rows = tuple(measured.get(row.model_id, row) for row in leaderboard.rows)
    return with_failed(leaderboard.model_copy(update={"rows": rows}), unreadable)


def interval(content: bytes, uri: str, metric: Metric) -> Interval | None:
    """The interval of a metric of the predictions in a file; None for one that only the flow can compute.

    Args:
        content: the bytes of the file.
        uri: where it lies, for the error.
        metric: the metric.

    Raises:
        VerificationFailed: it holds no predictions.
    """
    table = _read(content, uri, metric)
    return _measure(table, table, metric)[0]


def objective(leaderboard: Leaderboard) -> Metric:
    """The metric that candidates are ranked by."""
    better = "higher" if leaderboard.higher_is_better else "lower"
    return Metric.model_validate(
        {"name": leaderboard.metric, "title": leaderboard.metric_title, "better": better}
    )


def _read(content: bytes, uri: str, metric: Metric) -> PredictionTable:
    """The columns that the metric needs: the inputs may be larger than the head's memory."""
    return predictions.read(content, uri, ["id", "truth", "prediction", f"metric:{metric.name}"])


def _measure(
    table: PredictionTable, best: PredictionTable, metric: Metric
) -> tuple[Interval | None, Interval | None]:
    """The interval of a candidate's metric, and of its difference to the best one; None for a metric that
    only the flow can compute, or that the two do not have for the same rows.
    """
    if not predictions.same_rows(table, best):
        return None, None
    means = [table.row_metrics(), best.row_metrics()]
    compared: Rows | None
    if all(metric.name in found for found in means):
        ours, theirs = ({metric.name: found[metric.name]} for found in means)
        compared = MeanRows(ours, theirs)
    else:
        truth, predicted, other = table.column("truth"), table.column("prediction"), best.column("prediction")
        compared = rows_of(truth, predicted, other, [metric.name])
    if compared is None:
        return None, None
    sample = Sample.of(compared.cells(), [metric], _SEED)
    if metric.name not in sample.ours:
        return None, None
    drawn, others = (np.asarray(one[metric.name])[1:] for one in (sample.ours, sample.theirs))
    return bootstrap.interval(drawn), bootstrap.interval(drawn - others)
