"""AWS Batch that runs its jobs: moto's queues, environments and definitions, our jobs.

moto runs a job in Docker, without credentials, secrets, capacity or retries. Here SubmitJob creates a
``job.Job`` instead, and the calls that describe or end jobs use these.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from moto.batch.exceptions import ClientException
from moto.batch.models import BatchBackend
from moto.batch.responses import BatchResponse

from modelbuild_local.aws import process
from modelbuild_local.aws.batch import description, rules
from modelbuild_local.aws.batch.job import Job
from modelbuild_local.aws.batch.machines import Machines
from modelbuild_local.aws.patching import replace
from modelbuild_local.aws.settings import Settings

_STOP_SECONDS = 5.0
_LISTED_AT_ONCE = 1000
_FILTERED_AT_ONCE = 100


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
    rules.check_submission(json.loads(self.body), backend._jobs)
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
    requested = self._get_param("jobs") or []
    rules.check_described(requested)
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
    rules.check_filters(filters, _FILTERS)
    if filters:  # Batch then shows every state, the newest first
        [entry] = filters
        passes, values = _FILTERS[entry["name"]], entry["values"]
        found = [job for job in reversed(jobs) if any(passes(job, value) for value in values)]
    else:
        found = [job for job in jobs if job.status == (status or "RUNNING")]
    most = _FILTERED_AT_ONCE if filters else _LISTED_AT_ONCE
    start, size = int(self._get_param("nextToken") or 0), min(self._get_param("maxResults") or most, most)
    page = {"jobSummaryList": [description.summary(job) for job in found[start : start + size]]}
    return json.dumps({**page, "nextToken": str(start + size)} if len(found) > start + size else page)


def _created(job: Job) -> int:
    return int(job.job_created_at.timestamp() * 1000)


def _is_of(job: Job, definition: str) -> bool:
    """Whether a job is of a definition: by its name, for all revisions, or by its ARN."""
    arn = job.job_definition.arn
    return _matches(arn.split("/")[-1].partition(":")[0], definition) or arn == definition


def _matches(text: str, pattern: str) -> bool:
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


_FILTERS: dict[str, Callable[[Job, str], bool]] = {
    "JOB_NAME": lambda job, value: _matches(job.job_name.lower(), value.lower()),
    "JOB_DEFINITION": _is_of,
    "BEFORE_CREATED_AT": lambda job, value: _created(job) < int(value),
    "AFTER_CREATED_AT": lambda job, value: _created(job) > int(value),
}


def _cancel_job(self: Any, job_id: str, reason: str) -> None:
    """CancelJob ends only jobs that have not started; other jobs must be terminated."""
    job = self.get_job_by_id(job_id)
    if job is not None and job.status in ("SUBMITTED", "PENDING", "RUNNABLE"):
        job.terminate(reason, cancelled=True)
