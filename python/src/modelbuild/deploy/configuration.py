"""Creates the SageMaker model and the endpoint configuration of a deployment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from tenacity import (
    RetryError,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential,
    wait_fixed,
)

from modelbuild import log
from modelbuild.aws.sagemaker import AlreadyExists, EndpointConfig, Model, SageMaker
from modelbuild.aws.storage import NotFound
from modelbuild.clock import Clock
from modelbuild.deploy.plan import Plan
from modelbuild.errors import EndpointFailed, VerificationFailed

_CONSISTENT_SECONDS, _LOOK_AGAIN_SECONDS = 20, 2


def create_model_and_config(plan: Plan, sagemaker: SageMaker) -> None:
    """Create the model and the configuration, or reuse those of an earlier run of the step.

    Raises:
        EndpointFailed: SageMaker does not show one of them after it was created.
        VerificationFailed: there is a model or a configuration of the plan's name with other properties.
        AwsError: SageMaker refused.
    """
    try:
        sagemaker.create_model(plan.name, plan.model, plan.tags)
    except AlreadyExists:
        log.info(f"reused model {plan.name}")
    _require_same(f"SageMaker model {plan.name}", plan.model, lambda: sagemaker.model(plan.name))
    try:
        sagemaker.create_endpoint_config(plan.name, plan.config, plan.tags)
    except AlreadyExists:
        log.info(f"reused configuration {plan.name}")
    _require_same(
        f"endpoint configuration {plan.name}", plan.config, lambda: sagemaker.endpoint_config(plan.name)
    )


def until_seen(change: Callable[[], None], clock: Clock) -> None:
    """Ask for a change of an endpoint, again where SageMaker does not see the new configuration yet.

    AWS recommends that: its services read the configuration with eventual consistency, so that one of them
    may miss it although another one has shown it.

    Raises:
        NotFound: it does not see the configuration for ``_CONSISTENT_SECONDS``.
        AwsError: SageMaker refused for another reason.
    """
    Retrying(
        retry=retry_if_exception_type(NotFound),
        stop=stop_after_attempt(_CONSISTENT_SECONDS // _LOOK_AGAIN_SECONDS + 1),
        wait=wait_fixed(_LOOK_AGAIN_SECONDS),
        sleep=clock.sleep,
        reraise=True,
    )(change)


def _require_same(
    subject: str, planned: Model | EndpointConfig, read: Callable[[], Model | EndpointConfig | None]
) -> None:
    """Require that SageMaker's resource has the planned properties; wait until a new one becomes visible."""
    try:
        found = Retrying(
            retry=retry_if_exception_type(NotFound),
            stop=stop_after_delay(_CONSISTENT_SECONDS),
            wait=wait_exponential(0.2, max=3),
        )(read)
    except RetryError as error:
        raise EndpointFailed(
            f"{subject} cannot be seen {_CONSISTENT_SECONDS} s after it was created"
        ) from error
    if found != planned:
        raise VerificationFailed(
            f"{subject} is not what this deployment needs ({_difference(found, planned)}): another program "
            "created it; delete it, if no endpoint uses it, and retry this step"
        )


def _difference(actual: Model | EndpointConfig | None, planned: Model | EndpointConfig) -> str:
    if actual is None:
        return "it has other variants"
    there, here = asdict(actual), asdict(planned)
    wrong = (key for key in here if there[key] != here[key])
    return ", ".join(f"{key} is {there[key]!r} and not {here[key]!r}" for key in wrong)
