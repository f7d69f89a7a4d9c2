"""AWS Batch that runs its jobs: moto's queues, environments and definitions, our jobs.

moto runs a job in Docker, without credentials, secrets, capacity or retries. Here SubmitJob creates a
``job.Job`` instead, and the calls that describe or end jobs use these.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from moto.batch.exceptions import ClientException
from moto.batch.models import BatchBackend
from moto.batch.responses import BatchResponse

from modelbuild_local.aws import process
from modelbuild_local.aws.batch import description
from modelbuild_local.aws.batch.job import Job
from modelbuild_local.aws.batch.machines import Machines
from modelbuild_local.aws.patching import replace
from modelbuild_local.aws.settings import Settings

_STOP_SECONDS = 5.0


def install(settings: Settings) -> None:
    """Patch moto's Batch to run jobs; call this once, before the server answers."""
    Job.machines = Machines(settings)
    replace(BatchResponse, "submitjob", _submit_job)
    replace(BatchResponse, "describejobs", _describe_jobs)
    replace(BatchResponse, "listjobs", _list_jobs)
    replace(BatchBackend, "cancel_job", _cancel_job)


def stop() -> None:
    """End the processes of all jobs, and allow no new ones."""
    process.stop_all(_STOP_SECONDS)


def _submit_job(self: Any) -> str:
    backend, name = self.batch_backend, self._get_param("jobName")
    dependencies = self._get_param("dependsOn") or []
    size = (self._get_param("arrayProperties") or {}).get("size")
    _check(name, dependencies, size, backend._jobs)
    definition = _definition(backend, self._get_param("jobDefinition"))
    queue = _queue(backend, self._get_param("jobQueue"))

    def create_job(array: dict[str, int], job_id: str | None = None) -> Job:
        job = Job(
            name,
            definition,
            queue,
            backend,
            log_backend=backend.logs_backend,
            container_overrides=self._get_param("containerOverrides"),
            eks_properties_override=None,
            depends_on=dependencies,
            parameters=self._get_param("parameters"),
            all_jobs=backend._jobs,
            timeout=self._get_param("timeout"),
            array_properties=array,
            provided_job_id=job_id,
            tags=self._get_param("tags") if job_id is None else None,
            retry_strategy=self._get_param("retryStrategy") or {},
        )
        backend._jobs[job.job_id] = job
        job.submitted = True
        job.changed(job)
        return job

    job = create_job({})
    if size is None:
        job.waits_for = _waits_for(dependencies, backend._jobs)
        job.start()
    else:
        _start_array(job, [create_job({"index": index}, f"{job.job_id}:{index}") for index in range(size)])
    return json.dumps({"jobId": job.job_id, "jobName": name, "jobArn": job.arn})


def _check(
    name: str | None, dependencies: Sequence[Mapping[str, str]], size: int | None, jobs: Mapping[str, Any]
) -> None:
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]{0,127}", name or ""):
        raise ClientException(f"Job name {name!r} is not 1 to 128 letters, digits, hyphens and underscores")
    if size is not None and not 2 <= size <= 10_000:
        raise ClientException(f"Array size {size} is not between 2 and 10000")
    for entry in dependencies:
        if entry.get("jobId") and entry["jobId"] not in jobs:
            raise ClientException(f"The job {entry['jobId']} to depend on does not exist")


def _definition(backend: BatchBackend, name: str) -> Any:
    found = backend.get_job_definition(name)
    if found is None or found.status != "ACTIVE":
        raise ClientException(f"JobDefinition {name} does not exist or is not active")
    if found.type != "container" or not found.container_properties:
        raise ClientException(f"Only container jobs run on this machine, and {name} is of type {found.type}")
    return found


def _queue(backend: BatchBackend, name: str) -> Any:
    found = backend.get_job_queue(name)
    if found is None:
        raise ClientException(f"JobQueue {name} does not exist")
    if found.state != "ENABLED":
        raise ClientException(f"JobQueue {name} is {found.state}")
    return found


def _start_array(parent: Job, children: list[Job]) -> None:
    parent.children = children
    parent.status = "PENDING"
    for index, child in enumerate(children):
        child.parent = parent
        child.waits_for = _waits_for(parent.depends_on or [], parent.backend._jobs, index)
        if index and any(entry.get("type") == "SEQUENTIAL" for entry in parent.depends_on or []):
            child.waits_for.append(children[index - 1])
    for child in children:
        child.start()


def _waits_for(
    dependencies: Sequence[Mapping[str, str]], jobs: Mapping[str, Any], index: int | None = None
) -> list[Job]:
    found = [(entry, jobs[entry["jobId"]]) for entry in dependencies if entry.get("jobId")]
    return [
        job.children[index]
        if entry.get("type") == "N_TO_N" and index is not None and index < len(job.children)
        else job
        for entry, job in found
    ]


def _describe_jobs(self: Any) -> str:
    requested = set(self._get_param("jobs") or [])
    jobs = list(self.batch_backend._jobs.values())
    shown = [description.details(job) for job in jobs if job.job_id in requested or job.arn in requested]
    return json.dumps({"jobs": shown})


def _list_jobs(self: Any) -> str:
    backend, queue_name = self.batch_backend, self._get_param("jobQueue")
    status, filters = self._get_param("jobStatus"), self._get_param("filters") or []
    if array_id := self._get_param("arrayJobId"):
        array = backend.get_job_by_id(array_id)
        jobs = list(array.children) if array else []
    else:
        queue = backend.get_job_queue(queue_name)
        if queue is None:
            raise ClientException(f"Job queue {queue_name} does not exist")
        jobs = [job for job in list(queue.jobs) if job.parent is None]
    if status is not None and status not in description.STATES:
        raise ClientException(f"Job status is not one of {' | '.join(description.STATES)}")
    if filters:  # Batch then shows every state
        jobs = [job for job in jobs if all(_passes(job, entry) for entry in filters)]
    else:
        jobs = [job for job in jobs if job.status == (status or "RUNNING")]
    return json.dumps({"jobSummaryList": [description.summary(job) for job in jobs]})


def _passes(job: Job, entry: Mapping[str, Any]) -> bool:
    created = int(job.job_created_at.timestamp() * 1000)
    tests: dict[str, Callable[[str], bool]] = {
        "JOB_NAME": lambda value: _same(job.job_name, value),
        "JOB_DEFINITION": lambda value: _same(job.job_definition.arn.split("/")[-1], value),
        "BEFORE_CREATED_AT": lambda value: created < int(value),
        "AFTER_CREATED_AT": lambda value: created > int(value),
    }
    if entry.get("name") not in tests:
        raise ClientException(f"Filter {entry.get('name')} is not one of {' | '.join(tests)}")
    return any(tests[entry["name"]](value) for value in entry["values"])


def _same(text: str, pattern: str) -> bool:
    text, pattern = text.lower(), pattern.lower()
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


def _cancel_job(self: Any, job_id: str, reason: str) -> None:
    """CancelJob ends only jobs that have not started; other jobs must be terminated."""
    job = self.get_job_by_id(job_id)
    if job is not None and job.status in ("SUBMITTED", "PENDING", "RUNNABLE"):
        job.terminate(reason, cancelled=True)
