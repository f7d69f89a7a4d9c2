"""The order of a sweep's candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from modelbuild.contract import Leaderboard, LeaderboardRow
from modelbuild.errors import TrainingFailed
from sweep_outcomes import Trained


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


@pytest.mark.parametrize(("above", "status"), [(1e-15, "succeeded"), (1e-4, "unfit")])
def test_a_constraint_is_met_at_exactly_its_limit(above: float, status: str) -> None:
    """Also where binary numbers miss the limit."""
    value = _only_row().metric
    assert value is not None
    assert _only_row(constraints=[{"metric": "macro_f1", "minimum": value + above}]).status == status


def _only_row(**options: Any) -> LeaderboardRow:
    """The row of a candidate that is right for 70 % of the rows."""
    trained = Trained(**options)
    trained.add(0.7)
    (row,) = trained.rank().rows
    return row


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
        ({"objective": {"metric": "auc"}}, [], "a metric 'auc' .* name one of accuracy, macro_f1 in"),
        ({"objective": {"metric": "f1"}}, [], "a metric 'f1' .* name one of accuracy, macro_f1 in"),
        ({"objective": {"metric": "f1"}}, ["killed"], "no candidate has a metric 'f1'"),
    ],
)
def test_a_sweep_without_a_metric_fails_with_the_reason(
    options: dict[str, Any], reasons: Sequence[str], sentence: str
) -> None:
    """The most frequent reason; or that the objective is no metric of the flow, or one of its slices only."""
    trained = Trained(**options)
    for reason in reasons:
        trained.fail(reason)
    if options:
        trained.add(0.5)
    with pytest.raises(TrainingFailed, match=sentence):
        trained.rank()
