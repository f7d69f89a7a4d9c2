"""Concurrency groups: how many jobs of a group run at once, over all builds, and in which order.

Source: https://buildkite.com/docs/pipelines/configure/workflows/controlling-concurrency
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from modelbuild_local.buildkite.pipeline.definition import CommandStep
from modelbuild_local.buildkite.pipeline.graph import ancestors
from modelbuild_local.buildkite.state import WITH_AGENT, Build, Job


def concurrency_groups(builds: Iterable[Build]) -> Mapping[str, list[Job]]:
    """The newest jobs of all steps in each concurrency group, over all builds."""
    groups: defaultdict[str, list[Job]] = defaultdict(list)
    for build in builds:
        for step in build.steps:
            if isinstance(step.definition, CommandStep) and step.definition.concurrency_group is not None:
                groups[step.definition.concurrency_group].append(step.job)
    return groups


def mark_limited(builds: Iterable[Build]) -> None:
    """Note of each job that could run whether its concurrency group has no place for it yet."""
    for group in concurrency_groups(builds).values():
        for job in group:
            job.limited = job.state == "scheduled" and not may_start(job, group)


def may_start(job: Job, group: Sequence[Job]) -> bool:
    """Whether a job may start now in its concurrency group.

    With the method ``ordered`` earlier jobs that will run count too; with ``eager`` only jobs that an agent
    has count.

    Args:
        job: the job, which waits only for an agent.
        group: the newest jobs of all steps of its group, over all builds.
    """
    definition = job.step.definition
    if not isinstance(definition, CommandStep) or definition.concurrency is None:
        return True
    taken = sum(1 for other in group if other.state in WITH_AGENT)
    if definition.concurrency_method == "ordered":
        earlier = sorted(group, key=lambda other: other.created_at)
        taken += sum(1 for other in earlier[: earlier.index(job)] if _is_queued(other, job))
    return taken < definition.concurrency


def _is_queued(other: Job, job: Job) -> bool:
    """Whether ``other`` will run before ``job``.

    A job behind a blocked step is not in the queue, nor is one that waits for ``job`` itself.
    """
    if other.state == "scheduled":
        return True
    before = list(ancestors(other.build, other.step)) if other.state == "waiting" else []
    closed = any(step.job.type == "manual" and step.job.state in ("waiting", "blocked") for step in before)
    return other.state == "waiting" and not closed and job.step not in before
