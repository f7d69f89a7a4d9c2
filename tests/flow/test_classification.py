"""Metrics of classifiers, whatever their labels."""

from __future__ import annotations

import io
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.errors import ConfigurationError
from modelbuild.flow.classification import class_qualities, evaluate, majority, measure
from modelbuild.flow.evaluation import EvaluationRows, table

LABELS = ("n", "o", "p")
PAIRS = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=40)


def measured(truth: list[str], guesses: list[str]) -> dict[str, float]:
    """Macro-F1 and accuracy of some guesses."""
    return measure(np.array(truth), np.array(guesses))


def test_f1_by_hand() -> None:
    """Two of three positives found with one false alarm: precision, recall and F1 are 2/3."""
    found = class_qualities(["p", "p", "p", "n"], ["p", "p", "n", "p"], ["p"])["p"]
    assert found.rows == 3
    assert found.metrics == pytest.approx({"f1": 2 / 3, "precision": 2 / 3, "recall": 2 / 3})


@given(PAIRS)
def test_metrics_are_between_0_and_1(pairs: list[tuple[str, str]]) -> None:
    """Any answers get metrics from 0 to 1; all right is 1, all wrong is 0."""
    truth, guesses = [a for a, _ in pairs], [b for _, b in pairs]
    assert all(0 <= value <= 1 for value in measured(truth, guesses).values())
    assert measured(truth, truth) == {"macro_f1": 1, "accuracy": 1}
    wrong = [LABELS[LABELS.index(one) - 1] for one in truth]
    assert measured(truth, wrong) == {"macro_f1": 0, "accuracy": 0}


@given(PAIRS, st.randoms())
def test_the_order_of_rows_does_not_matter(pairs: list[tuple[str, str]], random: Random) -> None:
    """The same answers in another order get the same metrics."""
    mixed = list(pairs)
    random.shuffle(mixed)
    expected = measured([a for a, _ in pairs], [b for _, b in pairs])
    assert measured([a for a, _ in mixed], [b for _, b in mixed]) == pytest.approx(expected)


def test_an_evaluation_has_every_label_slice_and_baseline() -> None:
    """A label that no row has is there with zeros; each slice and baseline is measured on its rows; the
    prediction for each row is kept with its probabilities.
    """
    rows = EvaluationRows(
        ids=["b", "a", "c"],
        inputs=["text b", "text a", "text c"],
        truth=["p", "n", "p"],
        description="made up",
        slices={"domain": ["x", "x", "y"]},
    )
    scores = [[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], [0.0, 0.0, 1.0]]
    answers = [{"label": "p", "scores": dict(zip(LABELS, row, strict=True))} for row in scores]
    evaluated = evaluate(rows, answers, labels=LABELS, baselines={"always n": ["n", "n", "n"]})
    found = evaluated.evaluation
    assert list(found.slices["class"]) == list(LABELS)
    with pytest.raises(ConfigurationError, match="slices has a column class, which is the name of the table"):
        evaluate(replace(rows, slices={"class": ["x", "x", "y"]}), answers, labels=LABELS, baselines={})
    assert (found.slices["class"]["o"].rows, found.slices["class"]["o"].metrics["f1"]) == (0, 0.0)
    assert {name: (one.rows, one.metrics["accuracy"]) for name, one in found.slices["domain"].items()} == {
        "x": (2, 0.5),
        "y": (1, 1.0),
    }
    assert found.baselines["always n"].metrics["accuracy"] == pytest.approx(1 / 3)
    assert (found.primary, found.metric("macro_f1").better) == ("macro_f1", "higher")
    assert table(found).splitlines() == [
        "evaluation rows         rows    macro-F1    accuracy",
        "all                        3       0.400       0.667",
        "x                          2       0.333       0.500",
        "y                          1       1.000       1.000",
        "(always n on all)          3       0.250       0.333",
    ]
    assert pq.read_table(io.BytesIO(evaluated.predictions)).to_pylist()[0] == {
        "id": "a",
        "input": '"text a"',
        "truth": "n",
        "prediction": "p",
        "score:n": 0.3,
        "score:o": 0.3,
        "score:p": 0.4,
        "baseline:always n": "n",
        "slice:domain": "x",
    }


@pytest.mark.parametrize("truth", [[0, 1], ["a", None], ["a", float("nan")]])
def test_a_label_that_is_no_text_is_refused(truth: list[Any]) -> None:
    """A model answers texts, so classes with numbers are to be converted, and gaps to be left out."""
    rows = EvaluationRows(ids=["x", "y"], inputs=[1, 2], truth=truth, description="")
    answers = [{"label": "a", "scores": {"a": 1.0}}] * 2
    with pytest.raises(ConfigurationError, match=r"of type .* and must be a text: convert it"):
        evaluate(rows, answers, labels=["a"], baselines={})


def test_the_majority_is_the_same_each_time() -> None:
    """Of labels that are as frequent the first by name is the baseline."""
    assert majority(["p", "n", "p", "n", "o"], 2) == ["n", "n"]
