"""What the answer of a server must be: the model that it names, and the difference from a recorded answer.

``deploy`` requires it of an endpoint, and ``modelbuild check-image`` of an image.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeGuard

from pydantic import JsonValue, ValidationError

from modelbuild.contract import ModelId, ModelName, Prediction, Predictions, Record, Slug, custom_attributes
from modelbuild.errors import VerificationFailed
from modelbuild.formats.validation import first_error

_SHOWN_CHARACTERS = 300


class Identity(Record):
    """The three names that lead an answer back to its build."""

    model: ModelName
    model_id: ModelId
    pipeline: Slug

    def __str__(self) -> str:
        return f"model {self.model} {self.model_id} of {self.pipeline}"


def read_predictions(
    body: bytes, attributes: str, identity: Identity, instances: int
) -> tuple[Prediction, ...]:
    """The predictions of an answer; its header, its body and each prediction must name the model.

    Args:
        body: the body of the answer.
        attributes: the value of header X-Amzn-SageMaker-Custom-Attributes, empty if there is none.
        identity: the model that must have answered.
        instances: how many were sent.

    Raises:
        VerificationFailed: the answer is not in this form, is of another model, or has another number of
            predictions.
    """
    expected = custom_attributes(identity.model_id, identity.model, identity.pipeline)
    if attributes != expected:
        raise VerificationFailed(
            f"the server answers with custom attributes {attributes[:_SHOWN_CHARACTERS]!r}, but those of "
            f"{identity} are {expected!r}"
        )
    try:
        answer = Predictions.model_validate_json(body)
    except ValidationError as error:
        raise VerificationFailed(
            f"the server answers {shortened_bytes(body)}, which is not the document with model, model_id, "
            f"pipeline and predictions that each name their model ({first_error(error)})"
        ) from error
    if len(answer.predictions) != instances:
        raise VerificationFailed(
            f"the server answers {instances} instances with {len(answer.predictions)} predictions"
        )
    for prediction in answer.predictions:
        found = {(answer.model, answer.model_id), (prediction.model, prediction.model_id)}
        if found != {(identity.model, identity.model_id)} or answer.pipeline != identity.pipeline:
            raise VerificationFailed(
                f"the server answers as model {answer.model} {answer.model_id} of {answer.pipeline} "
                f"(prediction: {prediction.model} {prediction.model_id}), and not as {identity}"
            )
    return answer.predictions


def difference(expected: JsonValue, found: JsonValue, tolerance: float, path: str = "") -> str:
    """The first difference of two outputs beyond the tolerance for numbers; empty if there is none.

    Another label is no difference where both labels have the best expected score, within the tolerance.
    """
    # Whole numbers, such as ids, must be equal.
    if _is_number(expected) and _is_number(found) and float in (type(expected), type(found)):
        return _exceeds_tolerance(expected, found, tolerance, path)
    if isinstance(expected, dict) and isinstance(found, dict):
        if expected.keys() != found.keys():
            names = ", ".join(sorted(expected.keys() ^ found.keys()))
            return f"{path or 'the answer'} has other fields: {names}"
        tied = _is_tie(expected, found["label"], tolerance) if "label" in found else False
        pairs = [
            (expected[name], found[name], tolerance, f"{path}.{name}" if path else name)
            for name in expected
            if not (tied and name == "label")
        ]
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            return f"{path} has {len(found)} elements, not {len(expected)}"
        pairs = [
            (one, other, tolerance, f"{path}[{at}]")
            for at, (one, other) in enumerate(zip(expected, found, strict=True))
        ]
    else:
        return "" if type(expected) is type(found) and expected == found else f"another {path or 'answer'}"
    return next(filter(None, (difference(*pair) for pair in pairs)), "")


def shortened(output: Mapping[str, JsonValue]) -> str:
    """An output as JSON, or the beginning of it."""
    text = json.dumps(output)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def shortened_bytes(body: bytes) -> str:
    """The beginning of a body, between quotes."""
    return repr(body[:_SHOWN_CHARACTERS].decode(errors="replace"))


def _is_tie(expected: Mapping[str, JsonValue], label: JsonValue, tolerance: float) -> bool:
    """Whether a label has the best of the expected scores, within the tolerance."""
    scores = expected.get("scores")
    if not isinstance(scores, dict) or not isinstance(label, str):
        return False
    score = scores.get(label)
    numbers = [one for one in scores.values() if _is_number(one)]
    return _is_number(score) and not _exceeds_tolerance(max(numbers), score, tolerance, "")


def _is_number(value: JsonValue) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _exceeds_tolerance(expected: float, found: float, tolerance: float, path: str) -> str:
    try:
        allowed = tolerance * max(1.0, abs(expected))
        distance = abs(found - expected)
    except OverflowError:
        # A whole number of JSON may be larger than every float.
        return f"{path or 'the answer'} is beyond the range of float64"
    # A comparison with NaN is false, so NaN exceeds every tolerance.
    if distance <= allowed:
        return ""
    return f"{path or 'the answer'} differs by {distance:.6f}, and {allowed:g} is allowed"
