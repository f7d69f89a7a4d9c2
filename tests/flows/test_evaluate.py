from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate import class_scores, evaluate, scores
from rows import Labelled, Rated

PAIRS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40)
ROW = Rated("tweets/1", "Good day", 2.0, "tweets", "tweets/1", 0.4)


def test_f1_by_hand() -> None:
    """Two of three positives found with one false alarm: precision, recall and F1 are 2/3."""
    found = class_scores([2, 2, 2, 0], [2, 2, 0, 2], 2)
    assert found.rows == 3
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(2 / 3)


@given(PAIRS)
def test_scores_are_between_0_and_1(pairs: list[tuple[int, int]]) -> None:
    """Any answers get scores from 0 to 1; all right is 1, all wrong is 0."""
    truth, guesses = [a for a, _ in pairs], [b for _, b in pairs]
    found = scores(truth, guesses)
    assert 0 <= found.accuracy <= 1
    assert 0 <= found.macro_f1 <= 1
    assert scores(truth, truth).macro_f1 == 1
    assert scores(truth, [(one + 1) % 3 for one in truth]).macro_f1 == 0


@given(PAIRS, st.randoms())
def test_the_order_of_rows_does_not_matter(pairs: list[tuple[int, int]], random: Random) -> None:
    """The same answers in another order get the same scores."""
    mixed = list(pairs)
    random.shuffle(mixed)
    expected = scores([a for a, _ in pairs], [b for _, b in pairs])
    assert scores([a for a, _ in mixed], [b for _, b in mixed]) == expected


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
