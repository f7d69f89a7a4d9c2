"""The attempts at one training: which head job is the one.

Conditional writes decide it. ``attempts/<n>.json`` is written once, by the run of the train step that submits
head ``n``, and holds the options of that step. ``attempts/<n>.head`` is written once, by the job that is head
``n``, or by a program that gave that head up; a job that comes later ends without training. So two runs of a
step that race make one training, and so does a step whose answer from Batch was lost.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, JsonValue, ValidationError

from modelbuild.aws.batch import Batch
from modelbuild.aws.storage import NotFound, Storage
from modelbuild.contract import ATTEMPT, DELIVERED_FILE, JOB_FILE, attempt_prefix, document
from modelbuild.errors import ConfigurationError, ModelbuildError
from modelbuild.train.attempts import outcome

# How long another run of the step may take between its claim and its job, before it is given up.
_PATIENCE_SECONDS = 30.0
_LOOK_AGAIN_SECONDS = 1.0


class JobRecord(BaseModel):
    """``job.json``: which Batch job is the newest head of a training."""

    job_id: str
    queue: str
    region: str
    attempt: int = 1


class Superseded(Exception):
    """This job is not, or no more, the head of the attempt that it was submitted for."""


@dataclass(frozen=True)
class Attempts:
    """The attempts at the training that lies in ``artifacts``; its heads are called ``name`` in ``queue``."""

    storage: Storage
    batch: Batch
    artifacts: str
    queue: str
    name: str

    def head(
        self,
        submit: Callable[[int], str],
        about: Mapping[str, JsonValue],
        told: Callable[[], bool],
        say: Callable[[str], None],
    ) -> JobRecord:
        """The head that is live or has made the model; where there is none, a new one.

        Args:
            submit: submits the head of the attempt with this number, and returns the job's id.
            about: which job asks, and the options with which it submits a head, for the record.
            told: whether the build knows how a training ended.
            say: takes a line for the log.

        Raises:
            AwsError: S3 or Batch refused.
            ConfigurationError: ``job.json`` names no job.
        """
        number = 1
        while True:
            if self._claimed(number, about):
                return self._submitted(number, submit, say)
            newest = self._of_another_run(number, say)
            if newest is not None and not self._over(newest, told, say):
                say(f"attached to job {newest.job_id}: another run of this step submitted it")
                return newest
            number = newest.attempt + 1 if newest else number + 1

    def _claimed(self, number: int, about: Mapping[str, JsonValue]) -> bool:
        """Whether it is this run of the step that submits head ``number``."""
        uri = f"{stem(self.artifacts, number)}.json"
        claim = {"attempt": number, "id": uuid.uuid4().hex, **about}
        text = document(claim).encode()
        # A claim whose answer got lost is sent once more, and then refused because it is there.
        return self.storage.write_once(uri, text) or self.storage.read(uri) == text

    def _over(self, record: JobRecord, told: Callable[[], bool], say: Callable[[str], None]) -> bool:
        """Whether an attempt has ended without a model, or with one that no program will deliver."""
        # Batch forgets jobs after a week.
        job = self.batch.describe_all([record.job_id]).get(record.job_id)
        place = attempt_prefix(self.artifacts, record.attempt)
        result = outcome.read_result(self.storage, place)
        if result is None:
            return job is None or job.ended
        if result.status != "succeeded":
            return True
        # The build was over when the result was delivered, so no step waited for it. Now the build goes on.
        untold = self.storage.exists(f"{place}/{DELIVERED_FILE}") and not told()
        if untold:
            say(
                f"attempt {record.attempt} made the model when nobody waited for it: the next one tells of it"
            )
        return untold

    def _submitted(self, number: int, submit: Callable[[int], str], say: Callable[[str], None]) -> JobRecord:
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
            newest = recorded(self.storage, self.artifacts)
            if newest is not None and newest.attempt >= number:
                return newest
            held_by = holder(self.storage, self.artifacts, number)
            if held_by == "":
                return None
            # Batch lists a job with a delay.
            job_id = held_by or self._unrecorded(number)
            if job_id is not None:
                say(f"job {job_id} was submitted and not recorded")
                return self._record(number, job_id)
            if time.monotonic() > until and self._give_up(number):
                return None
            time.sleep(_LOOK_AGAIN_SECONDS)

    def _unrecorded(self, number: int) -> str | None:
        jobs = self.batch.describe_all(self.batch.find(self.queue, self.name)).values()
        ours = {"ARTIFACTS": self.artifacts, ATTEMPT: str(number)}
        return next((job.id for job in jobs if ours.items() <= job.environment.items()), None)

    def _give_up(self, number: int) -> bool:
        """Make sure that head ``number`` never trains; False where it does already."""
        return _hold(self.storage, self.artifacts, number, "") == ""

    def _record(self, number: int, job_id: str) -> JobRecord:
        record = JobRecord(job_id=job_id, queue=self.queue, region=self.batch.region, attempt=number)
        text = document(record.model_dump()).encode()
        uri = f"{self.artifacts}/{JOB_FILE}"
        # A late run of the step must not replace a newer head by an old one.
        if not self.storage.write_once(uri, text):
            newest = recorded(self.storage, self.artifacts)
            if newest is None or newest.attempt < number:
                self.storage.write(uri, text)
        return record


def recorded(storage: Storage, artifacts: str) -> JobRecord | None:
    """The newest head of a training, as far as it was written down.

    Raises:
        ConfigurationError: what is written there names no job.
    """
    uri = f"{artifacts}/{JOB_FILE}"
    try:
        return JobRecord.model_validate_json(storage.read(uri))
    except NotFound:
        return None
    except ValidationError as error:
        raise ConfigurationError(f"{uri} names no Batch job: move it away, and retry this step") from error


def number_of(environ: Mapping[str, str]) -> int:
    """Which attempt a head, or a step of its flow, belongs to; ``environ`` are its variables."""
    return int(environ.get(ATTEMPT) or 1)


def claim_attempt(storage: Storage, artifacts: str, number: int, job_id: str) -> None:
    """Be the head of an attempt, also when Batch starts the same job once more.

    Args:
        storage: where attempts are written down.
        artifacts: where the training lies.
        number: which attempt.
        job_id: the Batch job that this is.

    Raises:
        Superseded: another job is, or the attempt was given up.
        AwsError: S3 refused.
    """
    held_by = _hold(storage, artifacts, number, job_id)
    if held_by != job_id:
        raise Superseded(
            f"attempt {number} at {artifacts} belongs to {f'job {held_by}' if held_by else 'nobody any more'}"
        )


def stem(artifacts: str, number: int) -> str:
    """How the locations begin of what is written down about an attempt; an ending follows."""
    return f"{artifacts}/attempts/{number}"


def holder(storage: Storage, artifacts: str, number: int) -> str | None:
    """The id of the job that has an attempt, empty for one that was given up, None while no job has it.

    Raises:
        AwsError: S3 refused.
    """
    try:
        return str(json.loads(storage.read(f"{stem(artifacts, number)}.head"))["job_id"])
    except NotFound:
        return None


def _hold(storage: Storage, artifacts: str, number: int, job_id: str) -> str | None:
    """Take an attempt for a job, or give it up with an empty id; the answer is the job that has it."""
    uri = f"{stem(artifacts, number)}.head"
    if storage.write_once(uri, document({"job_id": job_id}).encode()):
        return job_id
    return holder(storage, artifacts, number)
