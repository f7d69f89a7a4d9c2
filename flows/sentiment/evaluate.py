"""Quality on the held-out rows, beside VADER and the most frequent label on the same rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from modelbuild.contract import Evaluation
from modelbuild.flow import classification
from rows import LABELS, Labelled, label

VADER_THRESHOLD = 0.05
"""What VADER's authors document: above it a compound score is positive, below its negative negative."""

_NAMES = np.array(LABELS)


def evaluate(
    test: Sequence[Labelled], predicted: Sequence[int] | npt.NDArray[np.int64], majority: int
) -> Evaluation:
    """Compare the predicted label numbers with the human ones.

    Args:
        test: the held-out rows, at least one.
        predicted: a label number for each row.
        majority: the label number that is most frequent in the training rows.
    """
    vader = [label(item.row.vader_compound, VADER_THRESHOLD) for item in test]
    return classification.evaluate(
        _NAMES[[item.target for item in test]],
        _NAMES[np.asarray(predicted)],
        labels=LABELS,
        rows=[[item.row.id, item.row.text, item.target] for item in test],
        rows_are="human-annotated, of documents that were not trained on",
        domains=[item.row.domain for item in test],
        baselines={"vader": _NAMES[vader], "majority": _NAMES[[majority] * len(test)]},
    )
