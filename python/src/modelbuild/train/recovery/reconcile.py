"""``modelbuild reconcile``: delivers, on a schedule, what neither a head nor the function delivered.

For each training it compares what lies in S3, what Batch knows, and what the build waits for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from modelbuild import callback, log
from modelbuild.aws.batch import Batch, BatchJob
from modelbuild.aws.identity import session
from modelbuild.aws.secrets import secret
from modelbuild.aws.storage import Storage
from modelbuild.buildkite.rest import DEFAULT_URL, TOKEN, Rest, RestError
from modelbuild.contract import DELIVERED_FILE, REQUEST_FILE, TrainingRequest, attempt_prefix
from modelbuild.errors import BuildkiteError, ConfigurationError, describe
from modelbuild.settings import AwsSettings
from modelbuild.train.attempts import attempt, delivery, outcome
from modelbuild.train.recovery import waiting
from modelbuild.train.recovery.ended import describe_head, end_steps
from modelbuild.train.submit.submission import job_name

# A request this young may still be on its way to Batch.
YOUNG_SECONDS = 900.0
# How long the delivery of one result may take before the next training is looked at.
_SECONDS_EACH = 60.0


@dataclass(frozen=True)
class _Open:
    """A training whose result was not delivered yet.

    Attributes:
        request: what was asked for.
        age: seconds since then.
        job_id: the newest head, where there is one.
        number: of that head's attempt.
    """

    request: TrainingRequest
    age: float
    job_id: str | None
    number: int

    @property
    def place(self) -> str:
        """Where the result of the attempt lies."""
        return attempt_prefix(self.request.artifacts, self.number)


def run(artifacts: str, queue: str, secret_name: str, environ: Mapping[str, str] = os.environ) -> None:
    """Look at each training of a pipeline whose result was not delivered, and deliver it where there is one.

    Prints one line for each of them.

    Args:
        artifacts: where the pipeline's models lie.
        queue: Batch queue of the heads, for a job that was submitted and not recorded.
        secret_name: secret with Buildkite's token, read where the environment has none.
        environ: where Buildkite's address is, and perhaps the token.

    Raises:
        AwsError: AWS refused.
        BuildkiteError: at least one build that has to know could not be told.
    """
    aws = session(AwsSettings())
    storage, batch = Storage(aws), Batch(aws)
    found = list(_open(storage, batch, artifacts.rstrip("/"), queue))
    if not found:
        log.say(f"every build below {artifacts} knows how its training ended")
        return
    known = batch.describe_all([one.job_id for one in found if one.job_id is not None])
    token = environ.get(TOKEN) or secret(aws, secret_name, TOKEN)
    environ = {**environ, TOKEN: token}
    failed = 0
    for one in found:
        try:
            said = _finish(storage, batch, one, known, environ)
        except Exception as error:  # noqa: BLE001 - the other builds must hear of theirs, whatever it is
            failed += 1
            said = f"not told: {describe(error)}"
        log.say(f"{one.request.model_id}: {said}")
    if failed:
        raise BuildkiteError(
            f"{failed} of {len(found)} trainings could not be told: the lines above say why, and the next "
            "run tries again"
        )


def _open(storage: Storage, batch: Batch, artifacts: str, queue: str) -> Iterator[_Open]:
    ages = storage.ages(f"{artifacts}/")
    for uri, age in sorted(ages.items()):
        prefix, _, name = uri.rpartition("/")
        if name != REQUEST_FILE or prefix.count("/") != artifacts.count("/") + 1:
            continue
        # For most models, the list is enough.
        if f"{prefix}/{DELIVERED_FILE}" in ages and f"{prefix}/attempts/2.json" not in ages:
            continue
        try:
            request = outcome.read_request_of_any_version(storage, prefix)
            job_id, number = _head(storage, batch, queue, request)
        except ConfigurationError as error:
            log.say(f"{prefix.rpartition('/')[2]}: left alone: {error}")
            continue
        one = _Open(request, age, job_id, number)
        if f"{one.place}/{DELIVERED_FILE}" not in ages:
            yield one


def _head(storage: Storage, batch: Batch, queue: str, request: TrainingRequest) -> tuple[str | None, int]:
    """The newest head and the number of its attempt, also of one whose submission was not written down."""
    record = attempt.recorded(storage, request.artifacts)
    if record is not None:
        return record.job_id, record.attempt
    for job in batch.describe_all(batch.find(queue, job_name(request))).values():
        if job.environment.get("ARTIFACTS") == request.artifacts:
            return job.id, attempt.number_of(job.environment)
    return None, 1


def _finish(
    storage: Storage,
    batch: Batch,
    one: _Open,
    known: Mapping[str, BatchJob],
    environ: Mapping[str, str],
) -> str:
    """Tell the build if its training is over, and end what is left of it; the answer is this model's line."""
    head = known.get(one.job_id) if one.job_id else None
    try:
        if head is not None:
            waiting.end_if_overdue(storage, batch, head, environ)
            end_steps(storage, batch, head)
    finally:
        # Whatever becomes of the steps, the build has to know.
        said = _told(storage, one, head, environ)
    return said


def _told(storage: Storage, one: _Open, head: BatchJob | None, environ: Mapping[str, str]) -> str:
    request = one.request
    result = outcome.read_result(storage, one.place)
    if result is None:
        if head is not None and not head.ended:
            return f"job {head.id} is {head.status}: nothing to do"
        if head is not None:
            said = describe_head(head)
        elif one.age < YOUNG_SECONDS:
            return f"asked for {one.age / 60:.0f} minutes ago and not submitted yet: left alone"
        elif one.job_id:
            said = outcome.unsuccessful(
                "failed", f"Batch does not know job {one.job_id} any more: train again"
            )
        elif not _waits(storage, request, environ):
            # Its step failed before it submitted, and may be retried: nothing of it is over.
            return "never submitted, and no build waits for it: left alone"
        else:
            said = outcome.unsuccessful("failed", "no job was submitted for this training: train again")
        result = outcome.write_result_once(storage, one.place, said, environ)
    told = delivery.deliver_result(storage, one.number, request, result, environ, _SECONDS_EACH)
    return f"{told} ({result.reason})" if result.reason else told


def _waits(storage: Storage, request: TrainingRequest, environ: Mapping[str, str]) -> bool:
    """Whether the build waits at the step that this training would unblock, or will never reach it."""
    rest = Rest(environ.get("BUILDKITE_API_URL") or DEFAULT_URL, environ[TOKEN])
    turns = callback.shared_rate_limiter(storage, request.artifacts)
    time.sleep(turns.next())
    try:
        jobs = rest.jobs(request.build, request.unblock)
    except RestError as error:
        if error.status != 404:
            raise
        time.sleep(turns.next())
        if not rest.deleted(request.build):
            raise
        return True
    return any(job.type == "manual" and job.state == "blocked" for job in jobs)
