from __future__ import annotations

from typing import Any

import pytest

import report_manifests
from modelbuild.contract.report import Comparison, Difference, GateResult
from modelbuild.notify import gates
from modelbuild.notify.verdict import decide
from modelbuild.settings.notify import Gate, Styles

ABOUT = report_manifests.model_manifest()


def check(value: float, other: float = 0.0, **limits: Any) -> GateResult:
    """The result of a gate for macro-F1 of a model beside a live one."""
    quality = ABOUT.evaluation.overall.model_copy(update={"metrics": {"macro_f1": value}})
    evaluation = ABOUT.evaluation.model_copy(update={"overall": quality})
    difference = Difference(value=value, other=other, gain=value - other)
    live = Comparison(
        role="live",
        name="sentiment 6",
        rows=quality.rows,
        primary="macro_f1",
        metrics={"macro_f1": difference},
    )
    gate = Gate.model_validate({"metric": "macro_f1", **limits})
    [found] = gates.check([gate], ABOUT.model_copy(update={"evaluation": evaluation}), live)
    return found


@pytest.mark.parametrize(
    ("value", "other", "limits"),
    [
        (0.65, 0.67, {"maximum-drop": 0.02}),
        (0.88, 0.9, {"maximum-drop": 0.02}),
        (12_345.65, 12_345.67, {"maximum-drop": 0.02}),
        (0.1 + 0.2, 0.0, {"maximum": 0.3}),
        (0.7 - 0.1, 0.0, {"minimum": 0.6}),
    ],
)
def test_a_gate_is_met_at_its_limit(value: float, other: float, limits: dict[str, float]) -> None:
    """What a person reads as the limit is the limit: binary numbers do not have it exactly."""
    assert check(value, other, **limits).passed


@pytest.mark.parametrize(
    ("value", "other", "limits", "threshold", "found"),
    [
        (0.6496, 0.67, {"maximum-drop": 0.02}, "at most 0.02 worse than live", "0.0204 worse"),
        (0.30004, 0.0, {"maximum": 0.3}, "at most 0.3", "0.30004"),
        (0.59996, 0.0, {"minimum": 0.6}, "at least 0.6", "0.59996"),
        (0.5, 0.67, {"maximum-drop": 0.02}, "at most 0.020 worse than live", "0.170 worse"),
    ],
)
def test_a_gate_that_is_not_met_shows_why(
    value: float, other: float, limits: dict[str, float], threshold: str, found: str
) -> None:
    """Two figures that are equal beside "failed" would be a riddle."""
    result = check(value, other, **limits)
    assert (result.passed, result.threshold, result.value) == (False, threshold, found)


def test_equal_models_are_not_called_better() -> None:
    """A gain of zero is none."""
    assert check(0.6, 0.6, **{"maximum-drop": 0.0}).value == "equal"
    assert check(0.6, 0.5, **{"maximum-drop": 0.0}).value == "0.100 better"


def test_a_metric_whose_gates_both_fail_is_named_once() -> None:
    """The sentence is about metrics; the table has each limit."""
    failed = [GateResult(title="RMSE", threshold=limit, value="2", passed=False) for limit in ("1", "0")]
    verdict = decide(ABOUT.evaluation, None, [], failed, Styles(), "")
    assert verdict.details[0] == "Not met: the gate for RMSE."
