"""Retries of a job: automatic ones by its step's rules, and manual ones.

Source: https://buildkite.com/docs/pipelines/configure/retry
"""

from __future__ import annotations

from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.pipeline.definition import CommandStep
from modelbuild_local.buildkite.state import Job


def automatic_rule(job: Job) -> int | None:
    """The number of the rule that retries an ended job, or None.

    The first matching rule decides, and counts only its own retries. Canceled jobs, and jobs of canceled
    builds, are not retried.
    """
    definition = job.step.definition
    if not isinstance(definition, CommandStep) or not job.failed:
        return None
    if job.state == "canceled" or job.build.canceled:
        return None
    status = -1 if job.exit_status is None else job.exit_status
    for number, rule in enumerate(definition.retry.automatic):
        if rule.matches(status, job.signal, job.signal_reason):
            made = sum(1 for other in job.step.jobs if other.retry_rule == number)
            return number if made < rule.limit else None
    return None


def check_manual(job: Job) -> None:
    """Require that a person may retry the job. Refused (400, 422): with the reason."""
    definition = job.step.definition
    ended = isinstance(definition, CommandStep) and not job.step.omitted and (job.failed or job.passed)
    if not ended or not isinstance(definition, CommandStep):
        raise Refused(400, "Only failed, timed out or canceled jobs can be retried")
    manual = definition.retry.manual
    if job.passed and not job.soft_failed and not manual.permit_on_passed:
        raise Refused(400, "Only failed, timed out or canceled jobs can be retried")
    if job.build.canceled:
        raise Refused(422, "Jobs from canceled builds cannot be retried")
    if job.retried_in is not None:
        raise Refused(422, f"The job has already been retried in {job.retried_in.id}")
    if not manual.allowed:
        raise Refused(422, manual.reason or "Manual retry is not allowed for this step")


def failure(job: Job) -> str:
    """The kind of a job's failure: ``failed``, ``soft_failed``, ``timed_out`` or ``canceled``; else empty."""
    if job.soft_failed:
        return "soft_failed"
    if not job.failed:
        return ""
    return "failed" if job.state == "finished" else job.state


def may_retry(job: Job) -> bool:
    """Whether a person may retry the job."""
    try:
        check_manual(job)
    except Refused:
        return False
    return True
