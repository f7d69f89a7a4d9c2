from __future__ import annotations

from modelbuild.contract import TrainingSummary
from modelbuild.flow.training_rows.summary import NO_REASON, describe, of_rows


def test_says_what_the_model_was_fitted_on() -> None:
    """Rows, labels, evaluation texts that are among the training's, and rows that were left out."""
    found = of_rows(
        ["good", "bad", "so so"],
        ["p", "n", "p"],
        evaluation_inputs=["good", "So, so!", "new"],
        snapshot_rows=10,
        dropped={"a text without a word": 3, "another reason": 0},
    )
    assert found == TrainingSummary(
        rows=3,
        labels={"n": 1, "p": 2},
        dropped={"a text without a word": 3, NO_REASON: 1},
        exact_duplicates=1,
        near_duplicates=1,
    )


def test_more_rows_than_the_snapshot_has_are_no_loss() -> None:
    """A flow that makes several rows of one has not lost any."""
    found = of_rows(["a", "b", "c"], [], evaluation_inputs=["d"], snapshot_rows=2, dropped={})
    assert (found.labels, found.dropped) == ({}, {})


def test_log_says_what_is_unusual() -> None:
    """Rows that were left out have their reason, and duplicates a line where there are some."""
    clean = TrainingSummary(rows=1_200, exact_duplicates=0, near_duplicates=None)
    assert describe(clean) == "1,200 rows to train on."
    found = TrainingSummary(rows=3, dropped={"too long": 2}, exact_duplicates=1, near_duplicates=4)
    assert describe(found).split("\n") == [
        "3 rows to train on, 2 left out (too long).",
        "Evaluation inputs that are also in the training rows: 1 the same, 4 almost the same.",
    ]
