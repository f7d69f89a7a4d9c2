"""What an endpoint answers must be what the approved model answered when it was trained."""

from __future__ import annotations

import json
import math

from pydantic import ValidationError

from modelbuild import log
from modelbuild.aws.sagemaker import Answer, ModelRefused, SageMaker
from modelbuild.contract import GoldenPrediction, Manifest, Prediction, Predictions, custom_attributes
from modelbuild.errors import VerificationFailed

TOLERANCE = 1e-4
"""How far a score may be from the recorded one: another CPU rounds differently."""

_SHOWN_CHARACTERS = 300


def check(sagemaker: SageMaker, endpoint: str, manifest: Manifest) -> None:
    """Send each of the manifest's recorded inputs, and require the model's id and recorded answer.

    Raises:
        VerificationFailed: an answer is another model's or another answer, or none is on record.
        AwsError: the endpoint could not answer.
    """
    if not manifest.golden:
        raise VerificationFailed(
            f"the manifest of model {manifest.request.model_id} records no predictions to compare with: have "
            "the flow put some into it, and train again"
        )
    for number, golden in enumerate(manifest.golden, start=1):
        answer = _answer(sagemaker, endpoint, golden)
        prediction = _prediction(answer.body, answer.custom_attributes, manifest)
        if difference := _difference(golden, prediction):
            raise VerificationFailed(
                f"endpoint {endpoint} answers recorded input {number} of {len(manifest.golden)} with "
                f"{_shown(prediction.label, prediction.scores)}, but the model that was approved answered "
                f"{_shown(golden.label, golden.scores)} ({difference})"
            )
        log.say(f"input {number}: {prediction.label} {prediction.scores.get(prediction.label, 0):.4f}")


def _answer(sagemaker: SageMaker, endpoint: str, golden: GoldenPrediction) -> Answer:
    try:
        return sagemaker.invoke(endpoint, json.dumps({"instances": [golden.text]}).encode())
    except ModelRefused as error:
        raise VerificationFailed(
            f"endpoint {endpoint} refuses a recorded input that the model answered with {golden.label} when "
            f"it was trained: {error}"
        ) from error


def _prediction(body: bytes, attributes: str, manifest: Manifest) -> Prediction:
    """The one prediction of an answer that has the model id of this model everywhere."""
    model_id, pipeline = manifest.request.model_id, manifest.request.build.pipeline
    expected = custom_attributes(model_id, pipeline)
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
            "document with model_id, pipeline and predictions that modelbuild's server answers with"
        ) from error
    if len(answer.predictions) != 1:
        raise VerificationFailed(f"the endpoint answers one text with {len(answer.predictions)} predictions")
    prediction = answer.predictions[0]
    found = {(answer.model_id, answer.pipeline), (prediction.model_id, answer.pipeline)}
    if found != {(model_id, pipeline)}:
        raise VerificationFailed(
            f"the endpoint answers as model {answer.model_id} of {answer.pipeline} (prediction: "
            f"{prediction.model_id}), but model {model_id} of {pipeline} was approved"
        )
    return prediction


def _difference(golden: GoldenPrediction, prediction: Prediction) -> str:
    """What differs too much; empty when nothing does."""
    if prediction.label != golden.label:
        return "another label"
    if prediction.scores.keys() != golden.scores.keys():
        return "scores of other labels"
    largest = max((abs(prediction.scores[name] - golden.scores[name]) for name in golden.scores), default=0.0)
    # Written so that a score that is no number differs too.
    if not largest <= TOLERANCE or any(math.isnan(score) for score in prediction.scores.values()):
        return f"scores differ by up to {largest:.6f}, and {TOLERANCE} is allowed"
    return ""


def _shown(label: str, scores: dict[str, float]) -> str:
    figures = ", ".join(f"{name} {score:.6f}" for name, score in scores.items())
    return f"{label} ({figures})"
