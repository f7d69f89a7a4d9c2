"""Checks that an endpoint answers the golden predictions of the approved model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeGuard

from pydantic import JsonValue, ValidationError

from modelbuild import log
from modelbuild.aws.sagemaker import Answer, ModelRefused, SageMaker
from modelbuild.contract import GoldenPrediction, Manifest, Prediction, Predictions, custom_attributes
from modelbuild.errors import VerificationFailed

_SHOWN_CHARACTERS = 300


def check(sagemaker: SageMaker, endpoint: str, manifest: Manifest) -> None:
    """Send the input of each golden prediction, and require the model's id and the recorded answer.

    Raises:
        VerificationFailed: an answer is wrong or of another model, or the manifest has no golden predictions.
        AwsError: the endpoint could not answer.
    """
    if not manifest.golden:
        raise VerificationFailed(
            f"the manifest of model {manifest.request.model_id} records no predictions to compare with: have "
            "the flow put some into it, and train again"
        )
    for number, golden in enumerate(manifest.golden, start=1):
        answer = _answer(sagemaker, endpoint, golden)
        output = _prediction(answer.body, answer.custom_attributes, manifest).output
        if difference := _difference(golden.output, output, golden.tolerance):
            raise VerificationFailed(
                f"endpoint {endpoint} answers recorded input {number} of {len(manifest.golden)} with "
                f"{_shortened(output)}, but the model that was approved answered {_shortened(golden.output)} "
                f"({difference})"
            )
        log.say(f"input {number}: {_shortened(output)}")


def _answer(sagemaker: SageMaker, endpoint: str, golden: GoldenPrediction) -> Answer:
    try:
        return sagemaker.invoke(endpoint, json.dumps({"instances": [golden.input]}).encode())
    except ModelRefused as error:
        raise VerificationFailed(
            f"endpoint {endpoint} refuses a recorded input that the model answered with "
            f"{_shortened(golden.output)} when it was trained: {error}"
        ) from error


def _prediction(body: bytes, attributes: str, manifest: Manifest) -> Prediction:
    """The only prediction of an answer; the answer must name this model everypath."""
    request = manifest.request
    expected = custom_attributes(request.model_id, request.model, request.build.pipeline)
    if attributes != expected:
        raise VerificationFailed(
            f"the endpoint answers with custom attributes {attributes[:_SHOWN_CHARACTERS]!r}, but those of "
            f"the model that was approved are {expected!r}"
        )
    try:
        answer = Predictions.model_validate_json(body)
    except ValidationError as error:
        raise VerificationFailed(
            f"the endpoint answers {body[:_SHOWN_CHARACTERS].decode(errors='replace')!r}, which is not the "
            "document with model, model_id, pipeline and predictions that modelbuild's server answers with"
        ) from error
    if len(answer.predictions) != 1:
        raise VerificationFailed(f"the endpoint answers one input with {len(answer.predictions)} predictions")
    prediction = answer.predictions[0]
    own = (request.model, request.model_id)
    found = {(answer.model, answer.model_id), (prediction.model, prediction.model_id)}
    if found != {own} or answer.pipeline != request.build.pipeline:
        raise VerificationFailed(
            f"the endpoint answers as model {answer.model} {answer.model_id} of {answer.pipeline} "
            f"(prediction: {prediction.model} {prediction.model_id}), but model {request.model} "
            f"{request.model_id} of {request.build.pipeline} was approved"
        )
    return prediction


def _difference(expected: JsonValue, found: JsonValue, tolerance: float, path: str = "") -> str:
    """The first difference of two outputs beyond the tolerance for numbers; empty if there is none."""
    # Whole numbers, such as ids, must be equal.
    if _is_number(expected) and _is_number(found) and float in (type(expected), type(found)):
        return _exceeds_tolerance(float(expected), float(found), tolerance, path)
    if isinstance(expected, dict) and isinstance(found, dict):
        if expected.keys() != found.keys():
            names = ", ".join(sorted(expected.keys() ^ found.keys()))
            return f"{path or 'the answer'} has other fields: {names}"
        pairs = [
            (expected[name], found[name], tolerance, f"{path}.{name}" if path else name) for name in expected
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
    return next(filter(None, (_difference(*pair) for pair in pairs)), "")


def _is_number(value: JsonValue) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _exceeds_tolerance(expected: float, found: float, tolerance: float, path: str) -> str:
    # A comparison with NaN is false, so NaN exceeds every tolerance.
    allowed = tolerance * max(1.0, abs(expected))
    if abs(found - expected) <= allowed:
        return ""
    return f"{path or 'the answer'} differs by {abs(found - expected):.6f}, and {allowed:g} is allowed"


def _shortened(output: Mapping[str, JsonValue]) -> str:
    text = json.dumps(output)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
