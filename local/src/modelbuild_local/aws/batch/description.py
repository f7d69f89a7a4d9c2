"""The entries of DescribeJobs and ListJobs for a job."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from modelbuild_local.aws.batch.job import Job

STATES = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED")


def summary(job: Job) -> dict[str, Any]:
    """One entry of ListJobs."""
    shown: dict[str, Any] = {
        "jobId": job.job_id,
        "jobArn": job.arn,
        "jobName": job.job_name,
        "jobDefinition": job.job_definition.arn,
        "createdAt": _milliseconds(job.job_created_at),
        "status": job.status,
    }
    if reason := job.job_stopped_reason or (job.obstacle if job.status == "RUNNABLE" else ""):
        shown["statusReason"] = reason
    if job.started:
        shown["startedAt"] = _milliseconds(job.job_started_at)
    if job.job_stopped:
        shown["stoppedAt"] = _milliseconds(job.job_stopped_at)
    if job.outcome and not job.children:
        shown["container"] = _end(job)
    if array := _array(job):
        shown["arrayProperties"] = array
    return shown


def details(job: Job) -> dict[str, Any]:
    """One entry of DescribeJobs."""
    shown = {
        **summary(job),
        "jobQueue": job.job_queue.arn,
        "dependsOn": job.depends_on or [],
        "parameters": job.parameters,
        "tags": job.backend.list_tags_for_resource(job.arn),
        "platformCapabilities": job.job_definition.platform_capabilities or ["EC2"],
        "attempts": list(job.attempts),
        "isCancelled": job.cancelled,
        "isTerminated": job.terminated,
        "container": _container(job),
    }
    if job.retry_strategy:
        shown["retryStrategy"] = job.retry_strategy
    if timeout := job.timeout or job.job_definition.timeout:
        shown["timeout"] = timeout
    return shown


def _container(job: Job) -> dict[str, Any]:
    made_of = job.container
    shown: dict[str, Any] = {
        **made_of.described,
        "image": made_of.image,
        "command": made_of.command,
        "environment": [{"name": name, "value": value} for name, value in made_of.environment.items()],
        "secrets": [{"name": name, "valueFrom": source} for name, source in made_of.secrets.items()],
        "resourceRequirements": [
            {"type": kind, "value": value} for kind, value in made_of.requirements.items()
        ],
        "networkInterfaces": [],
        **_end(job),
    }
    if made_of.role:
        shown["jobRoleArn"] = made_of.role
    if job.log_stream_name:
        shown["logStreamName"] = job.log_stream_name
    return shown


def _end(job: Job) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if job.outcome and job.outcome.exit_code is not None and not job.children:
        shown["exitCode"] = job.outcome.exit_code
    if job.outcome and job.outcome.reason:
        shown["reason"] = job.outcome.reason
    return shown


def _array(job: Job) -> dict[str, Any]:
    if job.children:
        counts = Counter(child.status for child in job.children)
        return {"size": len(job.children), "statusSummary": {state: counts[state] for state in STATES}}
    return {"index": job.array_properties["index"]} if job.parent else {}


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
