"""A pipeline file as its author wrote it: the steps with their lines, their plugins and what they wait for.

The rules of waiting are Buildkite's. A step without ``depends_on`` waits for the nearest wait or block step
before it; one with ``depends_on`` for exactly what it names. A wait or block step without ``depends_on``
waits for everything before it. Inside a group, wait and block steps count for the group alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import JsonValue

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
    values: Mapping[Any, Any]
    plugins: tuple[Plugin, ...]
    waits_for: frozenset[int]

    def shown(self) -> str:
        """The step by the name that its author would look for."""
        title = self.values.get("label") or self.values.get("name") or self.values.get(self.kind)
        return f"step {self.key or title or self.kind}"


def read(file: Path) -> list[Step]:
    """The steps of a pipeline file, in order, those of groups among them.

    Raises:
        ConfigurationError: the file cannot be read, or is not a pipeline.
    """
    try:
        document = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the pipeline {file} ({error.strerror}): name the file, or write one with "
            "modelbuild init"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        said = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ConfigurationError(f"{file}{where} is not YAML ({said}): correct the file") from error
    steps = document.get("steps") if isinstance(document, dict) else document
    if not isinstance(steps, list):
        raise ConfigurationError(f"{file} has no list of steps: a pipeline has its steps under steps:")
    return _linked(list(_flat(steps)))


def has_variable(text: object) -> bool:
    """Whether the agent completes this text with a variable before anybody reads it."""
    return isinstance(text, str) and re.search(r"(?<![\\$])(?:\$\$)*\$[A-Za-z_{]", text) is not None


class _Map(dict[Any, Any]):
    line = 0


class _Loader(yaml.SafeLoader):
    """Keeps the line of each map, and dates as the text that they are to Buildkite."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way
        first: [(tag, pattern) for tag, pattern in rules if not tag.endswith(":timestamp")]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        """The text of a scalar, without halves of characters, which nothing can print or send."""
        text = super().construct_scalar(node)
        try:
            str(text).encode()
        except UnicodeEncodeError as error:
            problem = "half of a surrogate pair is no character"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error
        return text


def _located(loader: _Loader, node: yaml.MappingNode) -> Iterator[_Map]:
    found = _Map()
    found.line = node.start_mark.line + 1
    yield found
    found.update(loader.construct_mapping(node))


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _located)

_Placed = tuple["_Map", "_Map | None"]


def _flat(steps: list[Any]) -> Iterator[_Placed]:
    """Each step with the group that holds it; what is no step at all is left to Buildkite to refuse."""
    for step in map(_as_map, steps):
        members = step.get("steps")
        if "group" in step and isinstance(members, list):
            yield from ((member, step) for member in map(_as_map, members))
        else:
            yield step, None


def _as_map(step: Any) -> _Map:
    if isinstance(step, _Map):
        return step
    return _Map({step: None}) if isinstance(step, str) else _Map()


def _linked(placed: list[_Placed]) -> list[Step]:
    by_key: dict[str, list[int]] = {}
    for place, (step, group) in enumerate(placed):
        for key in {_key(step), _key(group or _Map())} - {""}:
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
    for owner in (step, group or _Map()):
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


def _as_json(options: Any) -> JsonValue:
    """The options as the agent hands them over; what JSON does not have becomes text."""
    try:
        plain: JsonValue = json.loads(json.dumps(options, default=str, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"the options of a plugin hold what JSON cannot ({error}): correct them"
        ) from error
    return plain
