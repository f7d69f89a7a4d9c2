"""Scores of classifiers, whatever their labels."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.contract import sha256_of_json
from modelbuild.flow.classification import class_scores, evaluate, scores, table

LABELS = ("n", "o", "p")
PAIRS = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=40)


def test_f1_by_hand() -> None:
    """Two of three positives found with one false alarm: precision, recall and F1 are 2/3."""
    found = class_scores(["p", "p", "p", "n"], ["p", "p", "n", "p"], "p")
    assert found.rows == 3
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(2 / 3)


@given(PAIRS)
def test_scores_are_between_0_and_1(pairs: list[tuple[str, str]]) -> None:
    """Any answers get scores from 0 to 1; all right is 1, all wrong is 0."""
    truth, guesses = [a for a, _ in pairs], [b for _, b in pairs]
    found = scores(truth, guesses)
    assert 0 <= found.accuracy <= 1
    assert 0 <= found.macro_f1 <= 1
    assert scores(truth, truth).macro_f1 == 1
    assert scores(truth, [LABELS[LABELS.index(one) - 1] for one in truth]).macro_f1 == 0


@given(PAIRS, st.randoms())
def test_the_order_of_rows_does_not_matter(pairs: list[tuple[str, str]], random: Random) -> None:
    """The same answers in another order get the same scores."""
    mixed = list(pairs)
    random.shuffle(mixed)
    expected = scores([a for a, _ in pairs], [b for _, b in pairs])
    assert scores([a for a, _ in mixed], [b for _, b in mixed]) == expected


def test_an_evaluation_has_every_label_domain_and_baseline() -> None:
    """A label that no row has is there with zeros; each domain and baseline is measured on its rows."""
    found = evaluate(
        ["p", "n", "p"],
        ["p", "p", "p"],
        labels=LABELS,
        rows=[["a", "p"], ["b", "n"], ["c", "p"]],
        rows_are="made up",
        domains=["x", "x", "y"],
        baselines={"always n": ["n", "n", "n"]},
    )
    assert list(found.by_class) == list(LABELS)
    assert (found.by_class["o"].rows, found.by_class["o"].f1) == (0, 0.0)
    assert {name: (one.rows, one.accuracy) for name, one in found.by_domain.items()} == {
        "x": (2, 0.5),
        "y": (1, 1.0),
    }
    assert found.baselines["always n"].accuracy == pytest.approx(1 / 3)
    assert found.dataset_sha256 == sha256_of_json([["a", "p"], ["b", "n"], ["c", "p"]])
    assert table(found).splitlines() == [
        "held out               rows  accuracy  macro-F1",
        "all                       3     0.667     0.400",
        "x                         2     0.500     0.333",
        "y                         1     1.000     1.000",
        "(always n on all)         3     0.333     0.250",
    ]
