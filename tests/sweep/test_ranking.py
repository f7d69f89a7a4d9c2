"""The order of a sweep's candidates, and what the page says of the best one."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats
from sklearn.metrics import f1_score

import samples
from modelbuild.contract import (
    Candidate,
    CandidateOutcome,
    CandidateTask,
    Leaderboard,
    LeaderboardRow,
    Sweep,
)
from modelbuild.errors import TrainingFailed
from modelbuild.flow import classification
from modelbuild.flow.evaluation import EvaluationRows
from modelbuild.sweep import ranking
from modelbuild.sweep.importance import importance

ROWS = 400
TRUTH = [("bad", "good")[number % 2] for number in range(ROWS)]


class Trained:
    """Candidates that answer a share of the rows rightly, and what they answered."""

    def __init__(self, **options: Any) -> None:
        space = {"rate": [1, 2, 3], "kind": ["a", "b"]}
        values = {"method": "random", "space": space, "candidates": 99, **options}
        sweep = Sweep.model_validate_json(json.dumps(values))
        self.request = samples.request_for(
            "s3://bucket/models/shop/mail/12",
            parameters={"rate": 1, "kind": "a"},
            build=samples.build(12, "shop"),
            model="mail",
            sweep=sweep,
        )
        self.outcomes: list[CandidateOutcome] = []
        self._predictions: dict[int, bytes] = {}

    def add(self, right: float, rung: int = 0, size: int = 1000, rows: int = ROWS, **values: Any) -> None:
        """A candidate that is right for this share of the rows."""
        number = len(self.outcomes) + 1
        chance = np.random.default_rng(number)
        wrong = set(chance.permutation(rows)[round(rows * right) :].tolist())
        labels = [
            ("good" if label == "bad" else "bad") if at in wrong else label
            for at, label in enumerate(TRUTH[:rows])
        ]
        evaluated = classification.evaluate(
            EvaluationRows(
                ids=[f"{at:04}" for at in range(rows)],
                inputs=[f"text {at}" for at in range(rows)],
                truth=TRUTH[:rows],
                description="",
                slices={"half": [str(at % 2) for at in range(rows)]},
            ),
            [{"label": label, "scores": {"bad": 0.5, "good": 0.5}} for label in labels],
            labels=("bad", "good"),
            baselines={},
        )
        task = self._task(number, rung, values)
        self._predictions[number] = evaluated.predictions
        self.outcomes.append(
            CandidateOutcome(
                task=task,
                status="succeeded",
                evaluation=evaluated.evaluation,
                model_bytes=size,
                latency_seconds=0.001 * number,
                seconds=float(number),
            )
        )

    def fail(self, reason: str) -> None:
        """A candidate that failed."""
        task = self._task(len(self.outcomes) + 1, 0, {})
        self.outcomes.append(CandidateOutcome(task=task, status="failed", reason=reason))

    def _task(self, number: int, rung: int, values: dict[str, Any]) -> CandidateTask:
        candidate = Candidate(number=number, values=values or {"rate": number})
        return CandidateTask(candidate=candidate, stage="search", rung=rung)

    def read(self, outcome: CandidateOutcome) -> bytes:
        """What a candidate answered."""
        return self._predictions[outcome.task.candidate.number]

    def rank(self) -> Leaderboard:
        """The leaderboard."""
        return ranking.rank(self.request, self.outcomes, self.read, lambda outcome: outcome.seconds / 100)


def ids(leaderboard: Leaderboard, status: str = "succeeded") -> list[str]:
    """The ids of the rows with a status."""
    return [row.model_id for row in leaderboard.rows if row.status == status]


def test_the_best_comes_first_and_equal_ones_by_number() -> None:
    """Rows of candidates that can be chosen are ranked from 1; the others follow without a rank."""
    trained = Trained()
    for right in (0.7, 0.9, 0.8):
        trained.add(right)
    trained.fail("it diverged")
    trained.add(0.6, rung=1)
    found = trained.rank()
    assert ids(found) == ["12.2", "12.3", "12.1"]
    assert [row.rank for row in found.rows] == [1, 2, 3, None, None]
    assert (ids(found, "failed"), ids(found, "stopped")) == (["12.4"], ["12.5"])
    assert found.rows[3].reason == "it diverged"


def test_metric_and_interval_are_those_of_the_predictions() -> None:
    """The metric is scikit-learn's, and the interval agrees with scipy's bootstrap of the same rows."""
    trained = Trained()
    trained.add(0.8)
    (row,) = trained.rank().rows
    table = pq.read_table(io.BytesIO(trained.read(trained.outcomes[0])))
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
    assert [row.within_noise for row in trained.rank().rows] == [True, True, False]


@pytest.mark.parametrize(
    ("constraint", "reason"),
    [
        ({"metric": "model_bytes", "maximum": 2000}, "model_bytes is 5,000.000, above 2,000.000"),
        ({"metric": "latency_seconds", "maximum": 0.0015}, "latency_seconds is 0.002, above 0.002"),
        ({"metric": "macro_f1", "slice": "half=0", "minimum": 0.99}, "macro_f1 of half=0 is"),
        ({"metric": "nonsense", "minimum": 0}, "it has no nonsense"),
    ],
)
def test_a_candidate_that_breaks_a_constraint_has_no_rank(constraint: dict[str, Any], reason: str) -> None:
    """However good it is; the row says why."""
    trained = Trained(constraints=[constraint])
    trained.add(1.0) if constraint["metric"] != "nonsense" else trained.fail("x")
    trained.add(0.9, size=5000)
    found = trained.rank()
    (row,) = [one for one in found.rows if one.status == "unfit"]
    assert (row.model_id, row.rank) == ("12.2", None)
    assert row.reason.startswith(reason)


def test_a_candidate_on_other_rows_is_not_ranked() -> None:
    """Metrics of different rows are not compared."""
    trained = Trained()
    trained.add(0.7)
    trained.add(0.99, rows=100)
    found = trained.rank()
    assert ids(found) == ["12.1"]
    assert "other rows" in found.rows[1].reason


def test_less_is_better_where_the_sweep_says_so() -> None:
    """The direction of the objective may be turned."""
    trained = Trained(objective={"metric": "accuracy", "direction": "minimize"})
    for right in (0.7, 0.9, 0.8):
        trained.add(right)
    found = trained.rank()
    assert ids(found) == ["12.1", "12.3", "12.2"]
    assert not found.higher_is_better


@pytest.mark.parametrize(
    ("options", "reasons", "sentence"),
    [
        (
            {},
            ["it diverged", "killed", "it diverged"],
            "all 3 candidates failed, 2 of them because: it",
        ),
        ({"objective": {"metric": "auc"}}, [], "no candidate has a metric 'auc'"),
    ],
)
def test_a_sweep_without_a_metric_fails_with_the_reason(
    options: dict[str, Any], reasons: Sequence[str], sentence: str
) -> None:
    """The most frequent reason, or that the objective is no metric of the flow."""
    trained = Trained(**options)
    for reason in reasons:
        trained.fail(reason)
    if not reasons:
        trained.add(0.5)
    with pytest.raises(TrainingFailed, match=sentence):
        trained.rank()


def test_the_parameter_that_decides_is_the_important_one() -> None:
    """Of a parameter that changes the metric and one that does not, the first explains nearly all."""
    trained = Trained()
    for number in range(24):
        trained.add(0.6 + 0.1 * (number % 3), rate=number % 3, kind="ab"[number % 2])
    found = trained.rank().importance
    assert list(found) == ["rate", "kind"]
    assert found["rate"] > 0.9
    assert sum(found.values()) == pytest.approx(1, abs=0.001)


@pytest.mark.parametrize(
    ("rates", "scale"),
    [
        ([1e40, 1e50, 1e60], 1.0),
        ([1e-60, 1e-50, 1e-40], 1.0),
        ([10**400, 2, 3], 1.0),
        ([1, 2, 3], 8e307),
        ([1, 2, 3], 1e-300),
    ],
)
def test_importance_holds_for_any_number(rates: Sequence[float], scale: float) -> None:
    """Neither a parameter nor a metric beyond float32 ends a sweep, or has no importance."""
    rows = [
        LeaderboardRow(
            model_id=f"12.{number + 1}",
            values={"rate": rates[number % 3], "kind": "ab"[number % 2]},
            status="succeeded",
            metric=scale * (number % 3),
        )
        for number in range(24)
    ]
    assert importance(rows)["rate"] > 0.9


def test_the_selection_says_how_the_best_does_on_the_test_rows() -> None:
    """Its metric on rows that had no part in the choice, and how many others are within noise of it."""
    trained = Trained()
    for right in (0.9, 0.895, 0.6):
        trained.add(right)
    found = trained.rank()
    test = Trained()
    test.add(0.8)
    selection = ranking.select(found, found.rows[0], test.outcomes[0], test.read(test.outcomes[0]))
    assert selection.model_id == "12.1"
    assert selection.metric == pytest.approx(0.8, abs=0.001)
    assert selection.validation_metric == pytest.approx(0.9, abs=0.001)
    assert selection.low is not None
    assert selection.high is not None
    assert selection.low < 0.8 < selection.high
    assert selection.within_noise == 1
    offered = ranking.with_offers(found, ["12.1", "12.2"], selection)
    assert [row.model_id for row in offered.offered] == ["12.1", "12.2"]


def test_a_candidate_that_fails_on_all_rows_loses_its_rank() -> None:
    """Those that are offered have the ranks from 1, by which a person chooses."""
    trained = Trained()
    for right in (0.9, 0.895, 0.89, 0.6):
        trained.add(right)
    found = trained.rank()
    offered = ranking.with_offers(found, ["12.2", "12.3"], None, {"12.1": "out of memory"})
    assert [(row.model_id, row.rank, row.offered) for row in offered.rows] == [
        ("12.2", 1, True),
        ("12.3", 2, True),
        ("12.4", 3, False),
        ("12.1", None, False),
    ]
    assert not offered.rows[0].within_noise
    assert (offered.rows[-1].status, offered.rows[-1].reason) == ("failed", "out of memory")


def test_the_table_has_a_row_for_each_candidate() -> None:
    """A program that computes with the leaderboard finds parameters and metrics in columns of their own."""
    trained = Trained()
    trained.add(0.9, rate=0.5)
    trained.fail("it diverged")
    found = pq.read_table(io.BytesIO(ranking.table(trained.rank()))).to_pylist()
    assert [row["model_id"] for row in found] == ["12.1", "12.2"]
    assert (found[0]["parameter:rate"], found[0]["metric:macro_f1"]) == ("0.5", found[0]["metric"])
    assert (found[1]["status"], found[1]["reason"], found[1]["metric"]) == ("failed", "it diverged", None)
