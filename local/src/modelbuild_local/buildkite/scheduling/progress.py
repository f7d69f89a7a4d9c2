"""Applies the consequences of a change that need neither an agent nor a person."""

from __future__ import annotations

from datetime import datetime

from modelbuild_local.buildkite.scheduling import scheduler
from modelbuild_local.buildkite.state import Build, Job


def cancel(job: Job, now: datetime) -> None:
    """Cancel a job that has not ended: stop its agent's process, or end it at once."""
    if job.state == "assigned" and job.agent is not None:
        job.agent.job = None
    if job.state in ("accepted", "running", "timing_out"):
        job.state = "canceling"
    elif not (job.passed or job.failed) and job.state != "canceling":
        job.state, job.finished_at = "canceled", now


def settle(build: Build, now: datetime) -> None:
    """Update the state of a build from its jobs."""
    _move(build, now)
    build.state, build.blocked = scheduler.build_state(build)
    if build.state == "failing" and build.failing_at is None:
        build.failing_at = now
    if build.state == "failing" and (doomed := scheduler.canceled_by_failure(build)):
        for job in doomed:
            cancel(job, now)
        _move(build, now)
        build.state, build.blocked = scheduler.build_state(build)
    build.finished_at = (build.finished_at or now) if scheduler.is_over(build) else None


def _move(build: Build, now: datetime) -> None:
    while changes := scheduler.transitions(build):
        for job, state, behind_cancel in changes:
            job.state, job.behind_cancel = state, behind_cancel
            if state in ("scheduled", "blocked"):
                job.runnable_at = now
            if state == "finished":
                job.exit_status, job.finished_at = 0, now
