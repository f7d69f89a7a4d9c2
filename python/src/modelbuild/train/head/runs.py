"""Metaflow's runs of a training's attempts: from where a later one goes on, and the jobs of their steps.

``attempts/<n>.run`` names the run of attempt ``n``. Its steps' jobs are found by their names, which Metaflow
makes of its user, the flow and the run.
"""

from __future__ import annotations

import time

from modelbuild import log
from modelbuild.aws.batch.jobs import Batch, BatchJob
from modelbuild.contract import HeadEnvironment
from modelbuild.errors import AwsError
from modelbuild.store.attempts import Attempt, Run
from modelbuild.store.model import ModelStore
from modelbuild.train.attempts.attempt import head_environment

_LOOK_AGAIN_SECONDS = 1.0
# Batch ends a container within half a minute.
_STEPS_END_SECONDS = 120.0


def record_run(attempt: Attempt, run: Run) -> None:
    """Record the run of an attempt; if S3 refuses, later heads cannot resume it."""
    try:
        attempt.record_run(run)
    except AwsError as error:
        log.info(f"attempt: {error}")


def newest_run(store: ModelStore, number: int) -> Run | None:
    """The run to go on from: the newest of this attempt or an earlier one.

    Raises:
        AwsError: S3 refused.
    """
    found = (store.attempt(earlier).run() for earlier in range(number, 0, -1))
    return next((run for run in found if run is not None), None)


def terminate_left(store: ModelStore, batch: Batch, head: BatchJob) -> list[str]:
    """Terminate the steps' jobs that a head which has ended left behind; returns their ids.

    A job that was not the head of its attempt has none.

    Raises:
        AwsError: S3 or Batch refused.
    """
    variables = head_environment(head)
    if variables is None or store.attempt(variables.attempt).holder() != head.id:
        return []
    run = newest_run(store, variables.attempt)
    return [] if run is None else _terminate_steps(batch, variables, run)


def end_steps(batch: Batch, head: HeadEnvironment, run: Run) -> list[str]:
    """End the steps' jobs that outlived the head of a run, and wait until they have; returns their ids.

    Raises:
        AwsError: Batch refused, or a job did not end.
    """
    left = _terminate_steps(batch, head, run)
    until = time.monotonic() + _STEPS_END_SECONDS
    while not all(job.ended for job in batch.describe_all(left).values()):
        if time.monotonic() > until:
            raise AwsError(f"the jobs {', '.join(left)} of an earlier run do not end: terminate them by hand")
        time.sleep(_LOOK_AGAIN_SECONDS)
    return left


def lost_hosts(batch: Batch, head: HeadEnvironment, run: Run) -> bool:
    """Whether a run failed because hosts of its steps' jobs went away, and for nothing else."""
    # A step that Metaflow ends because another one failed is not the reason.
    failed = [job for job in _steps(batch, head, run) if job.status == "FAILED" and not job.stopped]
    return bool(failed) and all(job.status_reason.startswith("Host EC2") for job in failed)


def container_ended(batch: Batch, head: HeadEnvironment, run: Run) -> str:
    """Why Batch ended the container of a step, or could not start it; empty where it did neither."""
    failed = [job for job in _steps(batch, head, run) if job.status == "FAILED" and not job.stopped]
    return next((job.reason for job in failed if job.reason != job.status_reason), "")


def _terminate_steps(batch: Batch, head: HeadEnvironment, run: Run) -> list[str]:
    left = [job.id for job in _steps(batch, head, run) if not job.ended]
    for job_id in left:
        batch.terminate(job_id, "its head is gone")
    return left


def _steps(batch: Batch, head: HeadEnvironment, run: Run) -> list[BatchJob]:
    """The jobs of a run's steps, in whatever state."""
    beginning = f"{head.user}-{run.flow_name}-{run.run_id}-*"
    queues = sorted({head.queue, head.gpu_queue} - {""})
    found = [job_id for queue in queues for job_id in batch.find(queue, beginning)]
    return list(batch.describe_all(found).values())
