"""Puts parsed steps into a build: where they stand, and what each one waits for.

The rules are Buildkite's. A step without ``depends_on`` waits for the nearest wait or block step before
it; one with ``depends_on`` for exactly what it names. A wait or block step without ``depends_on`` waits
for everything before it. Inside a group, wait and block steps count for the group alone. Uploaded steps
stand right after the step that uploaded them and wait for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from modelbuild.local.buildkite.definition import AnyStep, CommandStep, GroupStep, ManualStep, Pipeline
from modelbuild.local.buildkite.pipeline import PipelineError
from modelbuild.local.buildkite.state import Build, Edge, Group, Job, JobType, Step


def insert(build: Build, pipeline: Pipeline, uploader: Step | None, now: datetime) -> None:
    """Add the pipeline's steps to ``build``, after ``uploader`` or, where there is none, at the end.

    Raises:
        PipelineError: a key is taken, or a dependency does not exist or leads in a circle; nothing is added.
    """
    placed, groups = _place(pipeline)
    new = [step for step, _, _ in placed]
    index = len(build.steps) if uploader is None else _after(build, uploader)
    steps = [*build.steps[:index], *new, *build.steps[index:]]
    known = _by_key([*build.steps, *build.groups, *new, *groups])
    for position, (step, definition, parent) in enumerate(placed):
        earlier = steps[: index + position]
        rules = [*(definition.depends_on or []), *((parent.depends_on or []) if parent else [])]
        for rule in rules:
            target = known.get(rule.step) or build.find(rule.step)
            if target is None:
                raise PipelineError(
                    f"{_name(step)} depends on '{rule.step}', which is not a step of this build"
                )
            step.edges.append(Edge(target, rule.allow_failure))
        if definition.depends_on is None and not step.barrier:
            step.edges += _nearest_barrier(earlier, step.group)
        if parent is not None and parent.depends_on is None:
            step.edges += _nearest_barrier(earlier, None)
        if uploader is not None:
            step.edges.append(Edge(uploader))
        if definition.allow_dependency_failure or (parent and parent.allow_dependency_failure):
            step.edges = [Edge(edge.step, allow_failure=True) for edge in step.edges]
    _check_circles(steps)
    build.steps = steps
    build.groups += groups
    for step in new:
        add_job(build, step, now)


def add_job(build: Build, step: Step, now: datetime) -> Job:
    """A new job for ``step``, which counts from now on."""
    definition = step.definition
    kind: JobType = "script" if isinstance(definition, CommandStep) else "waiter"
    if isinstance(definition, ManualStep):
        kind = "manual"
    job = Job(step=step, build=build, type=kind, created_at=now)
    step.jobs.append(job)
    return job


def before_barrier(steps: list[Step], barrier: Step) -> Iterator[Step]:
    """The steps that a wait or block step without ``depends_on`` waits for."""
    for step in steps:
        if step is barrier:
            return
        if barrier.group is None or step.group is barrier.group:
            yield step


_Placed = tuple[Step, AnyStep, "GroupStep | None"]


def _place(pipeline: Pipeline) -> tuple[list[_Placed], list[Group]]:
    """The steps in order, each with its definition and the group that holds it."""
    placed: list[_Placed] = []
    groups: list[Group] = []
    for definition in pipeline.steps:
        if not isinstance(definition, GroupStep):
            placed.append((_step(definition, pipeline, None), definition, None))
            continue
        group = Group(label=definition.label, key=definition.key)
        groups.append(group)
        for member in definition.steps:
            step = _step(member, pipeline, group)
            group.members.append(step)
            placed.append((step, member, definition))
    return placed, groups


def _step(definition: AnyStep, pipeline: Pipeline, group: Group | None) -> Step:
    if isinstance(definition, GroupStep):
        raise PipelineError(f"a group cannot hold another group: '{definition.label}'")
    definition = definition.model_copy()
    if isinstance(definition, CommandStep):
        definition.agents = {**pipeline.agents, **definition.agents}
    barrier = definition.type in ("wait", "block") and definition.depends_on is None
    return Step(definition=definition, edges=[], barrier=barrier, group=group)


def _after(build: Build, uploader: Step) -> int:
    """Where uploaded steps go: behind the uploader, or behind the group it is in."""
    last = uploader.group.members[-1] if uploader.group else uploader
    return build.steps.index(last) + 1


def _nearest_barrier(earlier: list[Step], group: Group | None) -> list[Edge]:
    for step in reversed(earlier):
        if step.definition.type in ("wait", "block") and step.group is group:
            return [Edge(step)]
    return []


def _by_key(items: list[Step | Group]) -> dict[str, Step | Group]:
    found: dict[str, Step | Group] = {}
    for item in items:
        if item.key is None:
            continue
        if item.key in found:
            raise PipelineError(f"the key '{item.key}' has already been used by another step of this build")
        found[item.key] = item
    return found


def _check_circles(steps: list[Step]) -> None:
    """Refuse steps of which one waits, over others, for itself."""
    waits_for = {step.id: _targets(steps, step) for step in steps}
    done: set[str] = set()
    while remaining := [step for step in steps if step.id not in done]:
        free = {step.id for step in remaining if waits_for[step.id] <= done}
        if not free:
            raise PipelineError(f"{_name(remaining[0])} depends, over other steps, on itself")
        done |= free


def _targets(steps: list[Step], step: Step) -> set[str]:
    """The ids of the steps that ``step`` waits for."""
    found: set[str] = set()
    for edge in step.edges:
        found |= {
            target.id for target in (edge.step.members if isinstance(edge.step, Group) else [edge.step])
        }
    if step.barrier:
        found |= {other.id for other in before_barrier(steps, step)}
    return found


def _name(step: Step) -> str:
    return f"step '{step.key or step.definition.label or step.definition.type}'"
