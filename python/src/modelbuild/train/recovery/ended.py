"""The stack's Lambda function: delivers the result of heads that died, and terminates their steps.

A head delivers its own result unless it is killed: out of memory, with its host, or by Batch. EventBridge
calls the function whenever a head has ended; usually its result is already delivered. Once a minute
EventBridge calls the function to end heads that have waited for a machine for longer than schedule-timeout.
If Buildkite sends its events to EventBridge, the function also terminates the heads of cancelled builds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from modelbuild import log
from modelbuild.aws.batch.jobs import Batch, BatchJob, job
from modelbuild.aws.function import Context
from modelbuild.aws.identity import session
from modelbuild.aws.secrets import secret
from modelbuild.aws.storage import Storage
from modelbuild.buildkite.access import TOKEN, ApiAccess
from modelbuild.contract import RESULT_FILE, TrainingResult, unsuccessful
from modelbuild.errors import AwsError
from modelbuild.settings import AwsSettings
from modelbuild.store.model import ModelStore
from modelbuild.train.attempts import attempt, delivery, outcome
from modelbuild.train.head import runs
from modelbuild.train.recovery import cancelled, waiting

# The function stops waiting for Buildkite this long before its deadline, so that it can report a reason.
_RESERVE_SECONDS = 20.0
_TIMED_OUT = "exceeded timeout"


def handler(event: Mapping[str, Any], context: Context) -> str:
    """Deliver the result of a head that has ended, unless it is delivered; returns a line for the log.

    Args:
        event: EventBridge's "Batch Job State Change", ``{"waiting-in": <queue of heads>}``, or
            ``{"cancelled": <a CancelledBuild>}``.
        context: the invocation, which knows the remaining time.

    Raises:
        BuildkiteError: the result could not be delivered in time, so that Lambda tries again.
        AwsError: AWS refused.
    """
    if "waiting-in" in event:
        return look_at_waiting(event["waiting-in"])
    if "cancelled" in event:
        aws = session(AwsSettings())
        build = cancelled.CancelledBuild.model_validate(event["cancelled"])
        terminated = cancelled.terminate_heads(Storage(aws), Batch(aws), build)
        heads = f"terminated {', '.join(terminated)}" if terminated else "no head runs"
        log.info(f"cancelled: build {build.number} of {build.pipeline}: {heads}")
        return heads
    delivered = run(job(event["detail"]), context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS)
    log.info(f"ended: {delivered}")
    return delivered


def look_at_waiting(queue: str) -> str:
    """End the heads in a queue that have waited too long for a machine; returns a line that names them."""
    aws = session(AwsSettings())
    try:
        summary = waiting.end_overdue(Storage(aws), Batch(aws), queue)
    except AwsError as error:
        # The next check is in a minute, so an error needs no retry and no alarm.
        summary = [str(error)]
    for line in summary:
        log.info(f"waiting: {line}")
    return "; ".join(summary)


def run(head: BatchJob, seconds: float, environ: Mapping[str, str] = os.environ) -> str:
    """Do the work of :func:`handler` for the job of an event.

    Args:
        head: the job that ended.
        seconds: how long to wait for Buildkite.
        environ: holds Buildkite's address and ``BUILDKITE_SECRET_ARN``.
    """
    variables = attempt.head_environment(head)
    if variables is None:
        return f"job {head.id} is no head of a training: nothing to do"
    aws = session(AwsSettings())
    store, batch = ModelStore(Storage(aws), variables.artifacts), Batch(aws)

    def access() -> ApiAccess:
        secret_name = environ.get("BUILDKITE_SECRET_ARN", "")
        return api_access(ApiAccess.read(environ), lambda: secret(aws, secret_name, TOKEN))

    try:
        end_steps(store, batch, head)
    finally:
        # The build must get the result even if the steps cannot be terminated.
        delivered = _deliver(store, batch, head, variables.attempt, seconds, access)
    return delivered


def api_access(access: ApiAccess, read_token: Callable[[], str]) -> ApiAccess:
    """The access, with the token that ``read_token`` returns if it has none."""
    return access if access.token else replace(access, token=read_token())


def end_steps(store: ModelStore, batch: Batch, head: BatchJob) -> None:
    """Terminate the running steps of a head that failed, and log a line for each.

    Raises:
        AwsError: S3 or Batch refused.
    """
    if head.status == "FAILED":
        for job_id in runs.terminate_left(store, batch, head):
            log.info(f"ended: job {job_id} of a step outlived its head and is terminated")


def _deliver(
    store: ModelStore,
    batch: Batch,
    head: BatchJob,
    number: int,
    seconds: float,
    access: Callable[[], ApiAccess],
) -> str:
    own = store.attempt(number)
    if own.delivered():
        return f"the build knows how {own.results} ended: nothing to do"
    holder = own.holder()
    if holder is not None and holder != head.id:
        by = f"job {holder} is the head of" if holder else "no job is the head of"
        return f"{by} attempt {number} at {store.prefix}: nothing to do"
    newest = store.job()
    if newest is not None and newest.job_id != head.id:
        return f"job {newest.job_id} is the head of {store.prefix}: nothing to do"
    request = store.request(any_version=True)
    result = own.result()
    if result is None:
        # The event does not tell a termination from a failure, but DescribeJobs does.
        described = batch.describe_all([head.id])
        result = outcome.write_result_once(own, describe_head(described.get(head.id, head)))
    summary = delivery.deliver_result(store, number, request, result, access(), seconds)
    return f"{summary} ({result.reason})" if result.reason else summary


def describe_head(head: BatchJob) -> TrainingResult:
    """The result of a head that ended without writing one, with Batch's reason."""
    if head.status == "SUCCEEDED":
        return unsuccessful("failed", f"the head ended well but left no {RESULT_FILE}: see its log")
    exit_code = "" if head.exit_code is None else f"exit code {head.exit_code}"
    container = head.reason if head.reason != head.status_reason else ""
    why = "; ".join(part for part in (head.status_reason, container, exit_code) if part)
    if head.stopped and _TIMED_OUT not in head.status_reason:
        return unsuccessful("cancelled", f"the head was ended from outside: {why or 'no reason given'}")
    return unsuccessful("failed", f"the head died without giving a reason: {why or 'no reason given'}")
