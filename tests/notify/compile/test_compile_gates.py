"""Which gates a model meets."""

from __future__ import annotations

from typing import Any

import pytest

import trained
from compiled_reports import World, live_of
from modelbuild.notify import gates
from modelbuild.settings.notify import Gate


@pytest.mark.parametrize(
    ("gate", "value", "passed"),
    [
        ({"metric": "macro_f1", "minimum": 0.5}, "0.8", True),
        ({"metric": "macro_f1", "minimum": 0.99}, "0.8", False),
        ({"metric": "f1", "slice": "class=neutral", "minimum": 0.5}, "0.", True),
        ({"metric": "f1", "slice": "class=sarcastic", "minimum": 0.5}, "the evaluation lacks it", False),
        ({"metric": "macro_f1", "maximum-drop": 0.5}, "worse", True),
        ({"metric": "macro_f1", "maximum-drop": 0.01}, "worse", False),
        ({"metric": "f1", "slice": "class=neutral", "maximum-drop": 0.01}, "worse", False),
        ({"metric": "model_bytes", "maximum": 10}, "bytes", False),
        ({"metric": "latency_seconds", "maximum": 0.01}, "2.00 ms", True),
        ({"metric": "latency_seconds", "maximum": 0.001}, "2.00 ms", False),
    ],
)
def test_gates_are_checked(world: World, gate: dict[str, Any], value: str, passed: bool) -> None:
    """A gate shows its threshold and what was found; one that is not met is in the verdict."""
    world.deployed(1, 0.95)
    golden = [{"input": "a", "output": {}, "seconds": seconds} for seconds in (0.001, 0.002, 0.9)]
    report = world.report(world.trained(2, 0.85, golden=golden), gates=[gate])
    [result] = report.gates
    assert value in result.value
    assert result.passed is passed
    assert any(detail.startswith("Not met: the gate for") for detail in report.verdict.details) is not passed
    assert report.verdict.style == "error"


@pytest.mark.parametrize(
    ("gate", "value", "passed"),
    [
        ({"metric": "macro_f1", "slice": "domain=tweets"}, "better", True),
        ({"metric": "accuracy", "slice": "domain=tweets"}, "0.080 worse", False),
        ({"metric": "accuracy", "slice": "domain=reviews"}, "equal", True),
        ({"metric": "precision", "slice": "class=positive"}, "better", True),
        ({"metric": "recall", "slice": "class=positive"}, "worse", False),
        ({"metric": "brier", "slice": "domain=tweets"}, "not comparable: the evaluation lacks it", False),
        ({"metric": "accuracy", "slice": "domain=news"}, "not comparable: the evaluation lacks it", False),
    ],
)
def test_a_drop_in_a_slice_is_by_the_metric_of_the_gate(
    world: World, gate: dict[str, Any], value: str, passed: bool
) -> None:
    """On the same rows one metric may fall while another, which the tables of slices show, rises."""
    reviews, tweets = list(trained.LABELS), ["positive"] * 90 + ["neutral"] * 5 + ["negative"] * 5
    domains = ["reviews"] * len(reviews) + ["tweets"] * len(tweets)
    always_positive = [*reviews, *(["positive"] * len(tweets))]
    wrong_about_positive = [*reviews, *(["neutral"] * 18), *tweets[18:]]
    for number, predicted in ((1, always_positive), (2, wrong_about_positive)):
        found = trained.evaluated([*reviews, *tweets], predicted, domains=domains)
        manifest = trained.store_model(world.lake, number, found)
        if number == 1:
            trained.deploy(world.lake, world.production, manifest)
    [result] = world.report(manifest, gates=[{**gate, "maximum-drop": 0.02}]).gates
    assert value in result.value
    assert result.passed is passed


@pytest.mark.parametrize("reason", ["", "on the 300 rows that both have"])
def test_a_comparison_without_slices_lacks_the_slice_of_a_gate(world: World, reason: str) -> None:
    """Neither an empty text nor which rows were compared explains why a slice is not comparable."""
    world.deployed(1, 0.9)
    manifest = world.trained(2, 0.9)
    live = live_of(world.report(manifest))
    assert live.metrics
    live = live.model_copy(update={"slices": {}, "slices_by_metric": {}, "reason": reason})
    gate = Gate.model_validate({"metric": "f1", "slice": "class=neutral", "maximum-drop": 0.0})
    [result] = gates.check([gate], manifest, live)
    lacks = "not comparable: the live model has no figure of it for these rows"
    assert (result.value, result.passed) == (lacks, False)


def test_a_slice_of_few_rows_among_many_slices_has_that_reason(world: World) -> None:
    """Of a column, the values with the most rows are compared; the others are no fault of the live model."""
    truth = trained.truth_of(300)
    domains = ["small", *(f"shop {number % 50:02}" for number in range(299))]
    for number in (1, 2):
        found = trained.evaluated(truth, trained.guesses(truth, 0.8, number), domains=domains)
        manifest = trained.store_model(world.lake, number, found)
        if number == 1:
            trained.deploy(world.lake, world.production, manifest)
    gate = {"metric": "macro_f1", "slice": "domain=small", "maximum-drop": 1}
    [result] = world.report(manifest, gates=[gate]).gates
    assert result.value == "not comparable: only the 50 values of domain with the most rows are compared"


def test_a_drop_in_a_slice_of_models_that_are_not_comparable_has_their_reason(world: World) -> None:
    """Where no rows could be compared, the gate says why."""
    world.deployed(1, 0.9)
    manifest = world.trained(2, 0.9)
    live = live_of(world.report(manifest)).model_copy(
        update={"metrics": {}, "slices": {}, "slices_by_metric": {}, "rows": 0, "reason": "other rows"}
    )
    gate = Gate.model_validate({"metric": "f1", "slice": "class=neutral", "maximum-drop": 0.0})
    [result] = gates.check([gate], manifest, live)
    assert (result.value, result.passed) == ("not comparable: other rows", False)


def test_a_drop_is_allowed_where_no_model_is_live(world: World) -> None:
    """An endpoint can have a first model; a model on other rows cannot show that it is no worse."""
    gate = {"metric": "macro_f1", "maximum-drop": 0.0}
    assert world.report(world.trained(1, 0.8), gates=[gate]).gates[0].passed
    world.deployed(2, 0.8)
    truth = trained.truth_of(500, seed=5)
    other = trained.evaluated(truth, trained.guesses(truth, 0.9, 3), first=10_000)
    [result] = world.report(trained.store_model(world.lake, 3, other), gates=[gate]).gates
    assert not result.passed
    assert result.value.startswith("not comparable: ")


@pytest.mark.parametrize(("shared", "passed"), [(29, False), (30, True)])
def test_a_few_rows_of_both_models_do_not_meet_a_gate(world: World, shared: int, passed: bool) -> None:
    """Of thousands of new rows and a few old ones, the old ones show no drop: as little as no row would."""
    truth = trained.truth_of(500)
    live = trained.evaluated(truth[:shared], truth[:shared])
    trained.deploy(world.lake, world.production, trained.store_model(world.lake, 1, live))
    new = trained.store_model(world.lake, 2, trained.evaluated(truth, truth))
    [result] = world.report(new, gates=[{"metric": "macro_f1", "maximum-drop": 0.0}]).gates
    few = "not comparable: only 29 of 500 rows are those of both models"
    assert (result.value, result.passed) == ("equal" if passed else few, passed)


@pytest.mark.parametrize("metric", ["accuracy", "f1"])
@pytest.mark.parametrize(("shared", "passed"), [(1, False), (29, False), (30, True)])
def test_a_few_rows_of_a_slice_do_not_meet_its_gate(
    world: World, metric: str, shared: int, passed: bool
) -> None:
    """The rows that both models have may be many, and those of a slice among them one."""
    truth = ["positive"] * shared + ["neutral"] * 200 + ["positive"] * 200
    domains = ["tweets" if label == "positive" else "reviews" for label in truth]
    old = shared + 200
    live = trained.evaluated(truth[:old], truth[:old], domains=domains[:old])
    trained.deploy(world.lake, world.production, trained.store_model(world.lake, 1, live))
    new = trained.store_model(world.lake, 2, trained.evaluated(truth, truth, domains=domains))
    part = {"accuracy": "domain=tweets", "f1": "class=positive"}[metric]
    [result] = world.report(new, gates=[{"metric": metric, "slice": part, "maximum-drop": 0.0}]).gates
    few = f"not comparable: fewer than 30 of its {200 + shared} rows are those of both models"
    assert (result.value, result.passed) == ("equal" if passed else few, passed)
