"""Evaluates the model on the held-out rows, beside VADER and the most frequent label on the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from modelbuild.flow import classification
from modelbuild.flow.evaluation import Evaluated, EvaluationRows
from rows import LABELS, Labelled, label

VADER_THRESHOLD = 0.05
"""VADER's documented threshold: a compound score above it is positive, and below its negative it is negative.
"""

Answers: TypeAlias = Sequence[Mapping[str, Any]]

_NAMES = np.array(LABELS)


def evaluate(
    test: Sequence[Labelled], answers: Answers, majority: int, others: Mapping[str, Answers] | None = None
) -> Evaluated:
    """Compare the model's most probable labels with the human ones.

    Args:
        test: the held-out rows, at least one.
        answers: the model's answer to each row of ``test``.
        majority: the label number that is most frequent in the training rows.
        others: what versions of the model that are not served answer to the same rows, by name.
    """
    vader = [label(item.row.vader_compound, VADER_THRESHOLD) for item in test]
    rows = EvaluationRows(
        ids=[item.row.id for item in test],
        inputs=[item.row.text for item in test],
        truth=_NAMES[[item.target for item in test]],
        description="human-annotated, of documents that were not trained on",
        slices={"domain": [item.row.domain for item in test]},
    )
    return classification.evaluate(
        rows,
        answers,
        labels=LABELS,
        baselines={
            "vader": _NAMES[vader],
            "majority": _NAMES[[majority] * len(test)],
            **{name: [answer["label"] for answer in given] for name, given in (others or {}).items()},
        },
    )
