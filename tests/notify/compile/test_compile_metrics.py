"""Metrics that only the flow can compute, few rows, and steps that are retried."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, matthews_corrcoef

import trained
from compiled_reports import TRUTH, World, live_of
from modelbuild.contract import Metric, figure
from modelbuild.contract.report import Report
from modelbuild.flow import regression
from modelbuild.flow.evaluation import Evaluated, EvaluationRows, evaluate
from modelbuild.report.pictures import expected_pictures
from modelbuild.report.slices import slice_tables


def measured(
    right: float,
    seed: int,
    *,
    primary: str = "mcc",
    rows: int = 300,
    slices: Mapping[str, Sequence[str]] | None = None,
) -> Evaluated:
    """An evaluation by a metric that only the flow can compute, and by accuracy."""
    truth = TRUTH[:rows]
    predicted = trained.guesses(truth, right, seed)
    ids = [f"row-{number:06}" for number in range(rows)]
    return evaluate(
        EvaluationRows(ids=ids, inputs=ids, truth=truth, description="", slices=slices or {}),
        predicted,
        metrics=[
            Metric(name="mcc", title="MCC", better="higher"),
            Metric(name="accuracy", title="accuracy", better="higher"),
        ],
        primary=primary,
        measure=lambda truth, found: {
            "mcc": float(matthews_corrcoef(truth, found)),
            "accuracy": float(accuracy_score(truth, found)),
        },
        baselines={"majority": ["positive"] * rows},
    )


def report_beside_live(world: World, live: Evaluated, new: Evaluated, **options: Any) -> Report:
    """The report on a model beside a live one."""
    trained.deploy(world.lake, world.production, trained.store_model(world.lake, 1, live))
    return world.report(trained.store_model(world.lake, 2, new), **options)


@pytest.mark.parametrize("primary", ["mcc", "accuracy"])
def test_what_only_the_flow_can_compute_is_compared_without_an_interval(world: World, primary: str) -> None:
    """On the same rows the recorded values say which is better, so a gate on such a metric can be met."""
    domains = {"domain": ["tweets", "reviews"] * 150}
    options = [{"metric": "mcc", "maximum-drop": 0.5}]
    options.append({"metric": "mcc", "slice": "domain=tweets", "maximum-drop": 0.5})
    report = report_beside_live(
        world,
        measured(0.7, 1, primary=primary, slices=domains),
        measured(0.9, 2, primary=primary, slices=domains),
        gates=options,
    )
    found = live_of(report)
    assert (found.metrics["mcc"].gain > 0.1, found.metrics["mcc"].interval) == (True, None)
    assert found.metrics["accuracy"].interval is not None
    assert [gate.passed for gate in report.gates] == [True, True]
    assert report.verdict.outcome == ("not known" if primary == "mcc" else "better")
    if primary == "mcc":
        assert report.verdict.sentence.endswith("only the flow can compute MCC, so there is no interval.")
        assert report.verdict.style == "warning"
    baseline = report.compared_with("baseline")
    assert baseline is not None
    assert baseline.metrics["mcc"].interval is None


def test_what_only_the_flow_can_compute_is_not_compared_on_other_rows(world: World) -> None:
    """Recorded values are of all rows of each model, and not of those that both have."""
    report = report_beside_live(world, measured(0.7, 1, rows=250), measured(0.9, 2))
    assert report.verdict.outcome == "not comparable"
    assert "only the flow can compute MCC" in report.verdict.sentence


def predicting(truth: Sequence[Any], predicted: Sequence[Any], primary: str) -> Evaluated:
    """An evaluation of numbers by accuracy, or of a regression by its metrics."""
    ids = [f"row-{number:06}" for number in range(len(truth))]
    rows = EvaluationRows(ids=ids, inputs=[*map(str, truth)], truth=truth, description="")
    if primary != "accuracy":
        metrics, measure = regression.METRICS, regression.measure
        return evaluate(rows, predicted, metrics=metrics, primary=primary, measure=measure)
    accuracy = Metric(name="accuracy", title="accuracy", better="higher")

    def measured(truth: Any, found: Any) -> dict[str, float]:
        return {"accuracy": float(np.mean(truth == found))}

    return evaluate(rows, predicted, metrics=[accuracy], primary="accuracy", measure=measured)


def test_a_regression_of_whole_numbers_has_no_classes(world: World) -> None:
    """The metrics decide whether numbers are labels: a count that is wrong by one is no other class."""
    truth = [number % 40 for number in range(200)]
    live = predicting(truth, [number + 2 for number in truth], "rmse")
    new = predicting(truth, [number + number % 2 for number in truth], "rmse")
    report = report_beside_live(world, live, new)
    assert report.verdict.outcome == "better"
    assert (report.confusion, report.calibration) == (None, ())
    assert report.examples is not None
    assert (report.examples.gained, report.examples.differences) == (0, ())
    assert all(example.prediction != example.truth for example in report.examples.mistakes)


@pytest.mark.parametrize(("first", "second"), [(float, float), (int, float), (float, int)])
def test_labels_may_be_numbers_of_any_type(
    world: World, first: Callable[[int], Any], second: Callable[[int], Any]
) -> None:
    """1 and 1.0 are the same label, of both models and of the truth."""
    truth = [number % 3 for number in range(200)]
    live = predicting(truth, [first(number % 2) for number in truth], "accuracy")
    new = predicting(truth, [*map(second, [*truth[:-1], 0])], "accuracy")
    report = report_beside_live(world, live, new)
    assert report.verdict.outcome == "better"
    assert report.confusion is not None
    assert report.examples is not None
    assert [example.id for example in report.examples.mistakes] == ["row-000199"]
    assert (report.examples.gained, report.examples.lost) == (66, 1)


def test_a_metric_without_a_value_on_the_shared_rows_is_the_reason(world: World) -> None:
    """R² is not defined where the truth of all rows of both models is one number."""
    same, other = [5.0] * 60, [float(number) for number in range(60)]
    live = predicting([*same, *other], [number + 1 for number in (*same, *other)], "r2")
    moved = [*same, *(number + 0.5 for number in other)]
    report = report_beside_live(world, live, predicting(moved, moved, "r2"))
    assert report.verdict.sentence == (
        "Not comparable with the live model sentiment 1: R² has no value on the 60 of 120 rows that it was "
        "evaluated on as well."
    )


def test_models_on_few_rows_are_neither_better_nor_worse(world: World) -> None:
    """Neither than the live model, nor than a baseline, nor on a slice."""
    slices = {"domain": ["tweets", "reviews"] * 10}
    live, new = (measured(right, 1, primary="accuracy", rows=20, slices=slices) for right in (1.0, 0.1))
    report = report_beside_live(world, live, new)
    assert (report.verdict.outcome, report.verdict.style) == ("not known", "warning")
    assert "fewer than 30 rows are too few to compare, so there is no interval" in report.verdict.sentence
    assert not any("Worse" in detail for detail in report.verdict.details)
    assert {one.outcome for one in report.comparisons} == {"not known"}
    assert {one.outcome for one in live_of(report).slices["domain"].values()} == {"not known"}


def test_slices_of_few_rows_are_not_called_worse(world: World) -> None:
    """Of forty shops with one row each, a sentence would name some by chance."""
    shops = {"shop": [f"shop {number}" if number < 40 else "other" for number in range(300)]}
    report = report_beside_live(
        world,
        measured(0.9, 1, primary="accuracy", slices=shops),
        measured(0.6, 2, primary="accuracy", slices=shops),
    )
    assert "Worse than live on shop other." in report.verdict.details


def test_a_table_of_slices_begins_with_the_primary_metric(world: World) -> None:
    """The gain beside its first column is by the metric of that column, as are the bars."""
    domains = {"domain": ["tweets", "reviews"] * 150}
    report = report_beside_live(
        world,
        measured(0.7, 1, primary="accuracy", slices=domains),
        measured(0.9, 2, primary="accuracy", slices=domains),
    )
    [table] = slice_tables(report)
    assert [metric.name for metric in table.metrics] == ["accuracy", "mcc"]
    compared = live_of(report).slices["domain"]
    for row in table.rows:
        assert row.delta is not None
        assert row.values[0] == figure(compared[row.name].value)
        quality = report.manifest.evaluation.slices["domain"][row.name]
        assert compared[row.name].value == pytest.approx(quality.metrics["accuracy"])
    assert expected_pictures(report)[0].title == "accuracy by domain"


def test_a_column_of_the_flows_own_may_be_named_class(world: World) -> None:
    """Its slices are compared as those of any column: labels have no part in them."""
    cars = {"class": ["suv", "van"] * 150}
    report = report_beside_live(
        world,
        measured(0.9, 1, primary="accuracy", slices=cars),
        measured(0.9, 1, primary="accuracy", slices=cars),
        gates=[{"metric": "accuracy", "slice": "class=suv", "maximum-drop": 0.1}],
    )
    assert report.gates[0].passed
    assert live_of(report).slices["class"].keys() == {"suv", "van"}


def test_after_corrections_of_labels_the_examples_are_of_the_same_truth(world: World) -> None:
    """Two models that answer alike differ on no row, though some labels were corrected in between."""
    answers = trained.guesses(TRUTH, 0.8, 1)
    right = [place for place, answer in enumerate(answers) if answer == TRUTH[place]][:40]
    others = {label: next(one for one in trained.LABELS if one != label) for label in trained.LABELS}
    corrected = [others[label] if place in right else label for place, label in enumerate(TRUTH)]
    report = report_beside_live(
        world, trained.evaluated(TRUTH, answers), trained.evaluated(corrected, answers)
    )
    assert live_of(report).rows == 1_460
    assert report.examples is not None
    assert (report.examples.gained, report.examples.lost, report.examples.differences) == (0, 0, ())


def test_a_retried_step_shows_no_later_models(world: World) -> None:
    """What is earlier does not change by what was trained since."""
    world.trained(1, 0.7)
    manifest = world.trained(2, 0.8)
    world.trained(3, 0.9)
    report = world.report(manifest)
    assert [point.model_id for point in report.trend] == ["1", "2"]
    best = report.compared_with("best")
    assert best is not None
    assert best.model_id == "1"


def test_a_step_that_is_retried_after_the_deployment_says_that_the_model_is_live(world: World) -> None:
    """Without that, a person would take the comparison for one with another model."""
    manifest = world.deployed(2, 0.8)
    report = world.report(manifest, gates=[{"metric": "macro_f1", "maximum-drop": 0.0}])
    assert report.verdict.outcome == "no difference"
    assert report.verdict.sentence.endswith(
        ", the endpoint serves this model already, so it is compared with itself."
    )
    assert report.gates[0].passed
