"""``modelbuild reconcile``: delivers, on a schedule, results that neither a head nor the function delivered.

For each training it compares the records in S3, the state in Batch, and the state of the build.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from modelbuild import log
from modelbuild.aws.batch.jobs import Batch, BatchJob
from modelbuild.aws.identity import session
from modelbuild.aws.secrets import secret
from modelbuild.aws.storage import NotFound, Storage
from modelbuild.buildkite.access import TOKEN, ApiAccess
from modelbuild.buildkite.rest import Rest, RestError
from modelbuild.callback.delivery import StepNotReached
from modelbuild.callback.rate_limiter import shared_rate_limiter
from modelbuild.contract import TrainingRequest, unsuccessful
from modelbuild.errors import BuildkiteError, VerificationFailed, describe
from modelbuild.settings import AwsSettings
from modelbuild.store.attempts import Attempt
from modelbuild.store.model import ModelStore
from modelbuild.store.pipeline import PipelineStore
from modelbuild.train.attempts import attempt, delivery, outcome
from modelbuild.train.recovery import waiting
from modelbuild.train.recovery.ended import api_access, describe_head, end_steps
from modelbuild.train.submit.submission import job_name

# The train step may still be submitting the head of a request this young.
YOUNG_SECONDS = 900.0
# A build that has not come to the step that waits, so long after its training was requested, gets no result.
_OLD_SECONDS = 30 * 86400.0
# How long the delivery of one result may take before the next training is checked.
_SECONDS_EACH = 60.0
_AT_ONCE = 16
_ENDED = {"succeeded": "succeeded", "failed": "failed", "cancelled": "was cancelled"}


@dataclass(frozen=True)
class _OpenTraining:
    """A training whose result is not delivered.

    Attributes:
        store: the store of its files.
        request: its request.
        age: seconds since the request was written.
        job_id: the job of the newest head, or None.
        number: the number of that head's attempt.
    """

    store: ModelStore
    request: TrainingRequest
    age: float
    job_id: str | None
    number: int

    @property
    def attempt(self) -> Attempt:
        """The newest attempt."""
        return self.store.attempt(self.number)


def run(artifacts: str, queue: str, secret_name: str, environ: Mapping[str, str] = os.environ) -> None:
    """Check each training of a pipeline whose result is not delivered, and deliver it if there is one.

    Prints one line for each of them.

    Args:
        artifacts: the prefix of the pipeline's models.
        queue: Batch queue of the heads, to find a submitted job that was not recorded.
        secret_name: secret with Buildkite's token, read if the environment has no token.
        environ: holds Buildkite's address and perhaps the token.

    Raises:
        AwsError: AWS refused.
        BuildkiteError: at least one result could not be delivered.
    """
    aws = session(AwsSettings())
    storage, batch = Storage(aws), Batch(aws)
    found, skipped = _open(PipelineStore(storage, artifacts.rstrip("/")), batch, queue)
    if not found:
        builds = "every other build" if skipped else "every build"
        log.info(f"{builds} below {artifacts} knows how its training ended")
        return
    heads = batch.describe_all([training.job_id for training in found if training.job_id is not None])
    access = api_access(ApiAccess.read(environ), lambda: secret(aws, secret_name, TOKEN))
    failed = 0
    for training in found:
        try:
            summary = _finish(batch, training, heads, access)
        except Exception as error:  # noqa: BLE001 - the other builds must get their results after every error
            failed += 1
            summary = f"not delivered: {describe(error)}"
        log.info(f"{training.request.model} {training.request.model_id}: {summary}")
    if failed:
        raise BuildkiteError(
            f"{failed} of {len(found)} trainings could not be delivered: the lines above say why, and the "
            "next run tries again"
        )


def _open(pipeline: PipelineStore, batch: Batch, queue: str) -> tuple[list[_OpenTraining], int]:
    """The trainings whose results are not delivered, and how many others were skipped, with a line each."""
    stores = [
        pipeline.model(model, training)
        for model in pipeline.models()
        for training in pipeline.trainings(model)
    ]
    # Most trainings are finished, which one or two small requests show.
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        finished = list(threads.map(_is_finished, stores))
    found, skipped = [], 0
    for store in (store for store, over in zip(stores, finished, strict=True) if not over):
        try:
            request, age = store.request(any_version=True), store.request_age()
            job_id, number = _head(store, batch, queue, request)
        except NotFound:
            # Its train step is writing it at this moment.
            continue
        except VerificationFailed as error:
            name = store.prefix.removeprefix(f"{pipeline.root}/").replace("/", " ")
            log.info(f"{name}: skipped: {error}")
            skipped += 1
            continue
        training = _OpenTraining(store, request, age or 0.0, job_id, number)
        if not training.attempt.delivered():
            found.append(training)
    return found, skipped


def _is_finished(store: ModelStore) -> bool:
    """Whether the result of the first attempt is delivered, and there is no second one."""
    return store.attempt(1).delivered() and not store.attempt(2).claimed()


def _head(store: ModelStore, batch: Batch, queue: str, request: TrainingRequest) -> tuple[str | None, int]:
    """The newest head and the number of its attempt, also of a head that was not recorded; a head whose
    attempt was abandoned does not count.
    """
    record = store.job()
    if record is not None:
        return record.job_id, record.attempt
    for job in batch.describe_all(batch.find(queue, job_name(request))).values():
        head = attempt.head_environment(job)
        if head is None or head.artifacts != request.artifacts:
            continue
        if store.attempt(head.attempt).holder() in (None, job.id):
            return job.id, head.attempt
    return None, 1


def _finish(batch: Batch, training: _OpenTraining, heads: Mapping[str, BatchJob], access: ApiAccess) -> str:
    """Deliver the result if the training is over, and end its jobs; returns the line for this model."""
    head = heads.get(training.job_id) if training.job_id else None
    try:
        if head is not None:
            waiting.end_if_overdue(training.store.objects, batch, head)
            end_steps(training.store, batch, head)
    finally:
        # The build must get the result even if the steps cannot be terminated.
        summary = _deliver(training, head, access)
    return summary


def _deliver(training: _OpenTraining, head: BatchJob | None, access: ApiAccess) -> str:
    own = training.attempt
    result = own.result()
    if result is not None and head is not None and head.status == "RUNNING":
        return f"job {head.id} delivers that the training {_ENDED[result.status]}: nothing to do"
    if result is None:
        if head is not None and not head.ended:
            return f"job {head.id} is {head.status}: nothing to do"
        if head is not None:
            found = describe_head(head)
        elif _is_young(training):
            return f"requested {training.age / 60:.0f} minutes ago and not submitted yet: skipped"
        elif training.job_id:
            found = unsuccessful("failed", f"Batch does not know job {training.job_id} any more: train again")
        elif training.age < _OLD_SECONDS and not _waits(training, access):
            # Its step failed before it submitted a job, and may be retried: the training is not over.
            return "never submitted, and no build waits for it: skipped"
        elif not attempt.abandon(own):
            return f"job {own.holder()} is its head: skipped"
        else:
            found = unsuccessful("failed", "no job was submitted for this training: train again")
        result = outcome.write_result_once(own, found)
    try:
        summary = delivery.deliver_result(
            training.store, training.number, training.request, result, access, _SECONDS_EACH
        )
    except StepNotReached as error:
        if training.age < _OLD_SECONDS:
            return f"not delivered yet, the next run looks again: {error}"
        own.record_delivered(result, step_unblocked=False)
        return f"not delivered and not looked at again, {training.age / 86400:.0f} days old: {error}"
    return f"{summary} ({result.reason})" if result.reason else summary


def _is_young(training: _OpenTraining) -> bool:
    """Whether a train step may be submitting the head at this moment."""
    claim_age = training.attempt.claim_age()
    return min(training.age, training.age if claim_age is None else claim_age) < YOUNG_SECONDS


def _waits(training: _OpenTraining, access: ApiAccess) -> bool:
    """Whether the build waits at the step that this training unblocks, or is over or deleted."""
    request = training.request
    rest = Rest.of(access)
    rate_limiter = shared_rate_limiter(training.store.objects, request.artifacts)
    time.sleep(rate_limiter.next())
    try:
        jobs = rest.jobs(request.build, request.unblock)
    except RestError as error:
        if error.status != 404:
            raise
        time.sleep(rate_limiter.next())
        if not rest.deleted(request.build):
            raise
        return True
    if any(job.type == "manual" and job.state == "blocked" for job in jobs):
        return True
    time.sleep(rate_limiter.next())
    return rest.build(request.build).is_over
