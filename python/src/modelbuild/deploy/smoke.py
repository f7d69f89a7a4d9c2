"""Checks that an endpoint answers the golden predictions of the approved model."""

from __future__ import annotations

import json

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from modelbuild import log
from modelbuild.answers import Identity, difference, read_predictions, shortened
from modelbuild.aws.sagemaker import Answer, ModelBusy, ModelRefused, SageMaker
from modelbuild.clock import SYSTEM_CLOCK, Clock
from modelbuild.contract import GoldenPrediction, Manifest
from modelbuild.errors import VerificationFailed

_BUSY_SECONDS, _BUSY_WAIT_SECONDS = 60, 3


def require_golden(manifest: Manifest) -> None:
    """Require that there is something to compare the endpoint's answers with.

    Raises:
        VerificationFailed: the manifest has no golden predictions.
    """
    if not manifest.golden:
        raise VerificationFailed(
            f"the manifest of model {manifest.request.model_id} records no predictions to compare with: have "
            "the flow put some into it, and train again"
        )


def check(sagemaker: SageMaker, endpoint: str, manifest: Manifest, clock: Clock = SYSTEM_CLOCK) -> None:
    """Send the input of each golden prediction, and require the model's id and the recorded answer.

    Raises:
        VerificationFailed: an answer is wrong or of another model, or the manifest has no golden predictions.
        AwsError: the endpoint could not answer.
    """
    require_golden(manifest)
    request = manifest.request
    identity = Identity(model=request.model, model_id=request.model_id, pipeline=request.build.pipeline)
    for number, golden in enumerate(manifest.golden, start=1):
        answer = _answer(sagemaker, endpoint, golden, clock)
        (prediction,) = read_predictions(answer.body, answer.custom_attributes, identity, 1)
        if wrong := difference(golden.output, prediction.output, golden.tolerance):
            raise VerificationFailed(
                f"endpoint {endpoint} answers recorded input {number} of {len(manifest.golden)} with "
                f"{shortened(prediction.output)}, but the model that was approved answered "
                f"{shortened(golden.output)} ({wrong})"
            )
        log.info(f"input {number}: {shortened(prediction.output)}")


def _answer(sagemaker: SageMaker, endpoint: str, golden: GoldenPrediction, clock: Clock) -> Answer:
    """The answer to a recorded input; the requests of all clients come to a new fleet at once, so it may be
    busy for a moment.
    """
    retrying = Retrying(
        retry=retry_if_exception_type(ModelBusy),
        stop=stop_after_attempt(_BUSY_SECONDS // _BUSY_WAIT_SECONDS + 1),
        wait=wait_fixed(_BUSY_WAIT_SECONDS),
        sleep=clock.sleep,
        before_sleep=_log_busy,
        reraise=True,
    )
    try:
        return retrying(sagemaker.invoke, endpoint, json.dumps({"instances": [golden.input]}).encode())
    except ModelRefused as error:
        raise VerificationFailed(
            f"endpoint {endpoint} refuses a recorded input that the model answered with "
            f"{shortened(golden.output)} when it was trained: {error}"
        ) from error


def _log_busy(state: RetryCallState) -> None:
    if state.outcome is not None:
        log.info(f"the request is sent again: {state.outcome.exception()}")
