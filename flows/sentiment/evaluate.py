"""Classification quality, beside baselines on the same rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from modelbuild.contract import ClassScores, Evaluation, Scores, sha256_of_json
from rows import LABELS, Labelled, label

VADER_THRESHOLD = 0.05
"""What VADER's authors document: above it a compound score is positive, below its negative negative."""

Targets = Sequence[int] | npt.NDArray[np.int64]


def evaluate(test: Sequence[Labelled], predicted: Targets, majority: int) -> Evaluation:
    """Compare the predicted label numbers with the human ones.

    Args:
        test: the held-out rows, at least one.
        predicted: a label number for each row.
        majority: the label number that is most frequent in the training rows.
    """
    truth = np.array([item.target for item in test])
    guesses = np.asarray(predicted)
    domains = np.array([item.row.domain for item in test])
    vader = np.array([label(item.row.vader_compound, VADER_THRESHOLD) for item in test])
    return Evaluation(
        rows_are="human-annotated, of documents that were not trained on",
        dataset_sha256=sha256_of_json([[item.row.id, item.row.text, item.target] for item in test]),
        overall=scores(truth, guesses),
        by_class={name: class_scores(truth, guesses, index) for index, name in enumerate(LABELS)},
        by_domain={
            str(domain): scores(truth[domains == domain], guesses[domains == domain])
            for domain in np.unique(domains)
        },
        baselines={"vader": scores(truth, vader), "majority": scores(truth, np.full(len(truth), majority))},
    )


def scores(truth: Targets, predicted: Targets) -> Scores:
    """Accuracy and macro-F1; a label that is neither in ``truth`` nor ``predicted`` does not count."""
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    present = np.union1d(truth, predicted)
    f1 = [class_scores(truth, predicted, int(target)).f1 for target in present]
    return Scores(rows=len(truth), accuracy=float(np.mean(truth == predicted)), macro_f1=float(np.mean(f1)))


def class_scores(truth: Targets, predicted: Targets, target: int) -> ClassScores:
    """Precision, recall and F1 for one label; each is 0 where it would divide by zero."""
    actual, guessed = np.asarray(truth) == target, np.asarray(predicted) == target
    hits = float(np.sum(actual & guessed))
    rows, guesses = int(np.sum(actual)), int(np.sum(guessed))
    return ClassScores(
        rows=rows,
        precision=hits / guesses if guesses else 0.0,
        recall=hits / rows if rows else 0.0,
        f1=2 * hits / (rows + guesses) if rows + guesses else 0.0,
    )
