"""How much each parameter of a sweep explains."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from modelbuild.contract import LeaderboardRow
from modelbuild.sweep.importance import importance
from sweep_outcomes import Trained


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


def test_the_parameter_that_decides_is_the_important_one() -> None:
    """Of a parameter that changes the metric and one that does not, the first explains nearly all."""
    trained = Trained()
    for number in range(24):
        trained.add(0.6 + 0.1 * (number % 3), rate=number % 3, kind="ab"[number % 2])
    found = trained.rank().importance
    assert list(found) == ["rate", "kind"]
    assert found["rate"] > 0.9
    assert sum(found.values()) == pytest.approx(1, abs=0.001)
