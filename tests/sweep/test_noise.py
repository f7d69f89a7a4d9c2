"""The intervals of the best candidates, and which ones are within noise of the best."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from modelbuild.aws.failures import NotFound
from modelbuild.comparison import bootstrap, compare, predictions
from modelbuild.contract import CandidateOutcome, LeaderboardRow, Metric
from modelbuild.contract.report import Interval
from modelbuild.sweep import noise
from sweep_outcomes import ROWS, Trained


def test_metric_and_interval_are_those_of_the_predictions() -> None:
    """The metric is scikit-learn's, and the interval agrees with scipy's bootstrap of the same rows."""
    trained = Trained()
    trained.add(0.8)
    (row,) = trained.rank().rows
    table = pq.read_table(io.BytesIO(trained.predictions[1]))
    truth, predicted = (np.array(table.column(name).to_pylist()) for name in ("truth", "prediction"))
    assert row.metric == pytest.approx(f1_score(truth, predicted, average="macro"))

    def metric(rows: Any) -> float:
        return float(f1_score(truth[rows], predicted[rows], average="macro"))

    reference = stats.bootstrap(
        (np.arange(ROWS),), metric, n_resamples=500, method="percentile", vectorized=False, random_state=1
    ).confidence_interval
    assert row.low == pytest.approx(reference.low, abs=0.01)
    assert row.high == pytest.approx(reference.high, abs=0.01)


def test_candidates_that_the_rows_cannot_tell_apart_are_within_noise() -> None:
    """A candidate with a few more mistakes is within noise of the best, one with many more is not."""
    trained = Trained()
    for right in (0.9, 0.895, 0.6):
        trained.add(right)
    assert [row.within_noise for row in trained.rank().rows] == [False, True, False]


def test_few_rows_tell_no_candidates_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have no interval, and without one a candidate would be called worse."""
    for module in (compare, noise):
        monkeypatch.setattr(module, "FEW_ROWS", ROWS + 1)
    trained = Trained()
    for right in (0.9, 0.6):
        trained.add(right)
    assert [(row.low, row.within_noise) for row in trained.rank().rows] == [(None, False), (None, True)]


def test_inputs_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be larger than the head's memory, and no metric needs them."""
    found: list[str] = []
    read = predictions.read

    def watched(*arguments: Any) -> predictions.PredictionTable:
        table = read(*arguments)
        found.extend(table.table.column_names)
        return table

    monkeypatch.setattr(predictions, "read", watched)
    trained = Trained(objective={"metric": "accuracy"})
    trained.add(0.9)
    assert trained.rank().rows[0].low is not None
    assert {*found} <= {"id", "truth", "prediction", "metric:accuracy"}
    assert "input" in pq.read_table(io.BytesIO(trained.predictions[1])).column_names


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_candidate_with_unreadable_predictions_has_failed(damaged: int) -> None:
    """Of the best as of any other; the others move up, and the sweep goes on."""
    trained = Trained()
    for right in (0.9, 0.895, 0.89):
        trained.add(right)
    trained.predictions[damaged] = b"no Parquet"
    found = trained.rank()
    others = [number for number in (1, 2, 3) if number != damaged]
    assert [(row.model_id, row.rank) for row in found.rows] == [
        (f"12.{others[0]}", 1),
        (f"12.{others[1]}", 2),
        (f"12.{damaged}", None),
    ]
    assert [row.within_noise for row in found.rows] == [False, True, None]
    assert found.rows[2].status == "failed"
    assert f"12.{damaged} holds no predictions" in found.rows[2].reason


def test_predictions_that_are_not_there_are_no_defect() -> None:
    """The candidate has failed, with what S3 says."""
    trained = Trained()
    trained.add(0.9)

    def read(row: LeaderboardRow) -> bytes:
        raise NotFound(f"{row.model_id} has no predictions")

    (row,) = noise.with_intervals(trained.rank(), read).rows
    assert (row.status, row.rank, row.reason) == ("failed", None, "12.1 has no predictions")


@pytest.mark.parametrize("changed", [1, 2])
def test_a_metric_that_the_flow_computes_in_its_own_way_has_no_interval(changed: int) -> None:
    """An accuracy within a tenth of a number, or F1 of fixed labels, is not what the predictions give: the
    interval would be of another figure, and two candidates with the same one within noise of each other.
    """
    trained = Trained(objective={"metric": "accuracy"})
    for right in (0.9, 0.895):
        trained.add(right)
    outcome = trained.outcomes[changed - 1]
    assert outcome.evaluation is not None
    trained.outcomes[changed - 1] = with_accuracy(outcome, 0.93 if changed == 1 else 0.85)
    first, second = trained.rank().rows
    assert (first.low is None, second.low is None) == (changed == 1, changed == 2)
    assert not second.within_noise


def with_accuracy(outcome: CandidateOutcome, value: float) -> CandidateOutcome:
    """The outcome with another recorded accuracy."""
    assert outcome.evaluation is not None
    overall = outcome.evaluation.overall
    changed = overall.model_copy(update={"metrics": {**overall.metrics, "accuracy": value}})
    evaluation = outcome.evaluation.model_copy(update={"overall": changed})
    return outcome.model_copy(update={"evaluation": evaluation})


def test_candidates_are_not_compared_on_other_rows() -> None:
    """One whose predictions have other ids than the best one's has no interval, and is not within noise."""
    trained = Trained()
    for right in (0.9, 0.895):
        trained.add(right)
    other = Trained()
    other.add(0.9, rows=100)
    trained.predictions[2] = other.predictions[1]
    first, second = trained.rank().rows
    assert first.low is not None
    assert (second.low, second.within_noise, second.rank) == (None, None, 2)


def test_a_candidate_that_was_not_compared_with_the_best_is_not_called_worse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of one with another metric than its predictions give, and of those behind the last one that is
    compared, the rows say nothing.
    """
    monkeypatch.setattr(noise, "_COMPARED", 2)
    trained = Trained(objective={"metric": "accuracy"})
    for right in (0.9, 0.895, 0.6):
        trained.add(right)
    trained.outcomes[1] = with_accuracy(trained.outcomes[1], 0.85)
    assert [row.within_noise for row in trained.rank().rows] == [False, None, None]


def test_a_metric_whose_resamples_are_biased_has_no_interval() -> None:
    """Resamples of macro-F1 lack classes of few rows, and are all worse than the rows: the interval would not
    contain the metric.
    """
    random = np.random.default_rng(5)
    truth = random.integers(0, 300, 1_000)
    predicted = np.where(random.random(1_000) < 0.7, truth, random.integers(0, 300, 1_000))
    labels = [str(number) for number in range(300)]
    cells = compare.LabelRows(labels, truth, predicted, predicted).cells()
    metric = Metric(name="macro_f1", title="macro-F1", better="higher")
    drawn = np.asarray(compare.Sample.of(cells, [metric], 1).ours["macro_f1"])
    biased = bootstrap.interval(drawn[1:])
    assert biased is not None
    assert biased.high < drawn[0]
    assert bootstrap.interval_of_metric(float(drawn[0]), drawn[1:]) is None
    assert bootstrap.interval_of_metric(0.9, np.full(1_000, 0.9)) == Interval(low=0.9, high=0.9)
