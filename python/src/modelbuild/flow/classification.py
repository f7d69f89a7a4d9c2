"""How good a classifier is on some rows, beside baselines on the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from modelbuild.contract import ClassScores, Evaluation, Scores, sha256_of_json

Labels = Sequence[str] | npt.NDArray[np.str_]


def evaluate(
    truth: Labels,
    predicted: Labels,
    *,
    labels: Sequence[str],
    rows: Sequence[Any],
    rows_are: str,
    domains: Sequence[str] = (),
    baselines: Mapping[str, Labels],
) -> Evaluation:
    """Compare predicted labels with the true ones.

    Args:
        truth: the label of each row; at least one row.
        predicted: the model's label of each row.
        labels: every label, in the order in which people read them.
        rows: what identifies each row, with its label: the evaluation's hash is made from it.
        rows_are: what the rows are, for people, such as "human-annotated, not trained on".
        domains: where each row comes from; none for rows of one source.
        baselines: labels that something else gives to the same rows, by its name.
    """
    actual, guessed, source = np.asarray(truth), np.asarray(predicted), np.asarray(domains)
    return Evaluation(
        rows_are=rows_are,
        dataset_sha256=sha256_of_json(list(rows)),
        overall=scores(actual, guessed),
        by_class={label: class_scores(actual, guessed, label) for label in labels},
        by_domain={
            str(domain): scores(actual[source == domain], guessed[source == domain])
            for domain in np.unique(source)
        },
        baselines={name: scores(actual, given) for name, given in baselines.items()},
    )


def scores(truth: Labels, predicted: Labels) -> Scores:
    """Accuracy and macro-F1; a label that is neither in ``truth`` nor ``predicted`` does not count."""
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    f1 = [class_scores(truth, predicted, str(label)).f1 for label in np.union1d(truth, predicted)]
    return Scores(rows=len(truth), accuracy=float(np.mean(truth == predicted)), macro_f1=float(np.mean(f1)))


def class_scores(truth: Labels, predicted: Labels, label: str) -> ClassScores:
    """Precision, recall and F1 for one label; each is 0 where it would divide by zero."""
    actual, guessed = np.asarray(truth) == label, np.asarray(predicted) == label
    hits = float(np.sum(actual & guessed))
    rows, guesses = int(np.sum(actual)), int(np.sum(guessed))
    return ClassScores(
        rows=rows,
        precision=hits / guesses if guesses else 0.0,
        recall=hits / rows if rows else 0.0,
        f1=2 * hits / (rows + guesses) if rows + guesses else 0.0,
    )


def table(evaluation: Evaluation) -> str:
    """The headline figures as text, for the log."""
    lines = {"all": evaluation.overall, **evaluation.by_domain}
    lines |= {f"({name} on all)": one for name, one in evaluation.baselines.items()}
    rows = [
        f"{name:20}{one.rows:>7,}{one.accuracy:>10.3f}{one.macro_f1:>10.3f}" for name, one in lines.items()
    ]
    return "\n".join([f"{'held out':20}{'rows':>7}{'accuracy':>10}{'macro-F1':>10}", *rows])
