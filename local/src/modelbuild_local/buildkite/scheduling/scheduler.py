"""The next transitions: pure functions of the state of builds and agents."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Literal, NamedTuple

from modelbuild_local.buildkite.pipeline.definition import CommandStep, ManualStep, WaitStep
from modelbuild_local.buildkite.pipeline.graph import before_barrier
from modelbuild_local.buildkite.scheduling.concurrency import concurrency_groups, may_start
from modelbuild_local.buildkite.state import (
    ASLEEP,
    WITH_AGENT,
    Agent,
    Build,
    BuildState,
    Job,
    JobState,
    Step,
)

Readiness = Literal["ready", "waiting", "failed", "canceled"]


class Transition(NamedTuple):
    """A job's next state, and whether the cause is a canceled job."""

    job: Job
    state: JobState
    behind_cancel: bool


def readiness(build: Build, step: Step) -> Readiness:
    """The state of a step's dependencies: all have passed (ready), some have not ended, or one has failed.

    After a canceled job nothing runs, even if the step allows failures (canceled).
    """
    waiting = failed = False
    for job, may_fail in _awaited(build, step):
        if job.state == "canceled" or job.behind_cancel:
            return "canceled"
        if job.passed:
            continue
        dead = job.failed or job.state in ("waiting_failed", "broken")
        failed = failed or (dead and not may_fail)
        waiting = waiting or not dead
    return "failed" if failed else "waiting" if waiting else "ready"


def _awaited(build: Build, step: Step) -> Iterator[tuple[Job, bool]]:
    """The jobs that a step waits for, each with whether it may fail.

    ``continue_on_failure`` allows failures of steps, but not of an earlier wait or block step.
    """
    for edge in step.edges:
        for target in edge.targets:
            yield target.job, edge.allow_failure
    if step.position.is_barrier:
        tolerant = isinstance(step.definition, WaitStep) and step.definition.continue_on_failure
        for other in before_barrier(build.steps, step):
            yield other.job, tolerant and not (other.position.is_barrier and other.group is step.group)


def transitions(build: Build) -> list[Transition]:
    """The jobs whose state changes because of the state of other jobs.

    Applying the transitions may cause further ones; when the list is empty, the build waits for an agent or a
    person.
    """
    changes: list[Transition] = []
    for step in build.steps:
        job = step.job
        if job.state not in ASLEEP or step.omitted:
            continue
        ready = readiness(build, step)
        change = Transition(job, _next_state(build, job, ready), ready == "canceled")
        if (change.state, change.behind_cancel) != (job.state, job.behind_cancel):
            changes.append(change)
    return changes


def _next_state(build: Build, job: Job, ready: Readiness) -> JobState:
    if ready in ("failed", "canceled"):
        return "waiting_failed" if _continues(build) else "broken"
    if ready == "waiting":
        return "waiting"
    if job.type == "waiter":
        return "finished"
    return "blocked" if job.type == "manual" else "scheduled"


def _continues(build: Build) -> bool:
    """Whether an agent has, or will take, a job of the build, or a person may unblock one."""
    return _active(build) or any(step.job.state == "blocked" for step in build.steps)


def _active(build: Build) -> bool:
    return any(step.job.state in WITH_AGENT or step.job.state == "scheduled" for step in build.steps)


def build_state(build: Build) -> tuple[BuildState, bool]:
    """The state of a build after its transitions, and whether it waits for a step to be unblocked."""
    jobs = [step.job for step in build.steps]
    failed = any(job.failed for job in jobs)
    blocks = [job for job in jobs if job.state == "blocked"]
    if build.canceled:
        return ("canceling" if any(job.state in WITH_AGENT for job in jobs) else "canceled"), False
    if _active(build):
        if failed:
            return "failing", bool(blocks)
        started = any(job.started_at for job in build.jobs)
        return ("running" if started else "scheduled"), bool(blocks)
    if failed:
        return "failed", bool(blocks)
    if blocks:
        return _blocked_state(blocks), True
    work = [step for step in build.steps if not isinstance(step.definition, WaitStep)]
    return ("not_run" if work and all(step.omitted for step in work) else "passed"), False


def _blocked_state(blocks: list[Job]) -> BuildState:
    """The state that the open blocks give the build: running or failed have priority over passed."""
    definitions = [job.step.definition for job in blocks]
    states = {definition.blocked_state for definition in definitions if isinstance(definition, ManualStep)}
    return "running" if "running" in states else "failed" if "failed" in states else "passed"


def canceled_by_failure(build: Build) -> list[Job]:
    """The jobs to cancel in a failing build, by ``cancel_on_build_failing`` of their steps."""
    return [
        step.job
        for step in build.steps
        if isinstance(step.definition, CommandStep)
        and step.definition.cancel_on_build_failing
        and step.job.state != "canceling"
        and not (step.job.passed or step.job.failed)
    ]


def is_over(build: Build) -> bool:
    """Whether the build has ended, unless a job is retried."""
    state, blocked = build_state(build)
    return not blocked and state in ("passed", "failed", "canceled", "not_run")


def can_run(agent: Agent, step: CommandStep) -> bool:
    """Whether the agent has all tags that the step requires; without a queue the queue is ``default``."""
    required = {"queue": "default", **step.agents}
    tags = dict(tag.partition("=")[::2] for tag in ("queue=default", *agent.tags))
    return all(name in tags and value in ("*", tags[name]) for name, value in required.items())


def next_job(builds: Collection[Build], agent: Agent) -> Job | None:
    """The next job for the agent: by priority, then by age of the build, then in pipeline order."""
    candidates = [
        (step.job, step.definition)
        for build in builds
        for step in build.steps
        if isinstance(step.definition, CommandStep)
        and step.job.state == "scheduled"
        and can_run(agent, step.definition)
    ]
    groups = concurrency_groups(builds)
    candidates.sort(key=lambda candidate: (-(candidate[1].priority or 0), candidate[0].build.created_at))
    startable = (
        job
        for job, definition in candidates
        if may_start(job, groups.get(definition.concurrency_group or "", []))
    )
    return next(startable, None)


def fails_softly(job: Job) -> bool:
    """Whether a job that ended with an error counts as passed, by its step's ``soft_fail``."""
    definition = job.step.definition
    if not isinstance(definition, CommandStep) or job.state != "finished" or job.exit_status == 0:
        return False
    return any(rule.exit_status in ("*", job.exit_status) for rule in definition.soft_fail)


def outcome(jobs: list[Job]) -> str:
    """The outcome of a step: the worst of its jobs after all have ended."""
    if any(job.failed for job in jobs):
        return "hard_failed"
    if not all(job.passed for job in jobs) or all(job.step.omitted for job in jobs):
        return "neutral"
    return "soft_failed" if any(job.soft_failed for job in jobs) else "passed"
