"""Expands the definition of a step to its jobs: none, one, or several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from modelbuild_local.buildkite.pipeline.attributes.branches import matches_branch
from modelbuild_local.buildkite.pipeline.attributes.condition import is_met
from modelbuild_local.buildkite.pipeline.attributes.condition_values import Variables
from modelbuild_local.buildkite.pipeline.attributes.matrix import Combination, interpolate
from modelbuild_local.buildkite.pipeline.definition import CommandStep, GroupStep, ManualStep, WaitStep

PlainStep = CommandStep | WaitStep | ManualStep


@dataclass(frozen=True)
class Context:
    """The values that decide whether a step runs in a build."""

    branch: str
    variables: Variables
    env: Mapping[str, str]


@dataclass(frozen=True)
class Variant:
    """The definition of one job of a step; ``omitted`` is the reason why it does not run, or empty."""

    definition: PlainStep
    omitted: str = ""
    matrix: dict[str, str] | None = None
    parallel: tuple[int, int] | None = None


def omission(step: PlainStep, group: GroupStep | None, context: Context) -> str:
    """The reason why a step does not run in this build; empty if it runs.

    ``if`` and ``skip`` of a group apply to each of its steps.

    Raises:
        ConditionError: an ``if`` cannot be evaluated.
    """
    conditions = [part.condition for part in (group, step) if part is not None and part.condition]
    # All are evaluated, so that an error in one is reported whatever the others are.
    met = [is_met(condition, context.variables, context.env) for condition in conditions]
    if not all(met):
        return "conditional_failed"
    if step.branches and not matches_branch(step.branches, context.branch):
        return "branch_mismatch"
    return step.skip or (group.skip if group is not None else "")


def variants(step: PlainStep) -> Iterator[Variant]:
    """The definitions of the jobs of a step: several for a command step with ``matrix`` or ``parallelism``.

    Raises:
        ValueError: it names a dimension that its matrix does not have.
    """
    if isinstance(step, CommandStep) and step.matrix is not None:
        for combination in step.matrix.combinations():
            yield _combined(step, combination)
    elif isinstance(step, CommandStep) and step.parallelism is not None:
        for number in range(step.parallelism):
            label = _numbered(step.label, number, step.parallelism)
            definition = step.model_copy(update={"label": label})
            yield Variant(definition, parallel=(number, step.parallelism))
    else:
        yield Variant(step.model_copy())


def _combined(step: CommandStep, combination: Combination) -> Variant:
    update = {
        name: interpolate(getattr(step, name), combination.values)
        for name in ("agents", "command", "env", "label", "plugins")
    }
    if combination.soft_fail is not None:
        update["soft_fail"] = combination.soft_fail
    return Variant(step.model_copy(update=update), combination.skip, matrix=combination.values)


def _numbered(label: str, number: int, total: int) -> str:
    """The label with ``%n`` (from 0), ``%N`` (from 1), and ``%t`` and ``%T`` (how many there are)."""
    for sign, value in (("%n", number), ("%N", number + 1), ("%t", total), ("%T", total)):
        label = label.replace(sign, str(value))
    return label
