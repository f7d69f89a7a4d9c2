"""Jobs that wait for a machine for longer than they may; heads above all, which nothing in Batch watches yet.

Batch lets a job be RUNNABLE for ever. It ends one by itself for a few reasons that it knows, and only at the
front of its queue; that all machines are taken is none of them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from modelbuild.aws.batch import Batch, BatchJob
from modelbuild.aws.storage import Storage
from modelbuild.contract import SCHEDULE_TIMEOUT, attempt_prefix
from modelbuild.errors import ModelbuildError
from modelbuild.train import attempt, outcome


def verdict(who: str, limit: float, job: BatchJob) -> str:
    """Why a training is over, one of whose jobs waited for a machine for more than ``limit`` seconds."""
    why = job.status_reason or "Batch gives no reason: the queue's machines may all be taken"
    return f"{who} waited more than {limit:g} seconds for a machine ({why})"


def overdue(head: BatchJob) -> str | None:
    """Why the training of a head is over before it began; None while there is no such reason."""
    limit = float(head.environment.get(SCHEDULE_TIMEOUT) or "inf")
    if head.status != "RUNNABLE" or time.time() - head.waits_since <= limit:
        return None
    return verdict("the head", limit, head)


def end_overdue(storage: Storage, batch: Batch, queue: str, environ: Mapping[str, str]) -> list[str]:
    """End the heads in a queue that have waited for too long; a line for each of them.

    Whoever hears of a head's end tells its build.

    Raises:
        AwsError: Batch does not say who waits.
    """
    said = []
    for head in batch.describe_all(batch.runnable(queue)).values():
        reason = overdue(head)
        if reason is None or "ARTIFACTS" not in head.environment:
            continue
        try:
            end(storage, batch, head, reason, environ)
            said.append(f"job {head.id} is terminated: {reason}")
        except ModelbuildError as error:
            said.append(f"job {head.id} waits for too long, and goes on: {error}")
    return said


def end(storage: Storage, batch: Batch, head: BatchJob, reason: str, environ: Mapping[str, str]) -> None:
    """End a head that waits, with this reason as the result of its training.

    Raises:
        AwsError: Batch refused.
        ConfigurationError: what lies beside the training names no job.
    """
    artifacts = head.environment["ARTIFACTS"]
    newest = attempt.recorded(storage, artifacts)
    if newest is None or newest.job_id == head.id:
        # First of all: a head that starts at this moment finds the result, too, and goes.
        place = attempt_prefix(artifacts, attempt.number_of(head.environment))
        outcome.settle(storage, place, outcome.ended("failed", reason), environ)
    batch.terminate(head.id, reason)
