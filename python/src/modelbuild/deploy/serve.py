"""Brings an endpoint to the planned configuration and verifies its answers, or has it put back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from modelbuild import log
from modelbuild.aws.failures import NotFound
from modelbuild.aws.sagemaker import SageMaker
from modelbuild.contract import Deployment, Manifest
from modelbuild.deploy import smoke
from modelbuild.deploy.endpoint import (
    Served,
    UpdateNotFollowed,
    ensure_endpoint,
    has_begun,
    rollback,
    rollback_when_served,
)
from modelbuild.deploy.plan import Plan
from modelbuild.deploy.watch import Deleted, RolledBack
from modelbuild.errors import AwsError, EndpointFailed, VerificationFailed


def serve_verified(
    planned: Plan, manifest: Manifest, newest: Deployment | None, sagemaker: SageMaker, timeout: float
) -> Served:
    """Bring the endpoint to the plan, and put it back unless it answers as the approved model.

    Args:
        planned: what the endpoint is to run.
        manifest: of the approved model.
        newest: the newest deployment of the endpoint.
        sagemaker: SageMaker as an identity of production sees it.
        timeout: seconds that the update may take, and the way back again.

    Raises:
        VerificationFailed: the answers are not those of the approved model, or the endpoint is another one's.
        EndpointFailed: SageMaker did not bring the endpoint to the plan.
        AwsError: AWS refused.
    """
    try:
        served = ensure_endpoint(planned, sagemaker, timeout)
    except UpdateNotFollowed as error:
        undo = partial(rollback_when_served, planned, error.previous_config, sagemaker, timeout)
        reason = f"{error}, so its answers were not verified"
        raise type(error.reason)(_undone(planned, error.previous_config, newest, reason, undo)) from error

    log.group(":microscope: Comparing the endpoint's answers with the recorded ones")
    try:
        smoke.check(sagemaker, planned.endpoint, manifest)
    except (VerificationFailed, AwsError) as error:
        if newest is not None and newest.endpoint_config == planned.name and not served.changed:
            raise type(error)(
                f"{error}; endpoint {planned.endpoint} was left as it is, because it has served this model "
                f"since {newest.deployed_at}, when its answers were verified: look at the endpoint, and "
                "retry this step"
            ) from error
        undo = partial(rollback, planned, served.previous_config, sagemaker, timeout)
        raise type(error)(_undone(planned, served.previous_config, newest, str(error), undo)) from error
    return served


def left_by_cancelled(planned: Plan, newest: Deployment | None, sagemaker: SageMaker) -> str:
    """What happens after a step that was cancelled in :func:`serve_verified`: SageMaker goes on."""
    endpoint = planned.endpoint
    try:
        if not has_begun(planned, sagemaker):
            return f"this step was cancelled, and endpoint {endpoint} does not change to {planned.name}"
        previous = sagemaker.previous(planned.name)
    except AwsError as error:
        return f"this step was cancelled, and it is not known whether endpoint {endpoint} changes: {error}"
    if newest is not None and newest.endpoint_config == planned.name:
        return (
            f"this step was cancelled before it had verified the answers of endpoint {endpoint} once more; "
            f"those of the same configuration {planned.name} were verified at {newest.deployed_at}: retry "
            "this step to verify them again"
        )
    return (
        f"this step was cancelled before it had verified the answers of endpoint {endpoint}, which SageMaker "
        f"brings to {planned.name} all the same: retry this step, which verifies them or puts the endpoint "
        f"back; or else {_way_back(planned, previous)}"
    )


def _undone(
    planned: Plan, previous: str, newest: Deployment | None, reason: str, undo: Callable[[], None]
) -> str:
    """Have ``undo`` put an endpoint with unverified answers back to its previous configuration; returns the
    reason and the outcome as text.
    """
    if not previous:
        return f"{reason}; {_way_back(planned, previous)}"
    log.group(":leftwards_arrow_with_hook: Putting the endpoint back")
    # If the step is cancelled now, its error never shows the reason.
    log.info(reason)
    try:
        undo()
    except Deleted as error:
        return f"{reason}; {error}"
    except (NotFound, RolledBack) as error:
        # The configuration, its archive or its image is gone: the deploy step of its build makes it again.
        return (
            f"{reason}; endpoint {planned.endpoint} was not put back to {previous} ({error}): retry the "
            "deploy step of the build whose model it is to serve"
        )
    except (EndpointFailed, AwsError) as error:
        return f"{reason}; it was not put back to {previous} ({error}): {_way_back(planned, previous)}"
    undone = f"{reason}; endpoint {planned.endpoint} was put back to {previous}, which it ran before"
    if newest is None or newest.endpoint_config == previous:
        return undone
    # A deploy step was stopped before it had verified the answers, or a person has updated the endpoint.
    return (
        f"{undone}; its history ends with {newest.endpoint_config} of model {newest.model_id}: look which of "
        "the two is to serve, and retry the deploy step of its build"
    )


def _way_back(planned: Plan, previous: str) -> str:
    """What a person does with an endpoint whose answers are not verified."""
    endpoint = planned.endpoint
    if not previous:
        return (
            f"nothing may rely on endpoint {endpoint} until it serves another model: to remove it, run aws "
            f"sagemaker delete-endpoint --endpoint-name {endpoint}"
        )
    return (
        f"if it runs {planned.name} once it is InService, run aws sagemaker update-endpoint --endpoint-name "
        f"{endpoint} --endpoint-config-name {previous}"
    )
