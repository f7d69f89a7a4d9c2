from __future__ import annotations

from dataclasses import replace
from typing import Any

from evaluate import evaluate
from rows import LABELS, Labelled, Rated

ROW = Rated("tweets/1", "Good day", 2.0, "tweets", "tweets/1", 0.4)


def answers(predicted: list[int]) -> list[dict[str, Any]]:
    """What a model answers that is certain of these labels."""
    return [
        {"label": LABELS[best], "scores": {label: float(label == LABELS[best]) for label in LABELS}}
        for best in predicted
    ]


def test_baselines_answer_the_same_rows() -> None:
    """VADER, by its documented thresholds, and the majority label are measured on the rows of the model."""
    compounds = [(0.05, 1), (0.06, 2), (-0.06, 0), (0.9, 0)]
    rows = [
        Labelled(replace(ROW, id=f"tweets/{n}", vader_compound=compound), target)
        for n, (compound, target) in enumerate(compounds)
    ]
    found = evaluate(rows, answers([1, 2, 0, 2]), majority=2).evaluation
    assert found.overall == found.baselines["vader"] == found.slices["domain"]["tweets"]
    assert found.overall.metrics["accuracy"] == 0.75
    assert found.baselines["majority"].metrics["accuracy"] == 0.25
    assert found.slices["class"]["negative"].rows == 2


def test_the_hash_is_that_of_the_rows() -> None:
    """Another label, text or row is another evaluation set."""
    rows = [Labelled(ROW, 2), Labelled(replace(ROW, id="tweets/2", text="bad"), 0)]
    digest = evaluate(rows, answers([2, 2]), 2).evaluation.dataset_sha256
    assert digest == evaluate(rows, answers([0, 0]), 1).evaluation.dataset_sha256
    for other in (rows[:1], [rows[0], Labelled(rows[1].row, 1)]):
        assert evaluate(other, answers([2] * len(other)), 2).evaluation.dataset_sha256 != digest
