"""Jobs of AWS Batch: their submission and their state."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import ClientError

from modelbuild.aws.batch.definitions import JobDefinitions
from modelbuild.aws.failures import THROTTLED, NotFound, error_code, translated
from modelbuild.errors import ConfigurationError

if TYPE_CHECKING:
    import boto3

OVERRIDES_LIMIT = 8192
"""How many bytes Batch accepts as the overrides of a job."""

_DESCRIBED_AT_ONCE = 100
# Seconds before a throttled submission is sent again.
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, None)


@dataclass(frozen=True)
class BatchJob:
    """A job as Batch describes it.

    Attributes:
        id: its id.
        status: its state.
        reason: the reason of the state: the container's, else Batch's; may be empty.
        log_stream: its log; empty before it has one.
        environment: the plain variables of its container.
        exit_code: of its container, if that has ended.
        status_reason: Batch's own reason, or empty.
        stopped: whether it was cancelled or terminated.
        created: when it was submitted, in seconds since 1970.
        runnable_since: when it began to wait for a machine, in seconds since 1970: at its submission, or at
            the end of an attempt that Batch retries.
        runs_until: when Batch ends it for its timeout, in seconds since 1970.
    """

    id: str
    status: str
    reason: str
    log_stream: str
    environment: Mapping[str, str]
    exit_code: int | None = None
    status_reason: str = ""
    stopped: bool = False
    created: float = 0.0
    runnable_since: float = 0.0
    runs_until: float = math.inf

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self.status in ("SUCCEEDED", "FAILED")


class Batch:
    """A client of Batch with one identity. Every method raises ``AwsError`` when AWS refuses or is out of
    reach.

    Attributes:
        region: the region of the queues.
        definitions: the job definitions of the same identity.
    """

    def __init__(self, session: boto3.Session) -> None:
        with translated("set up a client for Batch"):
            self._batch = session.client("batch")
            # SubmitJob has no idempotency token. If only the answer to the first call was lost, a retry would
            # start a second training.
            self._once = session.client("batch", config=Config(retries={"total_max_attempts": 1}))
        self.region = self._batch.meta.region_name
        self.definitions = JobDefinitions(self._batch)

    def submit(
        self,
        name: str,
        *,
        queue: str,
        definition: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        timeout: int,
        tags: Mapping[str, str],
        resources: Mapping[str, int] | None = None,
        children: int = 1,
    ) -> str:
        """Submit a job, once, and return its id.

        Args:
            name: the name of the job.
            queue: the queue.
            definition: the ARN of the job definition.
            command: the command of the container.
            environment: the variables, beside those of the definition.
            timeout: how many seconds it may run.
            tags: the tags of the job.
            resources: ``VCPU``, ``MEMORY`` in MiB and ``GPU`` in place of the definition's.
            children: how many children an array job has; 1 for a job that is no array.

        Raises:
            ConfigurationError: the command and the environment are larger than Batch takes.
        """
        require_fitting(command, environment)
        overrides = _overrides(command, environment)
        if resources is not None:
            overrides["resourceRequirements"] = [
                {"type": kind, "value": str(value)} for kind, value in sorted(resources.items()) if value
            ]
        array: Any = {"arrayProperties": {"size": children}} if children > 1 else {}
        with translated(f"submit job {name} to queue {queue}"):
            for pause in _PAUSES:
                try:
                    answer = self._once.submit_job(
                        jobName=name,
                        jobQueue=queue,
                        jobDefinition=definition,
                        containerOverrides=overrides,
                        timeout={"attemptDurationSeconds": timeout},
                        tags=dict(tags),
                        propagateTags=True,
                        **array,
                    )
                    return answer["jobId"]
                except ClientError as error:
                    # Batch did not execute a throttled call, so it may be sent again.
                    if error_code(error) not in THROTTLED or pause is None:
                        raise
                time.sleep(pause * random.uniform(0.5, 1))
        raise AssertionError("the last attempt returns or raises")

    def find(self, queue: str, name: str) -> list[str]:
        """The ids of the jobs of this name in a queue, in every state; the name may end with ``*``."""
        with translated(f"look for job {name} in queue {queue}"):
            pages = self._batch.get_paginator("list_jobs").paginate(
                jobQueue=queue, filters=[{"name": "JOB_NAME", "values": [name]}]
            )
            return [job["jobId"] for page in pages for job in page["jobSummaryList"]]

    def runnable(self, queue: str) -> list[str]:
        """The ids of the jobs in a queue that could run, and wait for a machine."""
        with translated(f"look for jobs that wait in queue {queue}"):
            pages = self._batch.get_paginator("list_jobs").paginate(jobQueue=queue, jobStatus="RUNNABLE")
            return [job["jobId"] for page in pages for job in page["jobSummaryList"]]

    def terminate(self, job_id: str, reason: str) -> None:
        """Terminate a job in any state; nothing happens to a job that has ended."""
        with translated(f"terminate job {job_id}"):
            self._batch.terminate_job(jobId=job_id, reason=reason)

    def describe(self, job_id: str) -> BatchJob:
        """The state of a job.

        Raises:
            NotFound: Batch does not know it, or has forgotten it.
        """
        with translated(f"look at job {job_id}"):
            jobs = self._batch.describe_jobs(jobs=[job_id])["jobs"]
        if not jobs:
            raise NotFound(
                f"Batch has no job {job_id}, as it forgets jobs a week after they end: start a new build"
            )
        return job(jobs[0])

    def describe_all(self, job_ids: Sequence[str]) -> dict[str, BatchJob]:
        """The jobs that Batch still knows, by id; one call describes a hundred."""
        found: dict[str, BatchJob] = {}
        for start in range(0, len(job_ids), _DESCRIBED_AT_ONCE):
            some = list(job_ids[start : start + _DESCRIBED_AT_ONCE])
            with translated(f"look at {len(some)} jobs"):
                jobs = self._batch.describe_jobs(jobs=some)["jobs"]
            found |= {described["jobId"]: job(described) for described in jobs}
        return found


def job(described: Mapping[str, Any]) -> BatchJob:
    """A job from an entry of DescribeJobs, which has the same form as the detail of Batch's events."""
    container = described.get("container", {})
    seconds = described.get("timeout", {}).get("attemptDurationSeconds", math.inf)
    began = [attempt.get("stoppedAt", 0) for attempt in described.get("attempts", [])]
    return BatchJob(
        id=described["jobId"],
        status=described["status"],
        reason=container.get("reason") or described.get("statusReason") or "",
        log_stream=container.get("logStreamName", ""),
        environment={entry["name"]: entry["value"] for entry in container.get("environment", [])},
        exit_code=container.get("exitCode"),
        status_reason=described.get("statusReason") or "",
        stopped=bool(described.get("isTerminated") or described.get("isCancelled")),
        created=described.get("createdAt", 0) / 1000,
        runnable_since=max(described.get("createdAt", 0), *began, 0) / 1000,
        runs_until=described["startedAt"] / 1000 + seconds if "startedAt" in described else math.inf,
    )


def overrides_bytes(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """How many bytes of :data:`OVERRIDES_LIMIT` a job's own command and variables take."""
    return len(json.dumps(_overrides(command, environment)).encode())


def require_fitting(command: Sequence[str], environment: Mapping[str, str], reserved_bytes: int = 0) -> None:
    """Refuse what Batch would refuse; ``reserved_bytes`` is how much Metaflow adds to the overrides.

    Raises:
        ConfigurationError: the command and the variables are larger than Batch takes.
    """
    size = overrides_bytes(command, environment) + reserved_bytes
    if size > OVERRIDES_LIMIT:
        more = f" with {reserved_bytes} for Metaflow" if reserved_bytes else ""
        raise ConfigurationError(
            f"the variables of the job take {size} bytes{more}, and Batch takes {OVERRIDES_LIMIT}: shorten "
            "options environment and tags, or move values to params"
        )


def _overrides(command: Sequence[str], environment: Mapping[str, str]) -> Any:
    return {
        "command": list(command),
        "environment": [{"name": key, "value": value} for key, value in sorted(environment.items())],
    }
