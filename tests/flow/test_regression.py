"""Regressions: their metrics, and models of scikit-learn as they are served."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import JsonValue
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from modelbuild.errors import ConfigurationError
from modelbuild.flow import regression
from modelbuild.flow.evaluation import EvaluationRows
from modelbuild.flow.models import scikit_learn
from modelbuild.serving.inputs import RecordField, RecordInput
from modelbuild.serving.model import load
from modelbuild.serving.outputs import LabelOutput, NumberOutput

FLAT = RecordInput(
    fields=(RecordField(name="area", type="number"), RecordField(name="district", type="text"))
)


def flats(count: int = 200) -> tuple[list[Any], np.ndarray[Any, Any]]:
    """Flats, and their prices."""
    random = np.random.default_rng(3)
    records: list[Any] = [
        {"area": float(random.uniform(30, 150)), "district": str(random.choice(["north", "south"]))}
        for _ in range(count)
    ]
    return records, np.array([3 * one["area"] + 50 * (one["district"] == "north") for one in records])


def fitted(estimator: Any, truth: Any) -> Any:
    """A pipeline of the estimator over both kinds of columns."""
    columns = make_column_transformer(
        (StandardScaler(), [0]), (OneHotEncoder(handle_unknown="ignore", sparse_output=False), [1])
    )
    return make_pipeline(columns, estimator).fit(scikit_learn.matrix(flats()[0], FLAT), truth)


@pytest.mark.parametrize("estimator", [Ridge(), GradientBoostingRegressor(random_state=1)])
def test_a_regression_is_served_as_it_was_fitted(estimator: Any) -> None:
    """Each record gets the number that scikit-learn predicts, in float32; an unknown text is no category."""
    records, prices = flats()
    pipeline = fitted(estimator, prices)
    model = load(scikit_learn.files(pipeline, takes=FLAT, answers=NumberOutput(), parameters={}))
    asked = [*records[:50], {"area": 70.0, "district": "unknown"}]
    predicted = [answer["value"] for answer in model.predict_json(asked)]
    assert predicted == pytest.approx(pipeline.predict(scikit_learn.matrix(asked, FLAT)), rel=1e-4)


def test_an_estimator_of_numbers_needs_no_columns() -> None:
    """Where all fields are numbers, an estimator without a transformer of columns is served too."""
    takes = RecordInput(fields=(FLAT.fields[0], RecordField(name="rooms", type="number")))
    records: list[Any] = [{"area": float(n), "rooms": float(n % 3)} for n in range(20)]
    table = scikit_learn.matrix(records, takes)
    trees = GradientBoostingRegressor(random_state=1).fit(table, np.arange(20.0))
    model = load(scikit_learn.files(trees, takes=takes, answers=NumberOutput(), parameters={}))
    predicted = [answer["value"] for answer in model.predict_json(records)]
    assert predicted == pytest.approx(trees.predict(table), abs=1e-3)


@pytest.mark.parametrize("estimator", [LogisticRegression(), RandomForestClassifier(5, random_state=1)])
def test_a_classifier_is_served_as_it_was_fitted(estimator: Any) -> None:
    """Each record gets the label and the probabilities that scikit-learn predicts."""
    records, prices = flats()
    pipeline = fitted(estimator, np.where(prices > np.median(prices), "high", "low"))
    labels = LabelOutput(labels=tuple(estimator.classes_))
    model = load(scikit_learn.files(pipeline, takes=FLAT, answers=labels, parameters={}))
    answers = model.predict_json(records)
    table = scikit_learn.matrix(records, FLAT)
    assert [answer["label"] for answer in answers] == list(pipeline.predict(table))
    found = [[answer["scores"][label] for label in labels.labels] for answer in answers]
    expected = pipeline.predict_proba(table)
    assert np.array(found) == pytest.approx(expected, abs=1e-5)


def test_an_estimator_that_is_no_onnx_is_refused_in_a_sentence() -> None:
    """skl2onnx does not know each estimator; the sentence names it."""
    pipeline = fitted(HistGradientBoostingRegressor(max_iter=2), flats()[1])
    with pytest.raises(ConfigurationError, match="skl2onnx cannot write Pipeline as ONNX") as refusal:
        scikit_learn.files(pipeline, takes=FLAT, answers=NumberOutput(), parameters={})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"area": 1.0}, "instance 2 has no field 'district'"),
        ({"area": None, "district": "north"}, "instance 2 has null as area; send a number"),
        ({"area": float("nan"), "district": "north"}, "instance 2 has NaN as area; send a number"),
        ({"area": np.int64(70), "district": "north"}, "instance 2 has a value of type int64 as area"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(record: Any, message: str) -> None:
    """A gap in a table is a sentence with the number of its row, for the fit as for the evaluation."""
    records = [{"area": 1.0, "district": "north"}, record]
    with pytest.raises(ConfigurationError, match=message):
        scikit_learn.matrix(records, FLAT)
    pipeline = fitted(Ridge(), flats()[1])
    model = load(scikit_learn.files(pipeline, takes=FLAT, answers=NumberOutput(), parameters={}))
    with pytest.raises(ConfigurationError, match=message):
        model.predict_json(records)


@pytest.mark.parametrize("name", ["living area", "straße", "1st"])
def test_a_name_that_onnx_does_not_take_is_refused_before_the_fit(name: str) -> None:
    """Beside texts each field is an input of the graph, which is renamed there; numbers are one input."""
    record: dict[str, JsonValue] = {name: 1.0, "town": "x"}
    number, text = RecordField(name=name, type="number"), RecordField(name="town", type="text")
    takes = RecordInput(fields=(number, text))
    with pytest.raises(ConfigurationError, match="cannot be an input of an ONNX graph"):
        scikit_learn.matrix([record], takes)
    assert scikit_learn.matrix([{name: 1.0}], RecordInput(fields=(number,))).tolist() == [[1.0]]


def test_a_regression_is_measured_against_its_baselines() -> None:
    """RMSE is the primary metric, and lower is better; where the truth is one number there is no R²."""
    rows = EvaluationRows(
        ids=["a", "b", "c"], inputs=[1, 2, 3], truth=[1.0, 2.0, 6.0], description="made up",
        slices={"half": ["x", "x", "y"]},
    )  # fmt: skip
    answers = [{"value": 1.0}, {"value": 2.0}, {"value": 9.0}]
    found = regression.evaluate(rows, answers, baselines={"mean": [3.0] * 3}).evaluation
    assert (found.primary, found.metric("rmse").better) == ("rmse", "lower")
    assert found.overall.metrics == pytest.approx({"rmse": 3**0.5, "mae": 1.0, "r2": 1 - 9 / 14})
    assert found.slices["half"]["y"].metrics == {"rmse": 3.0, "mae": 3.0}
    assert found.baselines["mean"].metrics["r2"] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("truth", "baseline", "message"),
    [
        (
            ["1", "2"],
            [1.0, 2.0],
            "truth of evaluation row 'a' is of type str and must be a number: convert it",
        ),
        ([1.0, None], [1.0, 2.0], "truth of evaluation row 'b' is of type NoneType and must be a number"),
        ([True, False], [1.0, 2.0], "truth of evaluation row 'a' is of type bool and must be a number"),
        (
            [1, np.float32(2)],
            [1, "2"],
            "baseline mean of evaluation row 'b' is of type str",
        ),
    ],
)
def test_what_is_no_number_is_refused(truth: list[Any], baseline: list[Any], message: str) -> None:
    """A column of a table that was not converted, or that has gaps, is a sentence."""
    rows = EvaluationRows(ids=["a", "b"], inputs=[1, 2], truth=truth, description="made up")
    with pytest.raises(ConfigurationError, match=message):
        regression.evaluate(rows, [{"value": 1.0}] * 2, baselines={"mean": baseline})
