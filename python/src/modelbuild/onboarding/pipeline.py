"""Reads a pipeline file: its steps with their lines, plugins and dependencies."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from modelbuild.errors import ConfigurationError
from modelbuild.formats import agent_yaml
from modelbuild.formats.agent_yaml import Map
from modelbuild.formats.pipeline_rules import (
    StepPosition,
    StepType,
    dependency_entries,
    step_key,
    step_type,
    variable_text,
)
from modelbuild.settings.deploy import DeploySettings
from modelbuild.settings.notify import NotifySettings
from modelbuild.settings.train import TrainSettings

DEFAULT_FILE = Path(".buildkite/pipeline.yml")
PLUGINS: dict[str, type[TrainSettings] | type[NotifySettings] | type[DeploySettings]] = {
    model.plugin: model for model in (TrainSettings, NotifySettings, DeploySettings)
}
_CONDITIONS = ("if", "branches", "if_changed", "skip")


@dataclass(frozen=True)
class Plugin:
    """A plugin of a step."""

    reference: str
    options: JsonValue

    @property
    def name(self) -> str:
        """The plugin's folder below ``plugins/``; empty for a plugin of another repository."""
        found = re.search(r"(?:^|/)plugins/([^/#]+?)(?:\.git)?/?(?:#.*)?$", self.reference)
        return found[1] if found else ""

    def option(self, name: str) -> str | None:
        """The text of an option; None where it is no text, and where it is not set."""
        value = self.options.get(name) if isinstance(self.options, dict) else None
        return value if isinstance(value, str) else None


@dataclass(frozen=True)
class Step:
    """A step that is no group; ``waits_for`` has the indices of other steps in the pipeline.

    ``conditions`` has the attributes with their values that keep the step out of some builds, its own and
    those of its group.
    """

    line: int
    kind: StepType
    key: str
    values: Mapping[str, Any]
    plugins: tuple[Plugin, ...]
    waits_for: frozenset[int]
    conditions: frozenset[tuple[str, str]]

    def shown(self) -> str:
        """The step's key or title, or its type."""
        title = self.values.get("label") or self.values.get("name") or self.values.get(self.kind)
        return f"step {self.key or title or self.kind}"

    @property
    def fields(self) -> dict[str, dict[Any, Any]]:
        """The fields that the step asks for, by their keys."""
        fields = self.values.get("fields")
        fields = [field for field in fields if isinstance(field, dict)] if isinstance(fields, list) else []
        return {str(field.get("key")): field for field in fields}


@dataclass(frozen=True)
class Pipeline:
    """The steps of a pipeline file, in order and including those of groups, and its ``env:``."""

    steps: tuple[Step, ...]
    env: Mapping[str, str]


def may_exclude(one: Step, other: Step) -> bool:
    """Whether there may be no build with both steps: each has a condition that the other lacks.

    Only Buildkite evaluates conditions.
    """
    return not (one.conditions <= other.conditions or other.conditions <= one.conditions)


def steps_before(index: int, steps: Sequence[Step]) -> set[int]:
    """The indices of all steps that must be over before a step begins.

    Buildkite begins a step at once whose dependencies are all left out, so the step waits for nothing through
    a step that is left out of builds in which it runs itself.
    """
    conditions = steps[index].conditions
    found: set[int] = set()
    waiting = [index]
    while waiting:
        for other in steps[waiting.pop()].waits_for - found:
            found.add(other)
            if not conditions < steps[other].conditions:
                waiting.append(other)
    return found


def nearest(wrong: str, names: Sequence[str]) -> str:
    """A question with the name that is most like a wrong one, or all names there are; empty for none."""
    near = difflib.get_close_matches(wrong, names, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"there is {', '.join(names)}" if names else ""


def read(file: Path) -> Pipeline:
    """Read a pipeline file by the agent's rules, without interpolation.

    Raises:
        ConfigurationError: the file cannot be read, or is not a pipeline.
    """
    try:
        document = agent_yaml.load(file.read_bytes())
    except OSError as error:
        fix = "name the file, or write one with modelbuild init"
        if isinstance(error, FileNotFoundError):
            # Unlike Path.is_file, it takes a folder that may not be searched as one without the file.
            above = next((folder for folder in Path.cwd().parents if os.path.isfile(folder / file)), None)
            fix = f"run this in {above}" if above else fix
        raise ConfigurationError(f"cannot read the pipeline {file} ({error.strerror}): {fix}") from error
    except agent_yaml.YamlError as error:
        where = f":{error.line}" if error.line else ""
        raise ConfigurationError(
            f"{file}{where} cannot be read as YAML ({error}): correct the file"
        ) from error
    steps = document.get("steps") if isinstance(document, dict) else document
    if not isinstance(steps, list):
        raise ConfigurationError(f"{file} has no list of steps: a pipeline has its steps under steps:")
    try:
        env = environment(document.get("env") if isinstance(document, dict) else None)
    except ValueError as error:
        raise ConfigurationError(f"{file}: env: {error}") from error
    return Pipeline(tuple(_with_dependencies(list(_flat(steps)))), env)


def environment(env: Any) -> dict[str, str]:
    """The variables under a key ``env:``, with their values as text by the agent's rules.

    Raises:
        ValueError: the agent refuses it.
    """
    if env is None:
        return {}
    if not isinstance(env, dict):
        raise ValueError("it must be a map of names to values")
    found: dict[str, str] = {}
    for name, value in env.items():
        try:
            found[str(name)] = variable_text(value)
        except ValueError as error:
            raise ValueError(f"variable {name}: {error}") from None
    return found


_Placed = tuple[Map, "Map | None"]


def _flat(steps: list[Any]) -> Iterator[_Placed]:
    """Each step with its group; an entry that is no step, which Buildkite refuses, is an empty step."""
    for step in map(_as_map, steps):
        members = step.get("steps")
        if step_type(step) == "group" and isinstance(members, list):
            yield from ((member, step) for member in map(_as_map, members))
        else:
            yield step, None


def _as_map(step: Any) -> Map:
    if isinstance(step, Map):
        return step
    return Map({step: None}) if isinstance(step, str) else Map()


def _with_dependencies(placed: list[_Placed]) -> list[Step]:
    by_key: dict[str, list[int]] = {}
    for index, (step, group) in enumerate(placed):
        for key in {step_key(step), step_key(group or Map())} - {""}:
            by_key.setdefault(key, []).append(index)
    positions = [_position(step, group) for step, group in placed]
    return [
        Step(
            line=step.line,
            kind=step_type(step) or "command",
            key=step_key(step),
            values=step,
            plugins=tuple(_plugins(step.get("plugins"))),
            conditions=_conditions(step) | _conditions(group or Map()),
            waits_for=frozenset(
                [
                    *_explicit_dependencies(step, group, by_key),
                    *_implicit_dependencies(positions[index], positions[:index]),
                ]
            ),
        )
        for index, (step, group) in enumerate(placed)
    ]


def _conditions(values: Map) -> frozenset[tuple[str, str]]:
    """The conditions of a step or a group; one that joins several by ``&&`` counts as these."""
    texts = [(name, str(values[name])) for name in _CONDITIONS if values.get(name)]
    return frozenset(
        (name, part.strip())
        for name, text in texts
        for part in (text.split("&&") if name == "if" and not re.search(r"\|\||\(", text) else [text])
    )


def _position(step: Map, group: Map | None) -> StepPosition:
    """The position of a step. It counts every step as running: ``if``, ``branches`` and ``skip`` are not
    evaluated.
    """
    return StepPosition(
        type=step_type(step),
        group=group,
        has_dependencies="depends_on" in step,
        group_has_dependencies=group is not None and "depends_on" in group,
    )


def _explicit_dependencies(step: Map, group: Map | None, by_key: Mapping[str, list[int]]) -> Iterator[int]:
    """The steps of the file that are named in ``depends_on`` of a step and of its group."""
    for holder in (step, group or Map()):
        entries = dependency_entries(holder.get("depends_on"))
        for entry in entries if isinstance(entries, list) else []:
            key = entry.get("step") if isinstance(entry, dict) else None
            yield from by_key.get(key, []) if isinstance(key, str) else []


def _implicit_dependencies(position: StepPosition, earlier: list[StepPosition]) -> Iterator[int]:
    """The steps that a step waits for because of its position."""
    yield from position.implicit_dependencies(earlier)
    if position.is_barrier:
        yield from (index for index, other in enumerate(earlier) if position.waits_for(other))


def _plugins(plugins: Any) -> Iterator[Plugin]:
    for entry in plugins if isinstance(plugins, list) else [plugins]:
        if isinstance(entry, str):
            yield Plugin(entry, None)
        elif isinstance(entry, dict):
            for reference, options in entry.items():
                yield Plugin(str(reference), _as_json(options))


def _as_json(value: Any) -> JsonValue:
    """The options after the agent's conversion to JSON, which writes 1.0 as 1."""
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(Decimal(repr(value)))
    return str(value) if isinstance(value, str) else value
