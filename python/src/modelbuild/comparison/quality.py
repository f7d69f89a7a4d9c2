"""The interval of a metric of one model, by a bootstrap of its evaluation rows."""

from __future__ import annotations

import numpy as np

from modelbuild.comparison import bootstrap, compare, metrics, predictions
from modelbuild.contract import FEW_ROWS
from modelbuild.contract.report import Interval

_SEED = 1


def interval(content: bytes, uri: str, metric: str, value: float) -> Interval | None:
    """The 95 % interval of a metric.

    Args:
        content: the file with the predictions.
        uri: where it lies, for the error.
        metric: the name of the metric.
        value: its recorded value.

    Returns:
        None for a metric that cannot be computed from the predictions, or has another value by them, on too
        few rows, and where the resamples are biased.

    Raises:
        VerificationFailed: the file holds no predictions.
    """
    table = predictions.read(content, uri, ["id", "truth", "prediction"])
    truth, answers = table.column("truth"), table.column("prediction")
    rows = compare.rows_of(truth, answers, answers, [metric])
    if rows is None or len(table) < FEW_ROWS:
        return None
    cells = rows.cells()
    observed = cells.measure(cells.counts[np.newaxis, :].astype(float), 0)
    if metric not in observed or not metrics.is_recorded(observed[metric][0], value):
        return None
    drawn = [cells.measure(weights, 0)[metric] for weights in bootstrap.weightings(cells.counts, _SEED)]
    return bootstrap.interval_of_metric(float(observed[metric][0]), np.concatenate(drawn))
