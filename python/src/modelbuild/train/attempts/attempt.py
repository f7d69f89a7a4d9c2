"""The attempts at one training: which head job is the one.

Conditional writes decide it. ``attempts/<n>.json`` is written once, by the run of the train step that submits
head ``n``, and holds the options of that step. ``attempts/<n>.head`` is written once, by the job that is head
``n``, or by a program that gave that head up; a job that comes later ends without training. So two runs of a
step that race make one training, and so does a step whose answer from Batch was lost.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from modelbuild.aws.batch import Batch
from modelbuild.contract import ATTEMPT
from modelbuild.errors import ModelbuildError
from modelbuild.store.attempts import Attempt, JobRecord
from modelbuild.store.model import ModelStore

# How long another run of the step may take between its claim and its job, before it is given up.
_PATIENCE_SECONDS = 30.0
_LOOK_AGAIN_SECONDS = 1.0


class Superseded(Exception):
    """This job is not, or no more, the head of the attempt that it was submitted for."""


@dataclass(frozen=True)
class Attempts:
    """The attempts at the training of a model; its heads are called ``name`` in ``queue``."""

    store: ModelStore
    batch: Batch
    queue: str
    name: str

    def find_or_submit(
        self,
        submit: Callable[[int], str],
        claim: Mapping[str, JsonValue],
        unblocked: Callable[[], bool],
        say: Callable[[str], None],
    ) -> JobRecord:
        """The head that is live or has made the model; where there is none, a new one.

        Args:
            submit: submits the head of the attempt with this number, and returns the job's id.
            claim: which job of the agent asks, and the options with which it submits a head.
            unblocked: whether the step that waits for the training is unblocked.
            say: takes a line for the log.

        Raises:
            AwsError: S3 or Batch refused.
            VerificationFailed: ``job.json`` names no job.
        """
        number = 1
        while True:
            # An id of its own tells this run of the step from a rerun of the same job.
            if self.store.attempt(number).claim({"attempt": number, "id": uuid.uuid4().hex, **claim}):
                return self._submit(number, submit, say)
            newest = self._of_another_run(number, say)
            if newest is not None and not self._is_over(newest, unblocked, say):
                say(f"attached to job {newest.job_id}: another run of this step submitted it")
                return newest
            number = newest.attempt + 1 if newest else number + 1

    def _is_over(self, job: JobRecord, unblocked: Callable[[], bool], say: Callable[[str], None]) -> bool:
        """Whether an attempt has ended without a model, or with one that no program will deliver."""
        # Batch forgets jobs after a week.
        described = self.batch.describe_all([job.job_id]).get(job.job_id)
        attempt = self.store.attempt(job.attempt)
        result = attempt.result()
        if result is None:
            return described is None or described.ended
        if result.status != "succeeded":
            return True
        # The build was over when the result was delivered, so no step waited for it. Now the build goes on.
        undelivered = attempt.delivered() and not unblocked()
        if undelivered:
            say(f"attempt {job.attempt} made the model when its build was over: the next attempt delivers it")
        return undelivered

    def _submit(self, number: int, submit: Callable[[int], str], say: Callable[[str], None]) -> JobRecord:
        try:
            job_id = submit(number)
        except ModelbuildError:
            # The job may be there all the same, where only Batch's answer was lost.
            self._give_up(number)
            raise
        again = "" if number == 1 else f", attempt {number}"
        say(f"submitted job {job_id} ({self.name}{again}) to queue {self.queue}")
        return self._record(number, job_id)

    def _of_another_run(self, number: int, say: Callable[[str], None]) -> JobRecord | None:
        """The head that another run of the step has claimed; None where it was given up."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            newest = self.store.job()
            if newest is not None and newest.attempt >= number:
                return newest
            holder = self.store.attempt(number).holder()
            if holder == "":
                return None
            # Batch lists a job with a delay.
            job_id = holder or self._unrecorded(number)
            if job_id is not None:
                say(f"job {job_id} was submitted and not recorded")
                return self._record(number, job_id)
            if time.monotonic() > until and self._give_up(number):
                return None
            time.sleep(_LOOK_AGAIN_SECONDS)

    def _unrecorded(self, number: int) -> str | None:
        jobs = self.batch.describe_all(self.batch.find(self.queue, self.name)).values()
        ours = {"ARTIFACTS": self.store.prefix, ATTEMPT: str(number)}
        return next((job.id for job in jobs if ours.items() <= job.environment.items()), None)

    def _give_up(self, number: int) -> bool:
        """Make sure that head ``number`` never trains; False where it does already."""
        return self.store.attempt(number).hold("") == ""

    def _record(self, number: int, job_id: str) -> JobRecord:
        job = JobRecord(job_id=job_id, queue=self.queue, region=self.batch.region, attempt=number)
        self.store.record_job(job)
        return job


def number_of(environ: Mapping[str, str]) -> int:
    """Which attempt a head, or a step of its flow, belongs to; ``environ`` are its variables."""
    return int(environ.get(ATTEMPT) or 1)


def claim_attempt(attempt: Attempt, job_id: str) -> None:
    """Be the head of an attempt, also when Batch starts the same job once more.

    Args:
        attempt: the attempt.
        job_id: the Batch job that this is.

    Raises:
        Superseded: another job is, or the attempt was given up.
        AwsError: S3 refused.
    """
    holder = attempt.hold(job_id)
    if holder != job_id:
        raise Superseded(
            f"attempt {attempt.number} at {attempt.prefix} belongs to "
            f"{f'job {holder}' if holder else 'no job any more'}"
        )
