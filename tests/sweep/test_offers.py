"""Which candidates can be deployed, and how good the best of them is."""

from __future__ import annotations

import pytest

from modelbuild.contract import Candidate, CandidateOutcome, CandidateTask
from modelbuild.sweep import offers
from sweep_outcomes import Trained


def failure(number: int) -> CandidateOutcome:
    """The end of a candidate that failed on all training rows."""
    task = CandidateTask(candidate=Candidate(number=number, values={"rate": number}), stage="final")
    return CandidateOutcome(task=task, status="failed", reason="out of memory")


def test_the_selection_says_how_the_best_does_on_the_test_rows() -> None:
    """Its metric on rows that had no part in the choice, and how many others are within noise of it."""
    trained = Trained()
    for right in (0.9, 0.895, 0.6):
        trained.add(right)
    found = trained.rank()
    test = Trained()
    test.add(0.8)
    selection = offers.select(found, found.rows[0], test.outcomes[0], test.predictions[1])
    assert selection.model_id == "12.1"
    assert selection.metric == pytest.approx(0.8, abs=0.001)
    assert selection.validation_metric == pytest.approx(0.9, abs=0.001)
    assert selection.low is not None
    assert selection.high is not None
    assert selection.low < 0.8 < selection.high
    assert selection.within_noise == 1
    offered = offers.with_offers(found, ["12.1", "12.2"], selection)
    assert [row.model_id for row in offered.offered] == ["12.1", "12.2"]


def test_a_candidate_that_fails_on_all_rows_loses_its_rank() -> None:
    """Those that are left have the ranks from 1, by which a person chooses."""
    trained = Trained()
    for right in (0.9, 0.895, 0.89, 0.6):
        trained.add(right)
    found = offers.without_failed(
        trained.rank(), {**trained.ended(2, 3), "12.1": failure(1)}, trained.read_row
    )
    assert [(row.model_id, row.rank) for row in found.rows] == [
        ("12.2", 1),
        ("12.3", 2),
        ("12.4", 3),
        ("12.1", None),
    ]
    assert found.rows[-1].status == "failed"
    assert found.rows[-1].reason == "trained on all training rows: out of memory"


def test_what_is_within_noise_is_so_of_the_best_that_is_left() -> None:
    """After the best one failed, neither a flag nor the count is about it."""
    trained = Trained()
    for right in (1.0, 0.9, 0.895):
        trained.add(right)
    before = trained.rank()
    assert [row.within_noise for row in before.rows] == [False, False, False]
    ended = {**trained.ended(2, 3), "12.1": failure(1)}
    found = offers.without_failed(before, ended, trained.read_row)
    assert [row.within_noise for row in found.rows] == [False, True, None]
    selection = offers.select(found, found.rows[0], trained.outcomes[1], trained.predictions[2])
    assert (selection.model_id, selection.within_noise) == ("12.2", 1)


def test_a_final_evaluation_without_the_objective_is_a_failure() -> None:
    """A flow may leave a metric out on the test rows: its candidate is not offered, and no other notices."""
    trained = Trained(objective={"metric": "accuracy"})
    for right in (0.9, 0.8):
        trained.add(right)
    ended = trained.ended(1, 2)
    evaluation = ended["12.1"].evaluation
    assert evaluation is not None
    overall = evaluation.overall.model_copy(update={"metrics": {"macro_f1": 0.9}})
    poor = evaluation.model_copy(update={"overall": overall})
    ended["12.1"] = ended["12.1"].model_copy(update={"evaluation": poor})
    found = offers.without_failed(trained.rank(), ended, trained.read_row)
    assert [(row.model_id, row.rank) for row in found.rows] == [("12.2", 1), ("12.1", None)]
    assert found.rows[1].reason == "its evaluation on the test rows has no accuracy"


def test_the_interval_is_of_the_figure_that_is_recorded() -> None:
    """If the predictions give another figure on the test rows, only the flow can compute the metric."""
    trained = Trained()
    for right in (0.9, 0.8):
        trained.add(right)
    found = trained.rank()
    selection = offers.select(found, found.rows[0], trained.outcomes[0], trained.predictions[2])
    assert selection.metric == pytest.approx(0.9, abs=0.001)
    assert selection.low is None


def test_unreadable_test_predictions_have_no_interval() -> None:
    """The selection is the evaluation's metric; the page of notify says what is wrong with the file."""
    trained = Trained()
    trained.add(0.9)
    found = trained.rank()
    selection = offers.select(found, found.rows[0], trained.outcomes[0], b"no Parquet")
    assert selection.metric == pytest.approx(0.9, abs=0.001)
    assert selection.low is None
