"""What the notify plugin does: one annotation, and an exit code that follows the training."""

from __future__ import annotations

import os
from collections.abc import Mapping

from modelbuild import approval, handoff, log
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.buildkite import agent
from modelbuild.contract import TRAINING_ANNOTATION
from modelbuild.errors import TrainingFailed, VerificationFailed
from modelbuild.notify import page
from modelbuild.settings.notify import NotifySettings


def run(settings: NotifySettings, environ: Mapping[str, str] = os.environ) -> None:
    """Annotate the build with how its training ended.

    Raises:
        TrainingFailed: it did not succeed, or nothing says that it did.
        ConfigurationError: this is no job of a build, or its block step was filled in by hand.
        VerificationFailed: request, manifest or model is not of this build, or another one was shown before.
        AwsError: S3 refused.
        BuildkiteError: the agent's command line failed.
    """
    log.group(":mag: Reading how the training ended")
    storage = Storage(session(settings.aws))
    result = handoff.read_result(storage, environ)
    job = page.HeadJob(
        id=agent.get_meta_data("train/job/id") or "",
        url=agent.get_meta_data("train/job/url") or "",
        logs_url=agent.get_meta_data("train/logs/url") or "",
        artifacts=agent.get_meta_data("train/artifacts") or "",
    )
    log.say(f"status: {result.status}{': ' + result.reason if result.reason else ''}")
    if result.status != "succeeded":
        agent.annotate(page.failed(result, job, environ), context=TRAINING_ANNOTATION, style="error")
        ended = "was cancelled" if result.status == "cancelled" else "failed"
        raise TrainingFailed(
            f"the training {ended} ({result.reason or 'no reason was given'}): its log is "
            f"{job.logs_url or 'in CloudWatch'}"
        )
    try:
        given = handoff.read_manifest(result, storage, environ)
        handoff.pin(given)
    except VerificationFailed as error:
        agent.annotate(page.refused(str(error), job, environ), context=TRAINING_ANNOTATION, style="error")
        raise
    approval.pin_callback_user(environ)
    overall = given.manifest.evaluation.overall
    agent.annotate(page.succeeded(given, job, environ), context=TRAINING_ANNOTATION, style="success")
    log.open_group(":bar_chart: The training succeeded")
    log.say(f"macro-F1 {overall.macro_f1:.3f}, accuracy {overall.accuracy:.3f} on {overall.rows:,} rows")
    log.say(f"W&B run   {result.wandb_run_url or result.wandb_run_id or 'none'}")
    log.say(f"Model     {result.model_path}")
    log.say(f"Manifest  {result.manifest}")
