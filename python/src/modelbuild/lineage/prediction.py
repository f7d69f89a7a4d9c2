"""Which model made a prediction."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from modelbuild.contract import Prediction, Predictions
from modelbuild.errors import ConfigurationError

_ANSWER: TypeAdapter[Prediction | Predictions] = TypeAdapter(Prediction | Predictions)


def read_prediction(text: str) -> tuple[str, str | None]:
    """The model id, and the pipeline where it says one, of an answer of an endpoint or one prediction of it.

    Raises:
        ConfigurationError: ``text`` is neither.
    """
    try:
        answer = _ANSWER.validate_json(text)
    except ValidationError as error:
        raise ConfigurationError(
            f"{text[:60]!r} is not an answer of an endpoint: give the JSON it answered, with its model_id"
        ) from error
    return answer.model_id, getattr(answer, "pipeline", None)
