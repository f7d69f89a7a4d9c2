"""An evaluation as W&B shows it: a confusion matrix, precision-recall curves, and a table of mistakes."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sklearn.metrics import confusion_matrix, precision_recall_curve

MISTAKES = 200
"""How many mistakes the table has, the most confident ones first."""

_SCORE = "score:"
# W&B shows no table with more than 10,000 rows, and the matrix of so many labels has as many.
_MOST_LABELS = 100
_RECALLS = np.linspace(0, 1, 21)


def charts(predictions: bytes, *, mistakes: bool) -> dict[str, Any]:
    """The charts of a classifier's predictions by W&B's names; none of other predictions.

    Args:
        predictions: the file that :class:`modelbuild.contract.PredictionsFile` describes.
        mistakes: whether the table of mistakes, which has inputs, is among them.
    """
    table = pq.read_table(io.BytesIO(predictions))
    if not pa.types.is_string(table.schema.field("truth").type):
        return {}
    scored = {name.removeprefix(_SCORE) for name in table.column_names if name.startswith(_SCORE)}
    found: dict[str, Any] = {}
    labels = sorted({*table["truth"].to_pylist(), *table["prediction"].to_pylist(), *scored})
    if len(labels) <= _MOST_LABELS:
        found["confusion_matrix"] = _confusion(table, labels)
        found["precision_recall"] = _precision_recall(table, sorted(scored))
    if mistakes:
        found["mistakes"] = _mistakes(table)
    return found


def _confusion(table: pa.Table, labels: list[str]) -> Any:
    import wandb

    counts = confusion_matrix(table["truth"].to_pylist(), table["prediction"].to_pylist(), labels=labels)
    rows = [
        [actual, predicted, int(counts[row, column])]
        for row, actual in enumerate(labels)
        for column, predicted in enumerate(labels)
    ]
    # As wandb.plot.confusion_matrix makes it, which counts in a loop of Python.
    columns = ["Actual", "Predicted", "nPredictions"]
    return wandb.plot_table(
        "wandb/confusion_matrix/v1",
        wandb.Table(columns=[*columns], data=rows),
        {name: name for name in columns},
        {"title": "Confusion matrix"},
    )


def _precision_recall(table: pa.Table, labels: list[str]) -> Any:
    import wandb

    # As wandb.plot.pr_curve makes it, which needs pandas.
    truth = np.array(table["truth"].to_pylist())
    rows: list[list[Any]] = []
    for label in labels:
        if not (truth == label).any():
            continue
        precision, recall, _ = precision_recall_curve(truth == label, table[f"{_SCORE}{label}"].to_numpy())
        # The highest precision at this recall or a higher one. The last point is no threshold's.
        highest = np.maximum.accumulate(precision[:-1])[::-1]
        at = np.searchsorted(recall[:-1][::-1], _RECALLS, side="left")
        rows += [
            [label, round(float(one), 4), round(float(at_recall), 4)]
            for one, at_recall in zip(highest[at], _RECALLS, strict=True)
        ]
    return wandb.plot_table(
        "wandb/area-under-curve/v0",
        wandb.Table(columns=["class", "precision", "recall"], data=rows),
        {"x": "recall", "y": "precision", "class": "class"},
        {"title": "Precision-recall curve", "x-axis-title": "Recall", "y-axis-title": "Precision"},
    )


def _mistakes(table: pa.Table) -> Any:
    import wandb

    wrong = table.filter(pc.not_equal(table["truth"], table["prediction"]))
    rows = wrong.select(["id", "input", "truth", "prediction"])
    predicted = np.array(rows["prediction"].to_pylist(), dtype=object)
    # Of hundreds of labels, the scores of all rows as Python's objects would take gigabytes.
    scores = np.full(len(predicted), np.nan)
    for name in {f"{_SCORE}{label}" for label in predicted} & {*wrong.column_names}:
        chosen = predicted == name.removeprefix(_SCORE)
        scores[chosen] = wrong[name].to_numpy()[chosen]
    worst = np.argsort(-np.nan_to_num(scores), kind="stable")[:MISTAKES]
    data = [
        [row["id"], _shown(row["input"]), row["truth"], row["prediction"], None if np.isnan(score) else score]
        for row, score in zip(rows.take(worst).to_pylist(), scores[worst].tolist(), strict=True)
    ]
    return wandb.Table(columns=["id", "input", "truth", "prediction", "score"], data=data)


def _shown(text: str) -> str:
    """An input for people: a text as it is, other JSON as JSON."""
    value = json.loads(text)
    return value if isinstance(value, str) else text
