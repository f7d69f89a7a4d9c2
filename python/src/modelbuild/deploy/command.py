"""The command of the deploy plugin: copies, serves, checks and records the approved model."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import datetime, timezone

from modelbuild import log
from modelbuild.aws.identity import session
from modelbuild.aws.sagemaker import SageMaker
from modelbuild.aws.storage import Storage
from modelbuild.buildkite import agent, job
from modelbuild.buildkite.trainings import TrainingMetaData, follow
from modelbuild.contract import DEPLOYMENT_ANNOTATION, Decision, Deployment
from modelbuild.deploy import decision, page, plan, smoke
from modelbuild.deploy.copy import copy
from modelbuild.deploy.endpoint import Served, require_own
from modelbuild.deploy.serve import left_by_cancelled, serve_verified
from modelbuild.errors import (
    AwsError,
    BuildkiteError,
    EndpointFailed,
    Rejected,
    TrainingFailed,
    VerificationFailed,
)
from modelbuild.handoff import approval
from modelbuild.handoff.candidates import read_approved
from modelbuild.handoff.fields import deployed_key, field_keys, read_fields
from modelbuild.handoff.manifest import Handoff, read_request
from modelbuild.handoff.result import read_result
from modelbuild.process import cancellation
from modelbuild.settings.deploy import DeploySettings
from modelbuild.store.deployments import DeploymentHistory
from modelbuild.store.model import ModelStore


class NotRecorded(AwsError):
    """The endpoint serves the model, but the deployment could not be recorded."""


def run(settings: DeploySettings, environ: Mapping[str, str] = os.environ) -> None:
    """Serve the model of this build, or the chosen candidate of its sweep, and fail unless the endpoint
    answers as that model.

    If the answers cannot be verified, the endpoint is put back to its previous configuration; where AWS
    refuses that as well, the error has the command that does it.

    Raises:
        TrainingFailed: the training did not succeed.
        VerificationFailed: bytes or predictions are not the approved ones, the user who unblocked this job is
            no approver, or the endpoint belongs to another model.
        Rejected: the person who unblocked this job decided not to deploy.
        EndpointFailed: SageMaker did not bring the endpoint to the requested configuration.
        ConfigurationError: this is no job of a build, or its block step was filled in by hand.
        AwsError: AWS refused.
        BuildkiteError: the agent's command line failed.
    """
    here = job.read(environ)
    log.group(":mag: Reading the approved model")
    source = session(settings.aws.source, agent.oidc_token)
    destination = session(settings.aws.destination, agent.oidc_token)
    lake, production = Storage(source), Storage(destination)
    meta_data = follow(settings.model, (*field_keys(settings.endpoint), *decision.META_DATA))
    result = read_result(meta_data, lake, here)
    if result.status != "succeeded":
        ended = "was cancelled" if result.status == "cancelled" else "failed"
        raise TrainingFailed(
            f"the training {ended} ({result.reason or 'no reason was given'}), so there is no model to "
            "deploy: retry the step that trains, or start a new build"
        )
    fields = read_fields(meta_data, settings.endpoint)
    approved = read_approved(read_request(meta_data, lake, here), result, meta_data, fields)
    approver = approval.require(settings.approvers, here)
    request = approved.manifest.request
    log.info(f"model {request.model} {request.model_id} of {request.build.pipeline}")
    decided = decision.record(approved, settings.endpoint, fields, meta_data, approver)
    try:
        decision.require_deploy(decided, fields, meta_data)
    except Rejected as error:
        _show(meta_data, settings.endpoint, page.rejected(decided, str(error)), "warning")
        raise
    try:
        _serve(approved, meta_data, settings, production, SageMaker(destination), decided)
    except (VerificationFailed, EndpointFailed, AwsError) as error:
        body = page.failed(approved, settings.endpoint, str(error), served=isinstance(error, NotRecorded))
        _show(meta_data, settings.endpoint, body, "error")
        raise


def _show(meta_data: TrainingMetaData, endpoint: str, body: str, style: agent.Style) -> None:
    """Show on the page why the model is not deployed; if the agent fails, the step's own error says it."""
    try:
        meta_data.annotate(body, context=_context(endpoint), style=style)
    except BuildkiteError as error:
        log.warn(f"the page does not show why the model is not deployed: {error}")


def _serve(
    approved: Handoff,
    meta_data: TrainingMetaData,
    settings: DeploySettings,
    production: Storage,
    sagemaker: SageMaker,
    decided: Decision,
) -> None:
    smoke.require_golden(approved.manifest)
    require_own(settings.endpoint, plan.owner_tags(approved), sagemaker)
    history = DeploymentHistory(production, settings.artifacts, settings.endpoint)
    newest = history.newest()
    _require_not_replaced(newest, decided, meta_data)

    log.group(":s3: Copying the model to production")
    try:
        # The copy on this machine is as large as the model, and must not stay there.
        with cancellation.interruptible():
            copied = copy(approved, settings.artifacts, approved.store.objects, production)
    except cancellation.Cancelled:
        log.warn(f"this step was cancelled, and endpoint {settings.endpoint} was not changed")
        sys.exit(cancellation.EXIT_CODE)

    log.group(":aws: Updating the endpoint")
    planned = plan.plan_deployment(approved, copied, settings)
    try:
        with cancellation.interruptible():
            served = serve_verified(planned, approved.manifest, newest, sagemaker, settings.timeout)
    except cancellation.Cancelled:
        log.open_group(":octagonal_sign: Cancelled: looking what SageMaker does with the endpoint")
        reason = left_by_cancelled(planned, newest, sagemaker)
        log.warn(reason)
        _show(meta_data, planned.endpoint, page.failed(approved, planned.endpoint, reason), "error")
        sys.exit(cancellation.EXIT_CODE)

    # If the step ended here, the endpoint would serve a model that is not in its history.
    with cancellation.ignored():
        log.group(":pencil: Recording the deployment")
        try:
            sagemaker.tag(served.endpoint.arn, planned.tags)
            deployment = history.append(
                _record(approved, copied, planned, served, decided), changed=served.changed
            )
            log.info(f"deployment {deployment.number} of endpoint {planned.endpoint}")
            for store in (copied, approved.store):
                store.write_deployment(deployment)
                log.info(store.deployment_uri)
        except (VerificationFailed, AwsError) as error:
            raise NotRecorded(
                f"endpoint {planned.endpoint} serves the model, but that could not be recorded ({error}): "
                "retry this step"
            ) from error
        body = page.succeeded(approved, deployment, settings, sagemaker.region)
        meta_data.annotate(body, context=_context(planned.endpoint), style="success")
        meta_data.set(
            {
                "deploy/endpoint": planned.endpoint,
                "deploy/endpoint-config": planned.name,
                deployed_key(planned.endpoint): str(deployment.number),
            }
        )
        log.open_group(
            f":rocket: Endpoint {planned.endpoint} serves model {deployment.model} {deployment.model_id}"
        )
        log.info(f"Config    {planned.name}{'' if served.changed else ' (nothing had to change)'}")
        log.info(f"Model     {deployment.model_path}")
        log.info(f"Previous  {deployment.previous_endpoint_config or 'none'}")


def _context(endpoint: str) -> str:
    """The context of the annotation: a build may deploy its model to several endpoints."""
    return f"{DEPLOYMENT_ANNOTATION}/{endpoint}"


def _require_not_replaced(newest: Deployment | None, decided: Decision, meta_data: TrainingMetaData) -> None:
    """Require that no other model was deployed to the endpoint since the person decided on this one.

    A step that has passed is retried to serve its model again, and that may replace a later one.

    Args:
        newest: the newest deployment of the endpoint.
        decided: the decision on this model, which the first run of this step recorded.
        meta_data: of the training.

    Raises:
        EndpointFailed: another model was deployed, and this step has never passed.
        BuildkiteError: the agent's command line failed.
    """
    if newest is None or newest.model_id == decided.model_id or newest.deployed_at <= decided.decided_at:
        return
    served = f"model {newest.model} {newest.model_id}"
    if meta_data.get(deployed_key(decided.endpoint)):
        log.info(f"endpoint {decided.endpoint} serves {served} now, and is to serve {decided.model_id} again")
        return
    raise EndpointFailed(
        f"endpoint {decided.endpoint} has served {served} since {newest.deployed_at} ({newest.build_url}), "
        f"and the decision to deploy model {decided.model_id} is older, of {decided.decided_at}: nothing was "
        "changed; start a new build"
    )


def _record(
    approved: Handoff, copied: ModelStore, planned: plan.Plan, served: Served, decided: Decision
) -> Deployment:
    request = approved.manifest.request
    return Deployment(
        model=request.model,
        model_id=request.model_id,
        pipeline=request.build.pipeline,
        build_url=request.build.url,
        manifest=copied.manifest_uri,
        manifest_sha256=approved.manifest_sha256,
        model_path=copied.model_uri,
        model_sha256=approved.result.model_sha256,
        image=planned.model.image,
        endpoint=planned.endpoint,
        endpoint_arn=served.endpoint.arn,
        endpoint_config=planned.name,
        model_name=planned.name,
        previous_endpoint_config=served.previous_config,
        approver=decided.approver,
        reason=decided.reason,
        deployed_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
