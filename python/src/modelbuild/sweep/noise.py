"""Which candidates the validation rows cannot tell from the best one, by a paired bootstrap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from modelbuild.aws.failures import NotFound
from modelbuild.comparison import bootstrap, metrics, predictions
from modelbuild.comparison.compare import MeanRows, Rows, Sample, rows_of
from modelbuild.comparison.predictions import PredictionTable
from modelbuild.contract import FEW_ROWS, Leaderboard, LeaderboardRow, Metric
from modelbuild.contract.report import Interval
from modelbuild.errors import VerificationFailed
from modelbuild.sweep.ranking import with_failed

_COMPARED = 100
"""How many of the best candidates get an interval: an interval takes about a tenth of a second."""

_SEED = 1


@dataclass(frozen=True)
class _Answers:
    """What a candidate answers, and the value of the metric that its evaluation has."""

    table: PredictionTable
    recorded: float


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
    best: _Answers | None = None
    measured: dict[str, LeaderboardRow] = {}
    unreadable: dict[str, str] = {}
    for row in leaderboard.ranked:
        if len(measured) == _COMPARED:
            break
        assert row.metric is not None
        try:
            found = _Answers(_read(read(row), row.model_id, metric), row.metric)
        except (VerificationFailed, NotFound) as error:
            unreadable[row.model_id] = str(error)
            continue
        best = found if best is None else best
        own, difference = _measure(found, best, metric)
        is_noise = None if difference is None else difference.low <= 0 <= difference.high
        if len(found.table) < FEW_ROWS and predictions.same_rows(found.table, best.table):
            # So few rows have no interval, and cannot tell a candidate from the best one.
            is_noise = True
        update = {
            "low": own.low if own else None,
            "high": own.high if own else None,
            "within_noise": False if found is best else is_noise,
        }
        measured[row.model_id] = row.model_copy(update=update)
    rows = tuple(measured.get(row.model_id, row) for row in leaderboard.rows)
    return with_failed(leaderboard.model_copy(update={"rows": rows}), unreadable)


def interval(content: bytes, uri: str, metric: Metric, value: float) -> Interval | None:
    """The interval of a metric of the predictions in a file; None for one that only the flow can compute.

    Args:
        content: the bytes of the file.
        uri: where it lies, for the error.
        metric: the metric.
        value: its recorded value.

    Raises:
        VerificationFailed: it holds no predictions.
    """
    found = _Answers(_read(content, uri, metric), value)
    return _measure(found, found, metric)[0]


def objective(leaderboard: Leaderboard) -> Metric:
    """The metric that candidates are ranked by."""
    better = "higher" if leaderboard.higher_is_better else "lower"
    return Metric.model_validate(
        {"name": leaderboard.metric, "title": leaderboard.metric_title, "better": better}
    )


def _read(content: bytes, uri: str, metric: Metric) -> PredictionTable:
    """The columns that the metric needs: the inputs may be larger than the head's memory."""
    return predictions.read(content, uri, ["id", "truth", "prediction", f"metric:{metric.name}"])


def _measure(found: _Answers, best: _Answers, metric: Metric) -> tuple[Interval | None, Interval | None]:
    """The interval of a candidate's metric, and of its difference to the best one; None for a metric that
    only the flow can compute, or that the two do not have for the same rows.
    """
    table, other = found.table, best.table
    if not predictions.same_rows(table, other):
        return None, None
    means = [table.row_metrics(), other.row_metrics()]
    compared: Rows | None
    if all(metric.name in named for named in means):
        ours, theirs = ({metric.name: named[metric.name]} for named in means)
        compared = MeanRows(ours, theirs)
    else:
        predicted, others = table.column("prediction"), other.column("prediction")
        compared = rows_of(table.column("truth"), predicted, others, [metric.name])
    if compared is None:
        return None, None
    sample = Sample.of(compared.cells(), [metric], _SEED)
    if metric.name not in sample.ours:
        return None, None
    drawn, of_best = (np.asarray(one[metric.name]) for one in (sample.ours, sample.theirs))
    if not metrics.is_recorded(drawn[0], found.recorded):
        return None, None
    own = bootstrap.interval_of_metric(float(drawn[0]), drawn[1:])
    if not metrics.is_recorded(of_best[0], best.recorded):
        return own, None
    difference = sample.differences([metric]).get(metric.name)
    return own, difference.interval if difference else None
