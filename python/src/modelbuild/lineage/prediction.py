"""Which model made a prediction."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from modelbuild.contract import Prediction, Predictions
from modelbuild.errors import ConfigurationError

_ANSWER: TypeAdapter[Prediction | Predictions] = TypeAdapter(Predictions | Prediction)


def read_prediction(text: str) -> Prediction | Predictions:
    """An answer of an endpoint, or one prediction of it, which says by which model it was made.

    Raises:
        ConfigurationError: ``text`` is neither.
    """
    try:
        return _ANSWER.validate_json(text)
    except ValidationError as error:
        raise ConfigurationError(
            f"{text[:60]!r} is not an answer of an endpoint: give the JSON it answered, with its model_id"
        ) from error
