"""A pipeline file as its author wrote it: the steps with their lines, their plugins and what they wait for.

The rules of waiting are Buildkite's. A step without ``depends_on`` waits for the nearest wait or block step
before it; one with ``depends_on`` for exactly what it names. A wait or block step without ``depends_on``
waits for everything before it. Inside a group, wait and block steps count for the group alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from modelbuild import agent_yaml
from modelbuild.agent_yaml import Map
from modelbuild.errors import ConfigurationError
from modelbuild.settings.deploy import DeploySettings
from modelbuild.settings.notify import NotifySettings
from modelbuild.settings.train import TrainSettings

DEFAULT_FILE = Path(".buildkite/pipeline.yml")
PLUGINS: dict[str, type[TrainSettings] | type[NotifySettings] | type[DeploySettings]] = {
    model.plugin: model for model in (TrainSettings, NotifySettings, DeploySettings)
}

_KINDS = {"block": "block", "manual": "block", "input": "input", "wait": "wait", "waiter": "wait"}


@dataclass(frozen=True)
class Plugin:
    """A plugin of a step."""

    reference: str
    options: JsonValue

    @property
    def name(self) -> str:
        """The folder of ``plugins/`` that the reference leads to; empty where it leads elsewhere."""
        found = re.search(r"(?:^|/)plugins/([^/#]+?)(?:\.git)?/?(?:#.*)?$", self.reference)
        return found[1] if found else ""


@dataclass(frozen=True)
class Step:
    """A step that is no group; ``waits_for`` has the places of other steps in the pipeline."""

    line: int
    kind: str
    key: str
    values: Mapping[str, Any]
    plugins: tuple[Plugin, ...]
    waits_for: frozenset[int]

    def shown(self) -> str:
        """The step by the name that its author would look for."""
        title = self.values.get("label") or self.values.get("name") or self.values.get(self.kind)
        return f"step {self.key or title or self.kind}"


@dataclass(frozen=True)
class Pipeline:
    """The steps of a pipeline file, in order, those of groups among them, and its ``env:``."""

    steps: tuple[Step, ...]
    env: Mapping[str, str]


def read(file: Path) -> Pipeline:
    """A pipeline file as the agent reads it, before it completes variables.

    Raises:
        ConfigurationError: the file cannot be read, or is not a pipeline.
    """
    try:
        document = agent_yaml.load(file.read_bytes())
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the pipeline {file} ({error.strerror}): name the file, or write one with "
            "modelbuild init"
        ) from error
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
    return Pipeline(tuple(_linked(list(_flat(steps)))), env)


def environment(env: Any) -> dict[str, str]:
    """The variables under a key ``env:``, as the text that the agent makes of their values.

    Raises:
        ValueError: the agent refuses it.
    """
    if env is None:
        return {}
    if not isinstance(env, dict):
        raise ValueError("it must be a map of names to values")
    return {str(name): _as_variable(str(name), value) for name, value in env.items()}


def _as_variable(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    if type(value) is str or (isinstance(value, int) and value < 1 << 63):
        return str(value)
    raise ValueError(f"variable {name} is no text, number, true or false: put its value in quotes")


def _float_text(value: float) -> str:
    """A float as Go prints it: the shortest digits, with an exponent from 1e+06 on and below 0.0001."""
    shortest = Decimal(repr(value)).normalize()
    _, digits, exponent = shortest.as_tuple()
    assert isinstance(exponent, int)
    power = len(digits) + exponent - 1
    if not value or -4 <= power < 6:
        return f"{shortest:f}"
    first, rest = f"{'-' if value < 0 else ''}{digits[0]}", "".join(map(str, digits[1:]))
    return f"{first}{rest and '.' + rest}e{power:+03d}"


_Placed = tuple[Map, "Map | None"]


def _flat(steps: list[Any]) -> Iterator[_Placed]:
    """Each step with the group that holds it; what is no step at all is left to Buildkite to refuse."""
    for step in map(_as_map, steps):
        members = step.get("steps")
        if "group" in step and isinstance(members, list):
            yield from ((member, step) for member in map(_as_map, members))
        else:
            yield step, None


def _as_map(step: Any) -> Map:
    if isinstance(step, Map):
        return step
    return Map({step: None}) if isinstance(step, str) else Map()


def _linked(placed: list[_Placed]) -> list[Step]:
    by_key: dict[str, list[int]] = {}
    for place, (step, group) in enumerate(placed):
        for key in {_key(step), _key(group or Map())} - {""}:
            by_key.setdefault(key, []).append(place)
    return [
        Step(
            line=step.line,
            kind=_kind(step),
            key=_key(step),
            values=step,
            plugins=tuple(_plugins(step.get("plugins"))),
            waits_for=frozenset(_waits_for(place, placed, by_key)),
        )
        for place, (step, _) in enumerate(placed)
    ]


def _waits_for(place: int, placed: list[_Placed], by_key: Mapping[str, list[int]]) -> Iterator[int]:
    step, group = placed[place]
    for owner in (step, group or Map()):
        for key in _named(owner.get("depends_on")):
            yield from by_key.get(key, [])
    earlier = range(place - 1, -1, -1)
    if "depends_on" not in step:
        beside = [other for other in earlier if placed[other][1] is group]
        if _kind(step) in ("wait", "block"):
            yield from earlier if group is None else beside
        else:
            yield from _nearest_barrier(beside, placed)
    if group is not None and "depends_on" not in group:
        yield from _nearest_barrier([other for other in earlier if placed[other][1] is None], placed)


def _nearest_barrier(places: list[int], placed: list[_Placed]) -> list[int]:
    return next(([other] for other in places if _kind(placed[other][0]) in ("wait", "block")), [])


def _named(depends_on: Any) -> Iterator[str]:
    for entry in depends_on if isinstance(depends_on, list) else [depends_on]:
        name = entry.get("step") if isinstance(entry, dict) else entry
        if isinstance(name, str):
            yield name


def _key(step: Mapping[Any, Any]) -> str:
    return next((str(step[name]) for name in ("key", "id", "identifier") if step.get(name)), "")


def _kind(step: Mapping[Any, Any]) -> str:
    if any(name in step for name in ("command", "commands", "plugins")):
        return "command"
    kind = step.get("type")
    found = (meaning for name, meaning in _KINDS.items() if name in step or kind == name)
    return next(found, "command")


def _plugins(plugins: Any) -> Iterator[Plugin]:
    for entry in plugins if isinstance(plugins, list) else [plugins]:
        if isinstance(entry, str):
            yield Plugin(entry, None)
        elif isinstance(entry, dict):
            for reference, options in entry.items():
                yield Plugin(str(reference), _as_json(options))


def _as_json(value: Any) -> JsonValue:
    """The options as the agent hands them over: as JSON, in which 1.0 is written like 1."""
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(Decimal(repr(value)))
    return str(value) if isinstance(value, str) else value
