"""The command of the notify plugin: shows the report on a model, and fails if there is none to decide on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from modelbuild import log
from modelbuild.buildkite import agent, job
from modelbuild.buildkite.job import JobEnvironment
from modelbuild.buildkite.trainings import TrainingMetaData, follow
from modelbuild.contract import (
    CALLBACK_USER,
    CANDIDATE_GATES,
    FAILED_GATES,
    GATES_ENDPOINT,
    NO_GATES,
    Failure,
    Leaderboard,
    TrainingResult,
)
from modelbuild.errors import (
    AwsError,
    BuildkiteError,
    ConfigurationError,
    GateFailed,
    TrainingFailed,
    VerificationFailed,
)
from modelbuild.experiments.asking import Find, finding
from modelbuild.handoff import approval, pins
from modelbuild.handoff.candidates import read_candidates, read_leaderboard
from modelbuild.handoff.fields import require_undecided
from modelbuild.handoff.manifest import read_manifest, read_request
from modelbuild.handoff.result import META_DATA, read_failure, read_result
from modelbuild.notify import summary
from modelbuild.report.build import HeadJob
from modelbuild.settings.notify import NotifySettings
from modelbuild.store.objects import Objects

_HEAD_JOB = ("train/job/id", "train/job/url", "train/logs/url", "train/artifacts")


def run(settings: NotifySettings, environ: Mapping[str, str] = os.environ) -> None:
    """Annotate the build with the result of its training.

    Raises:
        TrainingFailed: the training did not succeed, or has no result.
        GateFailed: the model does not meet a gate, and option ``on-failure`` is ``fail``.
        ConfigurationError: this is no job of a build, or its block step was filled in by hand.
        VerificationFailed: request, manifest or model is not of this build, or another one was shown before.
        AwsError: S3 refused.
        BuildkiteError: the agent's command line failed.
    """
    here = job.read(environ)
    # The process that asks W&B loads its SDK meanwhile.
    with finding(settings.wandb, environ) as find_experiments:
        _notify(settings, here, environ, find_experiments)


def _notify(
    settings: NotifySettings,
    here: JobEnvironment,
    environ: Mapping[str, str],
    find_experiments: Find,
) -> None:
    log.group(":mag: Reading the result of the training")
    with ThreadPoolExecutor(1) as threads:
        following = threads.submit(follow, settings.model, (*META_DATA, *_HEAD_JOB, CALLBACK_USER))
        # Imported while the agent's command line works: see modelbuild.process.startup.
        from modelbuild.aws.batch.jobs import Batch
        from modelbuild.aws.identity import session
        from modelbuild.aws.storage import Storage
        from modelbuild.notify import page
        from modelbuild.notify.compile import compile_report
        from modelbuild.notify.publish import publish_report, show_page
        from modelbuild.notify.scoring import Scorer

        aws = session(settings.aws, agent.oidc_token)
        storage = Storage(aws)
        meta_data = following.result()
    result = read_result(meta_data, storage, here)
    recorded = meta_data.get_all(_HEAD_JOB)
    head = HeadJob(
        id=recorded["train/job/id"],
        url=recorded["train/job/url"],
        logs_url=recorded["train/logs/url"],
        artifacts=recorded["train/artifacts"],
    )
    log.info(f"status: {result.status}{': ' + result.reason if result.reason else ''}")
    if result.status != "succeeded":
        failure = _failure(meta_data, storage, here) if result.status == "failed" else None
        leaderboard = _leaderboard(meta_data, storage, here) if result.status == "failed" else None
        body = page.failed(result, head, here, failure, leaderboard)
        show_page(body, "error", meta_data, settings)
        _end_without_model(settings, result, head)
        return
    with _refusal_on_page(meta_data, settings, head, here):
        requested = read_request(meta_data, storage, here)
        candidates = None if requested.request.sweep is None else read_candidates(requested, result)
        trained = read_manifest(requested, result) if candidates is None else candidates.best
    shown = candidates or trained
    log.group(":bar_chart: Comparing the model")
    with ThreadPoolExecutor(1) as threads:
        checking = threads.submit(_check_first, shown, meta_data, here)
        production, score = None, None
        if settings.compare_with is not None:
            production = Storage(session(settings.compare_with.aws, agent.oidc_token))
            score = Scorer(settings.compare_with.score_live, storage, lambda: Batch(aws))
        report = compile_report(
            trained, settings, here, storage, production, find_experiments, score, candidates
        )
    with _refusal_on_page(meta_data, settings, head, here):
        checking.result()
    failed_gates = ", ".join(dict.fromkeys(gate.title for gate in report.gates if not gate.passed))
    if report.gates and settings.on_failure != "warn":
        # A value of meta-data cannot be deleted, so a retried step that finds the gates met says so.
        compared = settings.compare_with.endpoint if settings.compare_with else "-"
        meta_data.set({FAILED_GATES: failed_gates or NO_GATES, GATES_ENDPOINT: compared})
        if report.candidate_gates is not None:
            meta_data.set({CANDIDATE_GATES: report.candidate_gates.model_dump_json()})
    publish_report(report, head, trained.store, meta_data, settings)
    # What is pinned can be deployed, so this comes when the gates are noted and the page is shown.
    pins.pin(shown, meta_data)
    summary.show(report)
    if settings.github is not None:
        from modelbuild.notify import pull_request

        pull_request.comment_of_build(settings.github, report, here, environ)
    if failed_gates and settings.on_failure == "fail":
        raise GateFailed(
            f"the model does not meet the gates of this pipeline ({failed_gates}): train a better one, or "
            "change option gates"
        )


@contextmanager
def _refusal_on_page(
    meta_data: TrainingMetaData, settings: NotifySettings, head: HeadJob, here: JobEnvironment
) -> Iterator[None]:
    """Show on the page that what the training handed over was refused."""
    try:
        yield
    except VerificationFailed as error:
        from modelbuild.notify import page
        from modelbuild.notify.publish import show_page

        try:
            show_page(page.refused(str(error), head, here), "error", meta_data, settings)
        except BuildkiteError as failed:
            log.warn(f"the page does not show why the model was refused: {failed}")
        raise


def _check_first(shown: pins.Shown, meta_data: TrainingMetaData, here: JobEnvironment) -> None:
    """Require that the page has shown nothing else, and that no deployment was decided before it has shown
    anything; record who unblocked the training's step.
    """
    pins.require_unchanged(shown, meta_data)
    if not pins.has_shown(shown, meta_data):
        require_undecided(meta_data)
    approval.pin_callback_user(meta_data, here)


def _failure(meta_data: TrainingMetaData, objects: Objects, here: JobEnvironment) -> Failure | None:
    """What the head saw of a flow that failed; None if that cannot be read."""
    try:
        return read_failure(meta_data, objects, here)
    except (AwsError, ConfigurationError, VerificationFailed) as error:
        log.warn(f"the page does not show the end of the log: {error}")
        return None


def _leaderboard(meta_data: TrainingMetaData, objects: Objects, here: JobEnvironment) -> Leaderboard | None:
    """The leaderboard of a sweep that failed; None if there is none, or if it cannot be read."""
    try:
        return read_leaderboard(meta_data, objects, here)
    except (AwsError, ConfigurationError, VerificationFailed) as error:
        log.warn(f"the page does not show how candidates ended: {error}")
        return None


def _end_without_model(settings: NotifySettings, result: TrainingResult, head: HeadJob) -> None:
    """End the step of a training without a model.

    Raises:
        TrainingFailed: unless option ``soft-fail`` lets the step pass.
    """
    ended = "was cancelled" if result.status == "cancelled" else "failed"
    message = (
        f"the training {ended} ({result.reason or 'no reason was given'}): its log is "
        f"{head.logs_url or 'in CloudWatch'}"
    )
    if not settings.soft_fail:
        raise TrainingFailed(message)
    log.warn(message)
