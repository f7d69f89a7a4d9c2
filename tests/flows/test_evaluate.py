from __future__ import annotations

from dataclasses import replace

from evaluate import evaluate
from rows import Labelled, Rated

ROW = Rated("tweets/1", "Good day", 2.0, "tweets", "tweets/1", 0.4)


def test_baselines_answer_the_same_rows() -> None:
    """VADER, by its documented thresholds, and the majority label are measured on the rows of the model."""
    compounds = [(0.05, 1), (0.06, 2), (-0.06, 0), (0.9, 0)]
    rows = [
        Labelled(replace(ROW, id=f"tweets/{n}", vader_compound=compound), target)
        for n, (compound, target) in enumerate(compounds)
    ]
    found = evaluate(rows, [1, 2, 0, 2], majority=2)
    assert found.overall == found.baselines["vader"] == found.by_domain["tweets"]
    assert found.overall.accuracy == 0.75
    assert found.baselines["majority"].accuracy == 0.25
    assert found.by_class["negative"].rows == 2


def test_the_hash_is_that_of_the_rows() -> None:
    """Another label, text or row is another evaluation set."""
    rows = [Labelled(ROW, 2), Labelled(replace(ROW, id="tweets/2", text="bad"), 0)]
    digest = evaluate(rows, [2, 2], 2).dataset_sha256
    assert digest == evaluate(rows, [0, 0], 1).dataset_sha256
    for other in (rows[:1], [rows[0], Labelled(rows[1].row, 1)]):
        assert evaluate(other, [2] * len(other), 2).dataset_sha256 != digest
