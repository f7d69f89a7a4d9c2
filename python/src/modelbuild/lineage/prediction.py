"""Reads which model made a prediction."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from modelbuild.contract import Prediction, Predictions
from modelbuild.errors import ConfigurationError

_ANSWER: TypeAdapter[Prediction | Predictions] = TypeAdapter(Predictions | Prediction)


def read_prediction(text: str) -> Prediction | Predictions:
    """An endpoint's answer, or one prediction of it, with the model that made it.

    Raises:
        ConfigurationError: ``text`` is neither.
    """
    try:
        return _ANSWER.validate_json(text)
    except ValidationError as error:
        raise ConfigurationError(
            f"{text[:60]!r} is not an answer of an endpoint: give the JSON it answered, with its model_id"
        ) from error
