"""Decides which head job holds an attempt at a training.

It uses two files that are written once, by conditional writes. ``attempts/<n>.json`` holds the options of the
train step that submits head ``n``; the run of the step that writes it may submit. ``attempts/<n>.head`` holds
the job that is head ``n``, or is empty if a program abandoned the attempt; any other job ends without
training. So there is one training, even if two runs of a step race or Batch's answer to a submission is lost.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue, ValidationError

from modelbuild.aws.batch.jobs import Batch, BatchJob
from modelbuild.contract import HeadEnvironment
from modelbuild.errors import ConfigurationError, ModelbuildError
from modelbuild.store.attempts import Attempt, JobRecord
from modelbuild.store.model import ModelStore

# How long another run of the step may take from its claim to its job before its attempt is abandoned.
_PATIENCE_SECONDS = 30.0
_LOOK_AGAIN_SECONDS = 1.0


class Superseded(Exception):
    """This job is not the head of its attempt: another job is, or the attempt was abandoned."""


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
        info: Callable[[str], None],
        *,
        first_run: bool = False,
    ) -> JobRecord:
        """The record of the head that runs or has trained the model, or of a new head.

        Args:
            submit: submits the head of the attempt with this number, and returns the job's id.
            claim: identifies the agent's job, with the options with which it submits a head.
            unblocked: whether the step that waits for the training is unblocked.
            info: logs a line.
            first_run: whether this job is no retry, so that no other job may have asked before it.

        Raises:
            ConfigurationError: another job of the build has asked for this training.
            AwsError: S3 or Batch refused.
            VerificationFailed: ``job.json`` names no job.
        """
        number = 1
        while True:
            # The random id distinguishes this run of the step from a rerun of the same job.
            if self.store.attempt(number).claim({"attempt": number, "id": uuid.uuid4().hex, **claim}):
                return self._submit(number, submit, info)
            if first_run:
                self._require_claimed_by(number, str(claim.get("by", "")))
            newest = self._of_another_run(number, info)
            if newest is not None and not self._is_over(newest, unblocked, info):
                info(f"attached to job {newest.job_id}: another run of this step submitted it")
                return newest
            number = newest.attempt + 1 if newest else number + 1

    def _require_claimed_by(self, number: int, own: str) -> None:
        """Refuse a second job: a matrix makes several, and so does a step that is there twice."""
        other = self.store.attempt(number).claimed_by()
        if other and other != own:
            raise ConfigurationError(
                f"job {other} of this build has asked for the training of {self.store.prefix} before, and "
                "this job is not its retry: let one step with one job train a model, without matrix"
            )

    def _is_over(self, job: JobRecord, unblocked: Callable[[], bool], info: Callable[[str], None]) -> bool:
        """Whether an attempt has ended without a model, or with a model that no program will deliver."""
        # Batch forgets jobs after a week.
        described = self.batch.describe_all([job.job_id]).get(job.job_id)
        attempt = self.store.attempt(job.attempt)
        result = attempt.result()
        if result is None:
            # A head that is being stopped has a result when its flow has ended.
            return described is None or described.ended or described.stopped
        if result.status != "succeeded":
            return True
        # The build was over when the attempt ended, so no step got the result. Now the build runs again.
        undelivered = attempt.delivered() and not unblocked()
        if undelivered:
            info(
                f"attempt {job.attempt} made the model when its build was over: the next attempt delivers it"
            )
        return undelivered

    def _submit(self, number: int, submit: Callable[[int], str], info: Callable[[str], None]) -> JobRecord:
        try:
            job_id = submit(number)
        except ModelbuildError:
            # The job may exist nevertheless, if only Batch's answer was lost.
            self._give_up(number)
            raise
        again = "" if number == 1 else f", attempt {number}"
        info(f"submitted job {job_id} ({self.name}{again}) to queue {self.queue}")
        return self._record(number, job_id)

    def _of_another_run(self, number: int, info: Callable[[str], None]) -> JobRecord | None:
        """The head that another run of the step submitted; None if its attempt is abandoned."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            newest = self.store.job()
            if newest is not None and newest.attempt >= number:
                return newest
            holder = self.store.attempt(number).holder()
            if holder == "":
                return None
            # Batch lists a new job with a delay.
            job_id = holder or self._unrecorded(number)
            if job_id is not None:
                info(f"job {job_id} was submitted and not recorded")
                return self._record(number, job_id)
            if time.monotonic() > until and self._give_up(number):
                return None
            time.sleep(_LOOK_AGAIN_SECONDS)

    def _unrecorded(self, number: int) -> str | None:
        jobs = self.batch.describe_all(self.batch.find(self.queue, self.name)).values()
        return next((job.id for job in jobs if self._is_head(job, number)), None)

    def _is_head(self, job: BatchJob, number: int) -> bool:
        head = head_environment(job)
        return head is not None and (head.artifacts, head.attempt) == (self.store.prefix, number)

    def _give_up(self, number: int) -> bool:
        """Abandon an attempt, so that its head never trains; False if a head holds it already."""
        return self.store.attempt(number).hold("") == ""

    def _record(self, number: int, job_id: str) -> JobRecord:
        job = JobRecord(job_id=job_id, queue=self.queue, region=self.batch.region, attempt=number)
        self.store.record_job(job)
        return job


def abandon(attempt: Attempt) -> bool:
    """End an attempt that has no head: a retried step makes the next attempt; False if a job holds it.

    Raises:
        AwsError: S3 refused.
    """
    attempt.claim({"attempt": attempt.number, "id": uuid.uuid4().hex})
    return attempt.hold("") == ""


def head_environment(job: BatchJob) -> HeadEnvironment | None:
    """The variables of a head's job; None for a job whose variables no head has."""
    try:
        return HeadEnvironment.read(job.environment)
    except ValidationError:
        return None


def claim_attempt(attempt: Attempt, job_id: str) -> None:
    """Make a job the head of an attempt; succeeds again when Batch restarts the same job.

    Args:
        attempt: the attempt.
        job_id: this Batch job.

    Raises:
        Superseded: another job is the head, or the attempt was abandoned.
        AwsError: S3 refused.
    """
    holder = attempt.hold(job_id)
    if holder != job_id:
        raise Superseded(
            f"attempt {attempt.number} at {attempt.prefix} belongs to "
            f"{f'job {holder}' if holder else 'no job any more'}"
        )
