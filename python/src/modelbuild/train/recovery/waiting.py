"""Ends jobs, mainly heads, that have waited for a machine for longer than schedule-timeout.

Batch leaves a job RUNNABLE without limit. It can end the first job of a queue for a few reasons, but not
because all machines are taken.
"""

from __future__ import annotations

import time

from modelbuild.aws.batch.jobs import Batch, BatchJob
from modelbuild.contract import HeadEnvironment, unsuccessful
from modelbuild.errors import ModelbuildError
from modelbuild.store.model import ModelStore
from modelbuild.store.objects import Objects
from modelbuild.train.attempts import attempt, outcome


def overdue_reason(subject: str, limit: float, job: BatchJob) -> str:
    """The reason of a training that ends because one of its jobs waited too long for a machine."""
    reason = job.status_reason or "Batch gives no reason: the queue's machines may all be taken"
    return f"{subject} waited more than {limit:g} seconds for a machine ({reason})"


def end_overdue(objects: Objects, batch: Batch, queue: str) -> list[str]:
    """End the heads in a queue that have waited for too long; returns a line for each.

    Batch's event of the end of each head makes the function deliver its result.

    Raises:
        AwsError: Batch did not list the waiting jobs.
    """
    messages = []
    for head in batch.describe_all(batch.runnable(queue)).values():
        try:
            reason = end_if_overdue(objects, batch, head)
        except ModelbuildError as error:
            messages.append(f"job {head.id} waits for too long, and goes on: {error}")
            continue
        if reason is not None:
            messages.append(f"job {head.id} is terminated: {reason}")
    return messages


def end_if_overdue(objects: Objects, batch: Batch, head: BatchJob) -> str | None:
    """End a head that waits for too long; returns the reason, or None if the training goes on.

    If it is the training's newest head, the reason becomes the training's result.

    Raises:
        AwsError: S3 or Batch refused.
        VerificationFailed: ``job.json`` names no job.
    """
    variables = attempt.head_environment(head)
    if variables is None or _overdue(head, variables) is None:
        return None
    # What is known of a head may be minutes old.
    reason = _overdue(batch.describe(head.id), variables)
    if reason is None:
        return None
    store = ModelStore(objects, variables.artifacts)
    newest = store.job()
    if newest is None or newest.job_id == head.id:
        # Written first: a head that starts at this moment finds the result and exits.
        outcome.write_result_once(store.attempt(variables.attempt), unsuccessful("failed", reason))
    batch.terminate(head.id, reason)
    return reason


def _overdue(head: BatchJob, variables: HeadEnvironment) -> str | None:
    """The reason if a head has waited for too long, or None."""
    limit = variables.schedule_timeout
    if limit is None or head.status != "RUNNABLE" or time.time() - head.runnable_since <= limit:
        return None
    return overdue_reason("the head", limit, head)
