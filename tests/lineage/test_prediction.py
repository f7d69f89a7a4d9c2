from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.contract import Prediction, Predictions
from modelbuild.errors import ConfigurationError
from modelbuild.lineage.prediction import read_prediction

ONE = Prediction.model_validate(
    {"label": "positive", "scores": {"positive": 1.0}, "model": "sentiment", "model_id": "12"}
)


def test_an_answer_names_its_model_and_pipeline() -> None:
    """The body of an endpoint's answer leads to one model."""
    answer = Predictions(model="sentiment", model_id="12", pipeline="comments", predictions=(ONE, ONE))
    assert read_prediction(answer.to_json()) == answer


def test_one_prediction_names_its_model() -> None:
    """A prediction that was stored without the answer around it still does; its pipeline it does not know."""
    assert read_prediction(ONE.to_json()) == ONE
    assert ONE.output == {"label": "positive", "scores": {"positive": 1.0}}


@given(st.one_of(st.text(), st.just("{}"), st.just('{"model_id": "12"}'), st.just("[" * 5000)))
def test_anything_else_is_a_sentence(text: str) -> None:
    """Whatever a file holds, the error says what it should hold."""
    with pytest.raises(ConfigurationError, match="is not an answer of an endpoint"):
        read_prediction(text)
