"""The command of the notify plugin: writes one annotation, and fails if the training did not succeed."""

from __future__ import annotations

import os
from collections.abc import Mapping

from modelbuild import approval, handoff, log
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.buildkite import agent, job
from modelbuild.buildkite.trainings import follow
from modelbuild.contract import TRAINING_ANNOTATION
from modelbuild.errors import TrainingFailed, VerificationFailed
from modelbuild.notify import page
from modelbuild.settings.notify import NotifySettings


def run(settings: NotifySettings, environ: Mapping[str, str] = os.environ) -> None:
    """Annotate the build with the result of its training.

    Raises:
        TrainingFailed: the training did not succeed, or has no result.
        ConfigurationError: this is no job of a build, or its block step was filled in by hand.
        VerificationFailed: request, manifest or model is not of this build, or another one was shown before.
        AwsError: S3 refused.
        BuildkiteError: the agent's command line failed.
    """
    here = job.read(environ)
    log.group(":mag: Reading the result of the training")
    storage = Storage(session(settings.aws, agent.oidc_token))
    meta_data = follow(settings.model)
    result = handoff.read_result(meta_data, storage, here)
    head = page.HeadJob(
        id=meta_data.get("train/job/id") or "",
        url=meta_data.get("train/job/url") or "",
        logs_url=meta_data.get("train/logs/url") or "",
        artifacts=meta_data.get("train/artifacts") or "",
    )
    log.say(f"status: {result.status}{': ' + result.reason if result.reason else ''}")
    if result.status != "succeeded":
        meta_data.annotate(page.failed(result, head, here), context=TRAINING_ANNOTATION, style="error")
        ended = "was cancelled" if result.status == "cancelled" else "failed"
        raise TrainingFailed(
            f"the training {ended} ({result.reason or 'no reason was given'}): its log is "
            f"{head.logs_url or 'in CloudWatch'}"
        )
    try:
        trained = handoff.read_manifest(meta_data, result, storage, here)
        handoff.pin(trained, meta_data)
    except VerificationFailed as error:
        meta_data.annotate(page.refused(str(error), head, here), context=TRAINING_ANNOTATION, style="error")
        raise
    approval.pin_callback_user(meta_data, here)
    evaluation = trained.manifest.evaluation
    meta_data.annotate(page.succeeded(trained, head, here), context=TRAINING_ANNOTATION, style="success")
    log.open_group(":bar_chart: The training succeeded")
    log.say(evaluation.describe(evaluation.overall))
    log.say(f"W&B run   {result.wandb_run_url or result.wandb_run_id or 'none'}")
    log.say(f"Model     {result.model_path}")
    log.say(f"Manifest  {result.manifest}")
