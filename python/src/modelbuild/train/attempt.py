"""The attempts at one training: which head job is the one, and from where a later one goes on.

Nothing but a conditional write decides. ``attempts/<n>.json`` is written once, by the run of the train
step that submits head ``n``, and says with what. ``attempts/<n>.head`` is written once, by the job that is
head ``n``, or by whoever gave that head up: a job that comes later stands down. So two runs of a step that
race, and an answer of Batch that got lost, still make one training. ``attempts/<n>.run`` names Metaflow's
run.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, JsonValue, ValidationError

from modelbuild.aws.batch import Batch, BatchJob
from modelbuild.aws.storage import NotFound, Storage
from modelbuild.contract import ATTEMPT, DELIVERED_FILE, JOB_FILE, attempt_prefix
from modelbuild.errors import AwsError, ConfigurationError, ModelbuildError
from modelbuild.train import outcome

# How long another run of the step may take between its claim and its job, before it is given up.
_PATIENCE_SECONDS = 30.0
_LOOK_AGAIN_SECONDS = 1.0
# Batch ends a container within half a minute.
_STEPS_END_SECONDS = 120.0


class JobRecord(BaseModel):
    """``job.json``: which Batch job is the newest head of a training."""

    job_id: str
    queue: str
    region: str
    attempt: int = 1


class Run(BaseModel):
    """``attempts/<n>.run``: a run of Metaflow, from which a later one may go on."""

    flow_name: str
    run_id: str


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
            about: who asks and with what a head is submitted, for the record.
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
        uri = f"{_stem(self.artifacts, number)}.json"
        claim = {"attempt": number, "id": uuid.uuid4().hex, **about}
        text = (json.dumps(claim, indent=2) + "\n").encode()
        # A claim whose answer got lost is sent once more, and then refused because it is there.
        return self.storage.write_once(uri, text) or self.storage.read(uri) == text

    def _over(self, record: JobRecord, told: Callable[[], bool], say: Callable[[str], None]) -> bool:
        """Whether an attempt has ended without a model, or with one of which nobody will tell the build."""
        # Batch forgets jobs after a week.
        job = self.batch.describe_all([record.job_id]).get(record.job_id)
        place = attempt_prefix(self.artifacts, record.attempt)
        result = outcome.stored(self.storage, place)
        if result is None:
            return job is None or job.ended
        if result.status != "succeeded":
            return True
        # Nobody waited when it was to be told, as the build was over; now it goes on.
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
            holder = _holder(self.storage, self.artifacts, number)
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
        ours = {"ARTIFACTS": self.artifacts, ATTEMPT: str(number)}
        return next((job.id for job in jobs if ours.items() <= job.environment.items()), None)

    def _give_up(self, number: int) -> bool:
        """Make sure that head ``number`` never trains; False where it does already."""
        return _hold(self.storage, self.artifacts, number, "") == ""

    def _record(self, number: int, job_id: str) -> JobRecord:
        record = JobRecord(job_id=job_id, queue=self.queue, region=self.batch.region, attempt=number)
        text = (json.dumps(record.model_dump(), indent=2, sort_keys=True) + "\n").encode()
        uri = f"{self.artifacts}/{JOB_FILE}"
        # A run of the step that comes late must not bring an old head back.
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


def enter(storage: Storage, artifacts: str, number: int, job_id: str) -> None:
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
    holder = _hold(storage, artifacts, number, job_id)
    if holder != job_id:
        raise Superseded(
            f"attempt {number} at {artifacts} belongs to {f'job {holder}' if holder else 'nobody any more'}"
        )


def note_run(storage: Storage, artifacts: str, number: int, run: Run) -> None:
    """Write down the run of an attempt; a failure costs only what a resumption would save."""
    try:
        storage.write(f"{_stem(artifacts, number)}.run", (run.model_dump_json() + "\n").encode())
    except AwsError as error:
        print(f"attempt: {error}", flush=True)


def newest_run(storage: Storage, artifacts: str, number: int) -> Run | None:
    """The run to go on from: the newest of this attempt or an earlier one.

    Raises:
        AwsError: S3 refused.
    """
    for earlier in range(number, 0, -1):
        try:
            return Run.model_validate_json(storage.read(f"{_stem(artifacts, earlier)}.run"))
        except NotFound:
            continue
    return None


def terminate_left(storage: Storage, batch: Batch, head: BatchJob) -> list[str]:
    """Terminate the steps' jobs that a head which has ended left behind; the answer is their ids.

    A job that was not the head of its attempt has none.

    Raises:
        AwsError: S3 or Batch refused.
    """
    artifacts, number = head.environment["ARTIFACTS"], number_of(head.environment)
    if _holder(storage, artifacts, number) != head.id:
        return []
    run = newest_run(storage, artifacts, number)
    return [] if run is None else _terminate_steps(batch, head.environment, run)


def end_steps(batch: Batch, environ: Mapping[str, str], run: Run) -> list[str]:
    """End the steps' jobs that outlived the head of a run, and wait until they have; the answer is their ids.

    Raises:
        AwsError: Batch refused, or a job did not end.
    """
    left = _terminate_steps(batch, environ, run)
    until = time.monotonic() + _STEPS_END_SECONDS
    while not all(job.ended for job in batch.describe_all(left).values()):
        if time.monotonic() > until:
            raise AwsError(f"the jobs {', '.join(left)} of an earlier run do not end: terminate them by hand")
        time.sleep(_LOOK_AGAIN_SECONDS)
    return left


def lost_hosts(batch: Batch, environ: Mapping[str, str], run: Run) -> bool:
    """Whether a run failed because hosts of its steps' jobs went away, and for nothing else."""
    # What Metaflow ends because another step failed says nothing about why that one did.
    failed = [job for job in _steps(batch, environ, run) if job.status == "FAILED" and not job.stopped]
    return bool(failed) and all(job.status_reason.startswith("Host EC2") for job in failed)


def _terminate_steps(batch: Batch, environ: Mapping[str, str], run: Run) -> list[str]:
    left = [job.id for job in _steps(batch, environ, run) if not job.ended]
    for job_id in left:
        batch.terminate(job_id, "its head is gone")
    return left


def container_ended(batch: Batch, environ: Mapping[str, str], run: Run) -> str:
    """Why Batch ended the container of a step, or could not start it; empty where it did neither."""
    failed = [job for job in _steps(batch, environ, run) if job.status == "FAILED" and not job.stopped]
    return next((job.reason for job in failed if job.reason != job.status_reason), "")


def _steps(batch: Batch, environ: Mapping[str, str], run: Run) -> list[BatchJob]:
    """The jobs of a run's steps, in whatever state; ``environ`` is what Metaflow has."""
    names = {environ.get(name) for name in ("METAFLOW_BATCH_JOB_QUEUE", "GPU_JOB_QUEUE")}
    beginning = f"{environ.get('METAFLOW_USER')}-{run.flow_name}-{run.run_id}-*"
    found = [job_id for queue in sorted(filter(None, names)) for job_id in batch.find(queue, beginning)]
    return list(batch.describe_all(found).values())


def _stem(artifacts: str, number: int) -> str:
    return f"{artifacts}/attempts/{number}"


def _hold(storage: Storage, artifacts: str, number: int, job_id: str) -> str | None:
    """Take an attempt for a job, or for nobody; the answer is who has it."""
    uri = f"{_stem(artifacts, number)}.head"
    if storage.write_once(uri, (json.dumps({"job_id": job_id}) + "\n").encode()):
        return job_id
    return _holder(storage, artifacts, number)


def _holder(storage: Storage, artifacts: str, number: int) -> str | None:
    """The job that has an attempt, empty for one that was given up, None while nobody has it."""
    try:
        return str(json.loads(storage.read(f"{_stem(artifacts, number)}.head"))["job_id"])
    except NotFound:
        return None
