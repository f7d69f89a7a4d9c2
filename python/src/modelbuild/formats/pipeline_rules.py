"""The rules of Buildkite's pipelines that ``modelbuild check`` and laptop mode share.

They are the type of a step, the names of its key, the forms of ``depends_on`` and ``env``, and the steps that
a step waits for because of its position:

- A step without ``depends_on`` waits for the nearest wait or block step before it; a step with ``depends_on``
  waits for exactly the steps that it names.
- A wait or block step without ``depends_on`` waits for everything before it.
- Inside a group, wait and block steps count for the group alone. Each step of a group waits for everything
  that the group waits for.

Sources: https://buildkite.com/docs/pipelines/configure/dependencies, and ``steps.go`` and
``ordered/unmarshal.go`` of ``github.com/buildkite/go-pipeline``, with which the agent reads pipelines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

StepType = Literal["command", "wait", "block", "input", "trigger", "group"]

FIELD_KEY_PATTERN = r"^[A-Za-z0-9/_\-]+$"
"""Keys of the fields of block and input steps."""

KEY_ALIASES = ("id", "identifier")
"""Other names of the attribute ``key`` of steps and groups."""

# In the agent's order: a step with several of these attributes is of the first one's type.
_TYPE_OF_ATTRIBUTE: dict[str, StepType] = {
    "command": "command",
    "commands": "command",
    "plugins": "command",
    "wait": "wait",
    "waiter": "wait",
    "block": "block",
    "manual": "block",
    "input": "input",
    "trigger": "trigger",
    "group": "group",
}
_TYPE_OF_NAME: dict[str, StepType] = {**_TYPE_OF_ATTRIBUTE, "script": "command"}


def step_type(values: Mapping[Any, Any]) -> StepType | None:
    """The type of a step, from ``type`` or else from its attributes; None if neither names a type."""
    name = values.get("type")
    if name:
        return _TYPE_OF_NAME.get(name) if isinstance(name, str) else None
    return next((found for name, found in _TYPE_OF_ATTRIBUTE.items() if name in values), None)


def title_attributes(type: StepType) -> list[str]:
    """The attributes that name the type of a step and may hold its title; a command step has none."""
    return [name for name, found in _TYPE_OF_ATTRIBUTE.items() if found == type != "command"]


def step_key(values: Mapping[Any, Any]) -> str:
    """The key of a step or a group, from the first of its names that is set; empty if none is set."""
    value = next((values[name] for name in ("key", *KEY_ALIASES) if name in values), None)
    return "" if value is None else str(value)


def dependency_entries(depends_on: object) -> object:
    """``depends_on`` as a list of maps such as ``{"step": "train", "allow_failure": True}``.

    A value or an entry that has no form of Buildkite's is not changed.
    """
    if depends_on is None:
        return []
    entries = [depends_on] if isinstance(depends_on, (str, Mapping)) else depends_on
    if not isinstance(entries, list):
        return entries
    return [{"step": entry} if isinstance(entry, str) else entry for entry in entries]


def variable_text(value: object) -> str:
    """The value of a variable under ``env:``, as text, by the agent's rules.

    Raises:
        ValueError: the agent refuses it.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    # Dates are a subclass of str here, and the agent refuses them.
    if type(value) is str or (isinstance(value, int) and value < 1 << 63):
        return str(value)
    raise ValueError("it is no text, number, true or false: put its value in quotes")


@dataclass(frozen=True)
class StepPosition:
    """The position of a step in a pipeline: which steps wait for it, and for which it waits.

    Args:
        type: the step's type.
        group: the group that holds it, or None.
        has_dependencies: whether the step has ``depends_on``, also an empty one.
        group_has_dependencies: the same of its group.
        runs: False for a step that ``if``, ``branches`` or ``skip`` keeps out of the build.
    """

    type: StepType | None
    group: object | None = None
    has_dependencies: bool = False
    group_has_dependencies: bool = False
    runs: bool = True

    @property
    def holds_later_steps(self) -> bool:
        """Whether later steps wait for this step without naming it."""
        return self.type in ("wait", "block") and self.runs

    @property
    def is_barrier(self) -> bool:
        """Whether this step waits for all steps before it."""
        return self.holds_later_steps and not self.has_dependencies

    def waits_for(self, earlier: StepPosition) -> bool:
        """Whether this barrier waits for an earlier step; in a group it waits only for steps of the group."""
        return self.group is None or self.group is earlier.group

    def implicit_dependencies(self, earlier: Sequence[StepPosition]) -> Iterator[int]:
        """The indices in ``earlier`` of the wait and block steps that this step waits for without naming
        them.
        """
        if not self.has_dependencies and not self.is_barrier:
            yield from _nearest_holder(earlier, self.group)
        if self.group is not None and not self.group_has_dependencies:
            yield from _nearest_holder(earlier, None)


def _nearest_holder(earlier: Sequence[StepPosition], group: object | None) -> list[int]:
    for index in range(len(earlier) - 1, -1, -1):
        if earlier[index].holds_later_steps and earlier[index].group is group:
            return [index]
    return []


def _float_text(value: float) -> str:
    """A float in Go's format: the shortest digits, with an exponent from 1e+06 up and below 0.0001."""
    shortest = Decimal(repr(value)).normalize()
    _, digits, exponent = shortest.as_tuple()
    assert isinstance(exponent, int)
    power = len(digits) + exponent - 1
    if not value or -4 <= power < 6:
        return f"{shortest:f}"
    first, rest = f"{'-' if value < 0 else ''}{digits[0]}", "".join(map(str, digits[1:]))
    return f"{first}{rest and '.' + rest}e{power:+03d}"
