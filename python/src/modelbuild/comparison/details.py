"""What the predictions of a model show beside its metrics: confusion matrix, calibration, examples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from modelbuild.comparison.metrics import Floats
from modelbuild.comparison.predictions import Codes, PredictionTable, are_alike, label_codes
from modelbuild.contract.record import document
from modelbuild.contract.report import CalibrationBin, ConfusionMatrix, Example, Examples

LABELS = 100
"""A confusion matrix of more labels is not made: no person can read it."""

BINS = 10
"""The number of ranges of scores in a calibration."""

SHOWN = 10
"""How many examples of a kind are kept."""

_MISSING = "(missing)"


def confusion_matrix(table: PredictionTable) -> ConfusionMatrix | None:
    """How often each true label got each predicted one; None for too many labels."""
    labels, (truth, predicted) = label_codes([table.column("truth"), table.column("prediction")])
    if len(labels) > LABELS:
        return None
    size = len(labels)
    counts = np.bincount(truth * size + predicted, minlength=size**2).reshape(size, size)
    rows = tuple(tuple(int(count) for count in row) for row in counts)
    return ConfusionMatrix(labels=tuple(str(label) for label in labels), counts=rows)


def calibration(table: PredictionTable) -> tuple[CalibrationBin, ...]:
    """How often predictions are right, by the score of the predicted label in ranges of equal width.

    Returns:
        A bin for each range that has predictions; none for a model without a score for each label.
    """
    scores = predicted_scores(table)
    if scores is None:
        return ()
    right = _is_right(table, table)
    numbers = np.minimum((scores * BINS).astype(int), BINS - 1)
    return tuple(
        CalibrationBin(
            mean_score=float(scores[numbers == number].mean()),
            accuracy=float(right[numbers == number].mean()),
            rows=int((numbers == number).sum()),
        )
        for number in np.unique(numbers)
    )


def predicted_scores(table: PredictionTable) -> Floats | None:
    """The score of each row's predicted label; None if a label has no score, or one is not in [0, 1]."""
    labels, (predicted,) = label_codes([table.column("prediction")])
    if not labels or not {str(label) for label in labels} <= set(table.names("score:")):
        return None
    columns = np.column_stack([table.column(f"score:{label}").to_numpy() for label in labels])
    scores = columns[np.arange(len(table)), predicted].astype(float)
    return scores if bool(((scores >= 0) & (scores <= 1)).all()) else None


def examples(table: PredictionTable, live: PredictionTable | None, *, numbers: bool) -> Examples:
    """Rows for people to read.

    Args:
        table: the model's predictions.
        live: the live model's predictions for the same rows, if they can be compared; the truth is that of
            ``table``.
        numbers: whether the model predicts numbers: the largest errors are its mistakes, and no answer of two
            is the right one.
    """
    right, scores = _is_right(table, table), None if numbers else predicted_scores(table)
    wrong = np.flatnonzero(~right)
    worst = wrong[np.argsort(-_confidence(table, scores, numbers)[wrong], kind="stable")][:SHOWN]
    mistakes = _examples(table, worst, scores, None)
    if live is None or numbers:
        return Examples(mistakes=mistakes)
    live_right = _is_right(table, live)
    gained, lost = np.flatnonzero(right & ~live_right), np.flatnonzero(~right & live_right)
    # What became worse comes first: it is what a person looks for.
    chosen = np.concatenate([_spread(lost), _spread(gained)])
    return Examples(
        mistakes=mistakes,
        differences=_examples(table, chosen, scores, live),
        gained=len(gained),
        lost=len(lost),
    )


def _spread(rows: Codes) -> Codes:
    """Some of the rows, spread evenly over all of them."""
    if len(rows) <= SHOWN // 2:
        return rows
    return np.asarray(rows[np.linspace(0, len(rows) - 1, SHOWN // 2).astype(int)])


def _examples(
    table: PredictionTable,
    rows: Codes,
    scores: Floats | None,
    live: PredictionTable | None,
) -> tuple[Example, ...]:
    ours = table.records(rows, ["id", "input", "truth", "prediction"])
    theirs = live.records(rows, ["prediction"]) if live is not None else [{}] * len(rows)
    return tuple(
        Example(
            id=str(record["id"]),
            input=_input(record),
            truth=record["truth"],
            prediction=record["prediction"],
            score=float(scores[row]) if scores is not None else None,
            live=other.get("prediction"),
        )
        for row, record, other in zip(rows, ours, theirs, strict=True)
    )


def _input(record: Mapping[str, Any]) -> Any:
    """The input of a row, or its text where that is no JSON that a document can hold."""
    if "input" not in record:
        return _MISSING
    text = record["input"]
    try:
        value = json.loads(text)
        # A report nests the value in up to so many lists and objects.
        document([[[[[[[[value]]]]]]]])
    except (ValueError, RecursionError):
        return text
    return value


def _confidence(table: PredictionTable, scores: Floats | None, numbers: bool) -> Floats:
    """How confident each prediction is; for numbers, how large its error is."""
    if numbers:
        return np.abs(_numbers(table, "prediction") - _numbers(table, "truth"))
    return scores if scores is not None else np.zeros(len(table))


def _is_right(table: PredictionTable, answers: PredictionTable) -> npt.NDArray[np.bool_]:
    """Whether each prediction of ``answers`` is the truth in ``table``."""
    truth, prediction = table.column("truth"), answers.column("prediction")
    if not are_alike([truth, prediction]):
        return np.zeros(len(table), dtype=bool)
    _, (true, predicted) = label_codes([truth, prediction])
    return np.asarray(true == predicted)


def _numbers(table: PredictionTable, column: str) -> Floats:
    return np.asarray(table.column(column).to_numpy(), dtype=float)
