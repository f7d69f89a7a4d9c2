"""The confusion matrix as a table, and the labels that are confused most often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelbuild.contract.report import ConfusionMatrix

MOST_LABELS = 12
"""A matrix of more labels is no table that people can read: a picture has all of it."""

LEVELS = 5
"""How many shades the cells have: level 0 is no shade."""


@dataclass(frozen=True)
class MatrixCell:
    """How often a true label got a predicted one.

    Attributes:
        count: of the rows.
        level: the share of the true label's rows, from 0 (below 5 %) to LEVELS - 1.
        right: whether the prediction is the true label.
    """

    count: int
    level: int
    right: bool


@dataclass(frozen=True)
class MatrixRow:
    """The rows of one true label."""

    label: str
    cells: Sequence[MatrixCell]
    total: int


@dataclass(frozen=True)
class Confusion:
    """Two labels that are confused: rows of label ``truth`` get ``prediction``."""

    truth: str
    prediction: str
    count: int
    share: float
    """Of the true label's rows."""


def matrix_rows(matrix: ConfusionMatrix) -> list[MatrixRow]:
    """The table of the matrix, a row for each true label."""
    return [
        MatrixRow(
            label,
            [_cell(count, sum(counts), row == column) for column, count in enumerate(counts)],
            sum(counts),
        )
        for row, (label, counts) in enumerate(zip(matrix.labels, matrix.counts, strict=True))
    ]


def most_confused(matrix: ConfusionMatrix) -> list[Confusion]:
    """The wrong predictions by pairs of labels, the most frequent first."""
    found = [
        Confusion(matrix.labels[row], matrix.labels[column], count, count / sum(counts))
        for row, counts in enumerate(matrix.counts)
        for column, count in enumerate(counts)
        if row != column and count
    ]
    return sorted(found, key=lambda one: (-one.count, one.truth, one.prediction))


def _cell(count: int, total: int, right: bool) -> MatrixCell:
    share = count / total if total else 0.0
    level = sum(share >= threshold for threshold in (0.05, 0.15, 0.35, 0.65))
    return MatrixCell(count, level, right)
