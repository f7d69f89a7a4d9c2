"""How good a regression is: the root of the mean squared error, the mean absolute error, and R²."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from modelbuild.contract import Metric
from modelbuild.flow.evaluation import Evaluated, EvaluationRows, RowMetric, Values
from modelbuild.flow.evaluation import evaluate as evaluate_any

METRICS = (
    Metric(name="rmse", title="RMSE", better="lower"),
    Metric(name="mae", title="MAE", better="lower"),
    Metric(name="r2", title="R²", better="higher"),
)


def evaluate(
    rows: EvaluationRows,
    answers: Sequence[Mapping[str, Any]],
    *,
    baselines: Mapping[str, Values],
    row_metrics: Sequence[RowMetric] = (),
) -> Evaluated:
    """Compare predicted numbers with the true ones; the primary metric is the root of the mean squared error.

    Args:
        rows: the rows, each with its true number.
        answers: the model's answer to each row: its value.
        baselines: the numbers that each baseline predicts for the same rows, by its name.
        row_metrics: metrics of the flow's own that are means over the rows.

    Raises:
        ConfigurationError: the rows are not consistent, or a truth, a prediction or a baseline is no number.
    """
    predicted = [answer["value"] for answer in answers]
    named = {f"baseline {name}": one for name, one in baselines.items()}
    rows.require_type(Real, "a number", predicted=predicted, **named)
    return evaluate_any(
        rows,
        predicted,
        metrics=METRICS,
        primary="rmse",
        measure=measure,
        baselines=baselines,
        row_metrics=row_metrics,
    )


def measure(truth: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> dict[str, float]:
    """The metrics of some rows, without R² where the truth is one number: R² would divide by zero."""
    # See the module classification.
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    metrics = {
        "rmse": float(root_mean_squared_error(truth, predicted)),
        "mae": float(mean_absolute_error(truth, predicted)),
    }
    if np.ptp(truth) > 0:
        metrics["r2"] = float(r2_score(truth, predicted))
    return metrics
