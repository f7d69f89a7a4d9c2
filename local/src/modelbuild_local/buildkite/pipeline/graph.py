"""Adds parsed steps to a build, with their positions and dependencies.

``modelbuild.formats.pipeline_rules`` has the rules of dependencies by position. This module adds the rules of
uploads: uploaded steps come directly after the step that uploaded them and wait for it, and a step that
depends on the uploader waits for them too.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from modelbuild.formats.pipeline_rules import StepPosition
from modelbuild_local.buildkite.identity import new_id
from modelbuild_local.buildkite.pipeline.definition import (
    MAX_STEPS_PER_UPLOAD,
    AnyStep,
    CommandStep,
    GroupStep,
    ManualStep,
    Pipeline,
    WaitStep,
)
from modelbuild_local.buildkite.pipeline.expansion import Context, PlainStep, Variant, omission, variants
from modelbuild_local.buildkite.pipeline.reader import PipelineError
from modelbuild_local.buildkite.state import Build, Edge, Group, Job, JobType, Step


def insert(build: Build, pipeline: Pipeline, uploader: Step | None, context: Context, now: datetime) -> None:
    """Add the pipeline's steps to ``build``, after ``uploader``, or at the end if it is None.

    Raises:
        PipelineError: a key is taken, a condition is wrong, a dependency does not exist or leads in a
            circle, or the steps make too many jobs; nothing is added.
    """
    placed, groups = _expanded(pipeline, context)
    new = [step for step, _, _ in placed]
    if len(new) > MAX_STEPS_PER_UPLOAD:
        raise PipelineError([f"the steps make {len(new)} jobs, and an upload {MAX_STEPS_PER_UPLOAD} at most"])
    index = len(build.steps) if uploader is None else _after(build, uploader)
    steps = [*build.steps[:index], *new, *build.steps[index:]]
    by_key = _by_key([*build.steps, *build.groups, *new, *groups])
    exempt = frozenset() if uploader is None else _dependents(build, uploader)
    for position, (step, definition, parent) in enumerate(placed):
        earlier = [other for other in steps[: index + position] if other.id not in exempt]
        step.exempt = exempt
        step.edges += _explicit_dependencies(build, by_key, step, definition, parent)
        step.edges += [
            Edge(earlier[i])
            for i in step.position.implicit_dependencies([other.position for other in earlier])
        ]
        if uploader is not None:
            step.edges.append(Edge(uploader, uploads=False))
    uploaded = uploader.uploads if uploader is not None else []
    uploaded += new
    try:
        _check_circles(steps)
    except PipelineError:
        del uploaded[len(uploaded) - len(new) :]
        raise
    build.steps = steps
    build.groups += groups
    for step in new:
        add_job(build, step, now)


def add_job(build: Build, step: Step, now: datetime) -> Job:
    """Add a new job to ``step``; it becomes the current one."""
    definition = step.definition
    kind: JobType = "script" if isinstance(definition, CommandStep) else "waiter"
    if isinstance(definition, ManualStep):
        kind = "manual"
    job = Job(step=step, build=build, type=kind, created_at=now)
    if step.omitted:
        job.state, job.finished_at = "broken", now
    step.jobs.append(job)
    return job


def before_barrier(steps: list[Step], barrier: Step) -> Iterator[Step]:
    """The steps that a wait or block step without ``depends_on`` waits for.

    In a group these are the steps of the group, and the steps that they uploaded, which come after the group.
    """
    for step in steps:
        if step is barrier:
            return
        if step.id in barrier.exempt or not barrier.position.waits_for(step.position):
            continue
        if barrier.group is None:
            yield step
        else:
            yield from step.with_uploads()


def ancestors(build: Build, step: Step) -> Iterator[Step]:
    """All steps that ``step`` waited for, directly or indirectly; one that is left out waits for none."""
    seen = {step.id}
    left = [step]
    while left:
        current = left.pop()
        if current.omitted:
            continue
        targets = list(before_barrier(build.steps, current)) if current.position.is_barrier else []
        for edge in current.edges:
            targets += edge.targets
        for target in targets:
            if target.id not in seen:
                seen.add(target.id)
                left.append(target)
                yield target


_Placed = tuple[Step, AnyStep, "GroupStep | None"]
_Keys = dict[str, list["Step | Group"]]


def _expanded(pipeline: Pipeline, context: Context) -> tuple[list[_Placed], list[Group]]:
    """The steps in order, each with its definition and the group that holds it."""
    placed: list[_Placed] = []
    groups: list[Group] = []
    problems: list[str] = []
    for definition in pipeline.steps:
        group = Group(label=definition.label, key=definition.key) if definition.type == "group" else None
        parent = definition if isinstance(definition, GroupStep) else None
        for member in parent.steps if parent is not None else [definition]:
            try:
                made = list(_steps(member, pipeline, parent, group, context))
            except ValueError as error:
                problems.append(f"{_title(member)}: {error}")
                continue
            placed += [(step, member, parent) for step in made]
            if group is not None:
                group.members += made
        if group is not None:
            groups.append(group)
    if problems:
        raise PipelineError(problems)
    return placed, groups


def _steps(
    definition: AnyStep, pipeline: Pipeline, parent: GroupStep | None, group: Group | None, context: Context
) -> Iterator[Step]:
    """The step, or one step for each of its jobs, with the same id."""
    if isinstance(definition, GroupStep):
        raise PipelineError([f"a group cannot hold another group: '{definition.label}'"])
    omitted = omission(definition, parent, context)
    identity = new_id()
    for variant in variants(_with_defaults(definition, pipeline)):
        reason = omitted or variant.omitted
        position = StepPosition(
            type=definition.type,
            group=group,
            has_dependencies=definition.depends_on is not None,
            group_has_dependencies=parent is not None and parent.depends_on is not None,
            runs=not reason,
        )
        yield _step(variant, reason, group, position, identity)


def _with_defaults(definition: PlainStep, pipeline: Pipeline) -> PlainStep:
    """The step with the pipeline's defaults."""
    if not isinstance(definition, CommandStep):
        return definition
    return definition.model_copy(
        update={
            "agents": {**pipeline.agents, **definition.agents},
            "priority": pipeline.priority if definition.priority is None else definition.priority,
            "image": definition.image or pipeline.image,
        }
    )


def _step(variant: Variant, omitted: str, group: Group | None, position: StepPosition, identity: str) -> Step:
    return Step(
        definition=variant.definition,
        edges=[],
        position=position,
        group=group,
        omitted=omitted,
        matrix=variant.matrix,
        parallel=variant.parallel,
        id=identity,
    )


def _explicit_dependencies(
    build: Build, by_key: _Keys, step: Step, definition: AnyStep, parent: GroupStep | None
) -> Iterator[Edge]:
    """The dependencies in ``depends_on`` of a step or of its group."""
    rules = [*(definition.depends_on or []), *((parent.depends_on or []) if parent else [])]
    for rule in rules:
        targets = by_key.get(rule.step) or build.find_all(rule.step)
        if not targets:
            problem = f"{_name(step)} depends on '{rule.step}', which is not a step of this build"
            raise PipelineError([problem])
        may_fail = rule.allow_failure or _allows_failure(definition, parent)
        yield from (Edge(target, may_fail) for target in targets)


def _allows_failure(definition: AnyStep, parent: GroupStep | None) -> bool:
    """Whether the steps that ``depends_on`` names may fail; those before a wait or block step may not."""
    if isinstance(definition, WaitStep) and definition.continue_on_failure:
        return True
    return definition.allow_dependency_failure or (parent is not None and parent.allow_dependency_failure)


def _after(build: Build, uploader: Step) -> int:
    """The index for uploaded steps: after the uploader, or after its group."""
    last = uploader.group.members[-1] if uploader.group else uploader
    return build.steps.index(last) + 1


def _by_key(items: list[Step | Group]) -> _Keys:
    """The group or the steps of each key."""
    found: _Keys = {}
    for item in items:
        if item.key is None:
            continue
        others = found.setdefault(item.key, [])
        if others and others[0].id != item.id:
            raise PipelineError([f"the key '{item.key}' has already been used by another step of this build"])
        others.append(item)
    return found


def _dependents(build: Build, uploader: Step) -> frozenset[str]:
    """The ids of the steps that wait, directly or indirectly, for the uploader and its uploads."""
    waits_for = {step.id: _targets(build.steps, step, uploads=True) for step in build.steps}
    found: set[str] = set()
    fresh = {uploader.id}
    while fresh:
        fresh = {id for id, targets in waits_for.items() if id not in found and targets & fresh}
        found |= fresh
    return frozenset(found - {uploader.id})


def _check_circles(steps: list[Step]) -> None:
    """Refuse cycles of dependencies."""
    waits_for = {step.id: _targets(steps, step) for step in steps}
    done: set[str] = set()
    while remaining := [step for step in steps if step.id not in done]:
        free = {step.id for step in remaining if waits_for[step.id] <= done}
        if not free:
            raise PipelineError([f"{_name(remaining[0])} depends on itself through other steps"])
        done |= free


def _targets(steps: list[Step], step: Step, *, uploads: bool = False) -> set[str]:
    """The ids of the steps that ``step`` waits for; with ``uploads`` only by dependencies that include
    uploads.
    """
    edges = [edge for edge in step.edges if edge.uploads or not uploads]
    found = {target.id for edge in edges for target in edge.targets}
    if step.position.is_barrier:
        found |= {other.id for other in before_barrier(steps, step)}
    return found


def _name(step: Step) -> str:
    return _title(step.definition)


def _title(definition: AnyStep) -> str:
    return f"step '{definition.key or definition.label or definition.type}'"
