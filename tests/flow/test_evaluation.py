"""Evaluations of any task, and the predictions that are kept of them."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from modelbuild.contract import Evaluation, Metric, Quality
from modelbuild.errors import ConfigurationError
from modelbuild.flow import evaluation
from modelbuild.flow.evaluation import EvaluationRows, RowMetric, evaluate

ROWS = EvaluationRows(
    ids=["a", "b"], inputs=[{"rooms": 2}, {"rooms": 3}], truth=[100.0, 200.0], description="sold last year"
)
METRICS = (
    Metric(name="rmse", title="RMSE", better="lower"),
    Metric(name="bias", title="bias", better="lower"),
)


def measure(truth: Any, predicted: Any) -> dict[str, float]:
    """Errors of numbers."""
    return {
        "rmse": float(np.sqrt(np.mean((truth - predicted) ** 2))),
        "bias": float(np.mean(predicted - truth)),
    }


def test_a_regression_fits_into_the_contract() -> None:
    """Numbers are compared by errors, of which the lower one is the better one; records are inputs."""
    mean = {"mean": [150.0, 150.0]}
    evaluated = evaluate(
        ROWS, [110.0, 190.0], metrics=METRICS, primary="rmse", measure=measure, baselines=mean
    )
    found = evaluated.evaluation
    assert found.overall.metrics == {"rmse": 10.0, "bias": 0.0}
    rmse = found.metric(found.primary)
    assert rmse.gain(found.overall.metrics["rmse"], found.baselines["mean"].metrics["rmse"]) == 40.0
    assert Evaluation.model_validate_json(found.to_json()) == found
    predictions = pq.read_table(io.BytesIO(evaluated.predictions)).to_pylist()
    assert predictions == [
        {"id": "a", "input": '{"rooms": 2}', "truth": 100.0, "prediction": 110.0, "baseline:mean": 150.0},
        {"id": "b", "input": '{"rooms": 3}', "truth": 200.0, "prediction": 190.0, "baseline:mean": 150.0},
    ]


def test_a_metric_of_rows_is_their_mean_and_its_values_are_kept() -> None:
    """On all rows, on each slice and of each baseline; a baseline without values has no such metric."""
    cost = RowMetric(Metric(name="cost", title="cost", better="lower"), [1.0, 4.0], {"mean": [2.0, 2.0]})
    rows = replace(ROWS, slices={"town": ["X", "Y"]})
    evaluated = evaluate(
        rows,
        [110.0, 190.0],
        metrics=METRICS,
        primary="cost",
        measure=measure,
        baselines={"mean": [150.0, 150.0]},
        row_metrics=[cost],
    )
    found = evaluated.evaluation
    assert found.metric("cost") == cost.metric
    assert found.overall.metrics["cost"] == 2.5
    assert found.slices["town"]["Y"].metrics["cost"] == 4.0
    assert found.baselines["mean"].metrics["cost"] == 2.0
    kept = pq.read_table(io.BytesIO(evaluated.predictions)).to_pydict()
    assert (kept["metric:cost"], kept["metric:cost:mean"]) == ([1.0, 4.0], [2.0, 2.0])
    with pytest.raises(ConfigurationError, match="metric:cost has 1 elements"):
        evaluate(
            ROWS,
            [110.0, 190.0],
            metrics=METRICS,
            primary="rmse",
            measure=measure,
            row_metrics=[RowMetric(cost.metric, [1.0])],
        )


def test_a_baseline_without_the_primary_metric_is_refused() -> None:
    """A primary metric that is a mean over the rows needs the values of each baseline."""
    cost = RowMetric(Metric(name="cost", title="cost", better="lower"), [1.0, 4.0])
    with pytest.raises(
        ConfigurationError, match=r"baseline mean has no finite number for .* metric cost: .*RowMetric"
    ):
        evaluate(
            ROWS,
            [110.0, 190.0],
            metrics=METRICS,
            primary="cost",
            measure=measure,
            baselines={"mean": [150.0, 150.0]},
            row_metrics=[cost],
        )


def test_a_column_of_too_many_slices_costs_those_with_the_fewest_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A column of ids would make a manifest as large as the rows; a training does not fail for it."""
    monkeypatch.setattr(evaluation, "SLICES", 2)
    rows = EvaluationRows(
        ids=list("abcde"),
        inputs=list("abcde"),
        truth=[1.0] * 5,
        description="",
        slices={"shop": ["b", "c", "a", "c", "b"]},
    )
    found = evaluate(rows, [1.0] * 5, metrics=METRICS, primary="rmse", measure=measure).evaluation
    assert {value: quality.rows for value, quality in found.slices["shop"].items()} == {"b": 2, "c": 2}
    assert "column shop divides the evaluation rows into 3 slices, of which the 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"metrics": METRICS[:1]},
            r"the evaluation is not valid \(.*metric bias of all rows is not described",
        ),
        (
            {"measure": lambda *_: {"rmse": None}},
            "measure returns None for metric rmse: let it return a number",
        ),
        ({"baselines": {"mean": ["150", "150"]}}, "baseline mean has texts, and truth has numbers"),
        ({"predicted": [[110.0], [190.0]]}, "predicted of evaluation row 'a' is of type list"),
        (
            {"row_metrics": [RowMetric(METRICS[1], [1.0, 2.0], {"maen": [1.0, 2.0]})]},
            r"metric bias has values of baseline 'maen', which is not among the baselines \(none\)",
        ),
        ({"row_metrics": [RowMetric(METRICS[1], ["one", "two"])]}, "a value of metric bias is no number"),
    ],
)
def test_a_mistake_in_the_arguments_is_a_sentence(changes: dict[str, Any], message: str) -> None:
    """What no page could show is refused where the flow's author reads it, and not by notify."""
    values = {"predicted": [110.0, 190.0], "metrics": METRICS, "primary": "rmse", "measure": measure}
    with pytest.raises(ConfigurationError, match=message):
        evaluate(ROWS, **{**values, **changes})


def test_texts_and_numbers_may_be_objects_of_pandas() -> None:
    """A column of a data frame has Python's objects; whole numbers and others are of one kind."""
    texts = np.array(["x", "y"], dtype=object)
    ids: Any = [1, 2]
    found = evaluate(
        replace(ROWS, ids=ids, truth=texts),
        ["x", "y"],
        metrics=METRICS[:1],
        primary="rmse",
        measure=lambda truth, predicted: {"rmse": np.float32((truth != predicted).sum())},
        baselines={"constant": texts},
    )
    assert found.evaluation.overall.metrics == {"rmse": 0.0}
    evaluate(replace(ROWS, truth=[1, 2]), [1.5, 2.5], metrics=METRICS, primary="rmse", measure=measure)


def test_the_hash_is_that_of_the_rows() -> None:
    """Another input, truth or row is another evaluation; their order is not, nor what divides them."""
    digest = ROWS.sha256()
    turned = EvaluationRows(
        ids=["b", "a"],
        inputs=[{"rooms": 3}, {"rooms": 2}],
        truth=[200.0, 100.0],
        description="x",
        slices={"s": ["1", "2"]},
    )
    assert turned.sha256() == digest
    for changes in ({"truth": [100.0, 201.0]}, {"inputs": [{"rooms": 2}, {"rooms": 4}]}, {"ids": ["a", "c"]}):
        assert replace(ROWS, **changes).sha256() != digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": [], "inputs": [], "truth": []}, "there are no evaluation rows"),
        ({"ids": ["a", "a"]}, "two evaluation rows have the id 'a'"),
        ({"truth": [1.0]}, "are 2 evaluation rows, but truth has 1 elements"),
        ({"slices": {"domain": ["x"]}}, "are 2 evaluation rows, but domain has 1 elements"),
        ({"ids": np.array([1, 2])}, "the id .*1.* of an evaluation row is of type int64: make all ids texts"),
        ({"ids": [1, "1"]}, "the id 1 of an evaluation row is of type int: make all ids texts"),
        ({"inputs": ["x", {"area": np.float32(1)}]}, r"evaluation row 'b' is no JSON \(.*float32"),
        (
            {"inputs": ["x", {"area": float("nan")}]},
            r"evaluation row 'b' is no JSON \(.*: convert its id, in",
        ),
        ({"truth": [1.0, None]}, "truth of evaluation row 'b' is of type NoneType, and truth must have only"),
        ({"truth": [[1.0], [2.0]]}, "truth of evaluation row 'a' is of type list, and truth must have only"),
        ({"truth": [[1.0], [2.0, 3.0]]}, "truth of evaluation row 'a' is of type list"),
        ({"truth": ["x", "y"]}, "predicted has numbers, and truth has texts: convert one of the two"),
    ],
)
def test_rows_that_nothing_can_be_measured_on_are_refused(changes: dict[str, Any], message: str) -> None:
    """A mistake in a flow is a sentence, before anything is measured."""
    with pytest.raises(ConfigurationError, match=message):
        evaluate(replace(ROWS, **changes), [1.0, 2.0], metrics=METRICS, primary="rmse", measure=measure)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"primary": "mae"}, "lacks the primary metric mae"),
        ({"metrics": METRICS[:1]}, "metric bias of all rows is not described"),
        ({"metrics": (*METRICS, METRICS[0])}, "a metric is described twice"),
        (
            {"baselines": {"mean": Quality(rows=1, metrics={"bias": 1.0})}},
            "mean lacks the primary metric rmse",
        ),
        ({"slices": {"s": {"x": Quality(rows=1, metrics={"r2": 1.0})}}}, "metric r2 of s x is not described"),
    ],
)
def test_metrics_are_described_and_one_decides(changes: dict[str, Any], message: str) -> None:
    """What a page shows has a title and a direction, and every comparison has the primary metric."""
    values: dict[str, Any] = {
        "dataset_sha256": "1" * 64,
        "metrics": METRICS,
        "primary": "rmse",
        "overall": Quality(rows=2, metrics={"rmse": 1.0, "bias": 0.0}),
    }
    with pytest.raises(ValidationError, match=message):
        Evaluation(**{**values, **changes})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_is_no_number_is_refused(value: float) -> None:
    """A training that diverged has no quality, and JSON has no such numbers."""
    with pytest.raises(ValidationError, match="which is no finite number"):
        Quality(rows=1, metrics={"rmse": value})
