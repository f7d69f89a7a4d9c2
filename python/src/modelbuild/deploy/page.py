"""The annotation of a deployment: the served model, or the reason of a failed deployment."""

from __future__ import annotations

from modelbuild.annotation import render
from modelbuild.aws.console import endpoint_url, object_url
from modelbuild.contract import Decision, Deployment
from modelbuild.handoff.manifest import Handoff
from modelbuild.settings.deploy import DeploySettings


def succeeded(approved: Handoff, deployment: Deployment, settings: DeploySettings, region: str) -> str:
    """The annotation of a successful deployment."""
    return render(
        "modelbuild.deploy",
        "succeeded.html.j2",
        deployment=deployment,
        golden=approved.manifest.golden,
        tolerance=max(golden.tolerance for golden in approved.manifest.golden),
        instance_type=settings.instance_type,
        endpoint_url=endpoint_url(region, deployment.endpoint),
        model_url=object_url(deployment.model_path),
        manifest_url=object_url(deployment.manifest),
    )


def failed(approved: Handoff, endpoint: str, reason: str, *, served: bool = False) -> str:
    """The annotation of a failed deployment; with ``served`` the model is served but was not recorded."""
    return render(
        "modelbuild.deploy",
        "failed.html.j2",
        request=approved.manifest.request,
        endpoint=endpoint,
        reason=reason,
        served=served,
    )


def rejected(decision: Decision, reason: str) -> str:
    """The annotation of a model that a person decided not to deploy."""
    return render("modelbuild.deploy", "rejected.html.j2", decision=decision, reason=reason)
