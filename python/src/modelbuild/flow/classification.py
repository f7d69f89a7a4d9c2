"""The evaluation of a classifier: macro-F1, accuracy, and precision, recall and F1 of each class.

scikit-learn is imported where it is used: that takes most of a second, and each process of a training imports
the flow, and with it this module.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from modelbuild.contract import Metric, Quality
from modelbuild.errors import ConfigurationError
from modelbuild.flow.evaluation import Evaluated, EvaluationRows, RowMetric, Values
from modelbuild.flow.evaluation import evaluate as evaluate_any

METRICS = (
    Metric(name="macro_f1", title="macro-F1", better="higher"),
    Metric(name="accuracy", title="accuracy", better="higher"),
    Metric(name="f1", title="F1", better="higher"),
    Metric(name="precision", title="precision", better="higher"),
    Metric(name="recall", title="recall", better="higher"),
)

_CLASS = "class"
"""The table of labels among the slices."""


def evaluate(
    rows: EvaluationRows,
    answers: Sequence[Mapping[str, Any]],
    *,
    labels: Sequence[str],
    baselines: Mapping[str, Values],
    row_metrics: Sequence[RowMetric] = (),
) -> Evaluated:
    """Compare predicted labels with the true ones; the primary metric is macro-F1.

    Args:
        rows: the rows, each with its true label.
        answers: the model's answer to each row: its label, and the score of each label.
        labels: every label, in the order of the tables.
        baselines: the labels that each baseline predicts for the same rows, by its name.
        row_metrics: metrics of the flow's own that are means over the rows.

    Raises:
        ConfigurationError: the rows are not consistent, a column of slices is called ``class``, or a truth, a
            prediction or a baseline is no text.
    """
    if _CLASS in rows.slices:
        raise ConfigurationError(
            f"slices has a column {_CLASS}, which is the name of the table of labels: give it another name"
        )
    predicted = [answer["label"] for answer in answers]
    named = {f"baseline {name}": one for name, one in baselines.items()}
    rows.require_type(str, "a text", predicted=predicted, **named)
    columns = {label: np.array([answer["scores"][label] for answer in answers]) for label in labels}
    found = evaluate_any(
        rows,
        predicted,
        metrics=METRICS,
        primary="macro_f1",
        measure=measure,
        scores=columns,
        baselines=baselines,
        row_metrics=row_metrics,
    )
    classes = {_CLASS: class_qualities(rows.truth, predicted, labels), **found.evaluation.slices}
    return Evaluated(found.evaluation.model_copy(update={"slices": classes}), found.predictions)


def measure(truth: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> dict[str, float]:
    """Macro-F1 and accuracy; labels that are neither in ``truth`` nor in ``predicted`` do not count."""
    from sklearn.metrics import accuracy_score, f1_score

    return {
        "macro_f1": float(f1_score(truth, predicted, average="macro", zero_division=0)),
        "accuracy": float(accuracy_score(truth, predicted)),
    }


def majority(truth: Sequence[str], rows: int) -> list[str]:
    """A baseline: the most frequent label of ``truth`` (of several, the first by name), for each row."""
    counts = Counter(truth)
    return [min(counts, key=lambda label: (-counts[label], label))] * rows


def class_qualities(truth: Values, predicted: Values, labels: Sequence[str]) -> dict[str, Quality]:
    """Precision, recall and F1 of each label; 0 instead of a division by zero."""
    from sklearn.metrics import precision_recall_fscore_support

    table = precision_recall_fscore_support(
        np.asarray(truth), np.asarray(predicted), labels=list(labels), zero_division=0
    )
    return {
        label: Quality(
            rows=int(rows),
            metrics={"f1": float(f1), "precision": float(precision), "recall": float(recall)},
        )
        for label, precision, recall, f1, rows in zip(labels, *table, strict=True)
    }
