"""Option ``wait``: the step shows the head's log until there is a result, and succeeds if the training did.

Metaflow prints the output of the flow's steps, so the head's log contains all of it. The step waits for the
result and not for the end of the head: the head waits for the block step, which comes after this step.
"""

from __future__ import annotations

import math
import sys
import time
from contextlib import suppress

from modelbuild import log
from modelbuild.aws.batch.jobs import Batch, BatchJob
from modelbuild.aws.logs import Logs
from modelbuild.contract import TrainingResult, unsuccessful
from modelbuild.errors import AwsError, TrainingFailed
from modelbuild.log import events, metaflow_lines
from modelbuild.process import cancellation
from modelbuild.store.attempts import Attempt

LOOK_SECONDS = 5.0
# The training goes on while AWS refuses these reads.
_AWAY_SECONDS = 600.0
# After a head has died, Batch's event makes the stack's function write the result.
PATIENCE_SECONDS = 60.0
# The head's last lines may reach its log after the result is in S3.
_LAST_LINES_SECONDS = 5.0


def to_result(attempt: Attempt, batch: Batch, logs: Logs, job_id: str) -> TrainingResult:
    """Wait for the result of a training, and print the log of its head meanwhile.

    When the agent cancels this step, the training is cancelled, and the process exits with 143.

    Args:
        attempt: the attempt that will have the result.
        batch: the service that runs the head.
        logs: the logs of the head.
        job_id: the head.

    Raises:
        SystemExit: with 143, when this step was cancelled.
        AwsError: AWS refused.
    """
    try:
        with cancellation.interruptible():
            return _Follower(attempt, batch, logs, job_id).run()
    except cancellation.Cancelled:
        batch.terminate(job_id, "the build's step was cancelled")
        log.open_group(":octagonal_sign: Cancelled: the training is being stopped")
        sys.exit(cancellation.EXIT_CODE)


def end_as(result: TrainingResult) -> None:
    """Return if the training succeeded.

    Raises:
        SystemExit: with 143, when the training was cancelled.
        TrainingFailed: the training failed.
    """
    if result.status == "cancelled":
        log.open_group(f":octagonal_sign: The training was cancelled: {result.reason}")
        sys.exit(cancellation.EXIT_CODE)
    if result.status == "failed":
        raise TrainingFailed(
            f"the training failed ({result.reason or 'see the log of its head'}): retry this step to go on "
            "from the last good step of the flow"
        )
    log.open_group(":white_check_mark: The training succeeded")


class _Follower:
    def __init__(self, attempt: Attempt, batch: Batch, logs: Logs, job_id: str) -> None:
        self._attempt = attempt
        self._batch = batch
        self._logs = logs
        self._job_id = job_id
        self._group = ""
        self._status = ""
        self._ended = False

    def run(self) -> TrainingResult:
        """Print the log until the result is in S3, or the head has ended and still has no result after a
        while.
        """
        until = away = math.inf
        while True:
            try:
                job = self._batch.describe(self._job_id)
                result = self._attempt.result()
                self._show(job)
            except AwsError as error:
                away = min(away, time.monotonic() + _AWAY_SECONDS)
                if time.monotonic() >= away:
                    raise
                log.info(f"{error}; looking again")
                time.sleep(LOOK_SECONDS)
                continue
            away = math.inf
            if result is not None:
                self._last_lines()
                return result
            if job.ended:
                until = min(until, time.monotonic() + PATIENCE_SECONDS)
                if time.monotonic() >= until:
                    reason = f"job {job.id} ended without a result ({job.reason or 'no reason given'})"
                    return unsuccessful("failed", reason)
            time.sleep(LOOK_SECONDS)

    def _last_lines(self) -> None:
        until = time.monotonic() + _LAST_LINES_SECONDS
        while not self._ended and time.monotonic() < until:
            time.sleep(min(1.0, LOOK_SECONDS))
            with suppress(AwsError):
                self._show(self._batch.describe(self._job_id))

    def _show(self, job: BatchJob) -> None:
        status = f"{job.status}{': ' + job.reason if job.reason else ''}"
        if status != self._status and not job.log_stream:
            log.info(f"job {job.id} is {status}")
        self._status = status
        for line in self._logs.new(job.log_stream) if job.log_stream else ():
            event = events.parse_event(line)
            task = metaflow_lines.parse_task_line(line)
            group = f":metaflow: step {task.step}" if task else ":aws: head"
            if group != self._group:
                log.group(group)
            self._group = group
            if event is not None and event.name == events.TRAINING_ENDED:
                self._ended = True
            log.info(line if event is None else event.text)
