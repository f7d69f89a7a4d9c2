"""The values of a pipeline and a build that override those of a parameter file."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import JsonValue

from modelbuild.contract import UNNAMED_VARIABLES, parameter_variables
from modelbuild.errors import ConfigurationError
from modelbuild.formats import agent_yaml
from modelbuild.train.commit.parameters import (
    NUMBER,
    WHOLE_NUMBER,
    kind,
    leaves,
    names,
    plain,
    readable,
    short,
    unknown_parameter,
)


@dataclass(frozen=True)
class BuildNames:
    """The names by which a build overrides the parameters of a training.

    Attributes:
        variables: the prefix of environment variables.
        meta_data: the prefix of keys of meta-data; the parameter's name follows, with dots or slashes.
    """

    variables: str = UNNAMED_VARIABLES
    meta_data: str = "params/"

    @classmethod
    def of(cls, model: str | None) -> BuildNames:
        """The names for a training whose step has option ``model``, or for the only training of a build."""
        if model is None:
            return cls()
        return cls(parameter_variables(model), f"{model}/params/")


Origin = Literal["file", "plugin", "build", "sweep"]


@dataclass(frozen=True)
class Override:
    """A value that replaces the file's; messages name its source by ``description``."""

    name: str
    value: JsonValue
    origin: Origin
    description: str


@dataclass(frozen=True)
class Resolved:
    """The parameters, the origin of each, and a description of the source of each overridden one."""

    values: dict[str, JsonValue]
    origins: dict[str, Origin]
    descriptions: dict[str, str]


def from_options(changes: Mapping[str, JsonValue]) -> list[Override]:
    """The overrides of option ``params``, whose keys may be nested or dotted.

    Raises:
        ConfigurationError: a name occurs twice.
    """
    found: dict[str, Override] = {}
    for path, value in leaves(changes):
        name = ".".join(path)
        if name in found:
            raise ConfigurationError(f"option params gives {plain(name)} twice: keep one of the two")
        found[name] = Override(name, _as_read(value), "plugin", f"option params.{name}")
    return list(found.values())


def from_environment(
    environ: Mapping[str, str],
    defaults: Mapping[str, JsonValue],
    file: str,
    build: BuildNames = BuildNames(),
) -> list[Override]:
    """The overrides of the build's ``PARAM_…`` variables; blank ones are ignored.

    Raises:
        ConfigurationError: a variable matches no parameter or several, or its value is not YAML.
    """
    places = names(defaults, file)
    by_variable: dict[str, list[str]] = {}
    for name in places:
        by_variable.setdefault(variable(name, build), []).append(name)
    found = []
    for variable_name in sorted(
        key for key in environ if key.startswith(build.variables) and environ[key].strip()
    ):
        value = build_value(environ[variable_name], variable_name)
        matching = by_variable.get(variable_name, [])
        if len(matching) > 1:
            raise ConfigurationError(
                f"{variable_name} could be {' or '.join(map(plain, matching))} of {file}: set meta-data "
                f"{build.meta_data}<name> instead"
            )
        if not matching:
            near = difflib.get_close_matches(variable_name, by_variable, n=1)
            raise unknown_parameter(
                variable_name, value, by_variable[near[0]][0] if near else None, defaults, file
            )
        found.append(Override(matching[0], value, "build", variable_name))
    return found


def from_meta_data(
    values: Mapping[str, str],
    defaults: Mapping[str, JsonValue],
    file: str,
    build: BuildNames = BuildNames(),
) -> list[Override]:
    """The overrides of the build's meta-data ``params/…``, from its ``values``; blank ones are ignored.

    Raises:
        ConfigurationError: a value is not YAML.
    """
    places = names(defaults, file)
    found = []
    for key, text in sorted(values.items()):
        if text.strip():
            name = key.removeprefix(build.meta_data)
            # Keys of an input step's fields must not contain a dot.
            name = name if name in places else name.replace("/", ".")
            found.append(Override(name, build_value(text, f"meta-data {key}"), "build", f"meta-data {key}"))
    return found


def variable(name: str, build: BuildNames = BuildNames()) -> str:
    """The environment variable of a parameter: ``PARAM_TRAINING__LEARNING_RATE``."""
    return build.variables + re.sub(r"[^A-Z0-9_]", "_", name.upper().replace(".", "__"))


def build_value(text: str, description: str) -> JsonValue:
    """A value that a person typed, read as YAML; a date stays text.

    Raises:
        ConfigurationError: it is not YAML, refers to itself, or JSON cannot hold it.
    """
    with readable(description):
        return _as_typed(agent_yaml.load(text))


def resolve(defaults: Mapping[str, JsonValue], overrides: Iterable[Override], file: str) -> Resolved:
    """Apply the overrides to ``defaults``; a later override wins.

    Raises:
        ConfigurationError: an override names no parameter of the file.
    """
    values: dict[str, JsonValue] = json.loads(json.dumps(defaults))
    places = names(defaults, file)
    origins: dict[str, Origin] = dict.fromkeys(places, "file")
    descriptions: dict[str, str] = {}
    for override in overrides:
        if override.name not in places:
            raise unknown_parameter(
                override.description, override.value, _nearest(override.name, places), defaults, file
            )
        _set(values, places[override.name], override.value)
        origins[override.name] = override.origin
        descriptions[override.name] = override.description
    return Resolved(values, origins, descriptions)


def require_kinds(resolved: Resolved, defaults: Mapping[str, JsonValue], file: str) -> None:
    """Require that each override has the kind of the file's value; a null allows every kind.

    Raises:
        ConfigurationError: an override is of another kind.
    """
    now = dict(leaves(resolved.values))
    for path, default in leaves(defaults):
        name = ".".join(path)
        if name not in resolved.descriptions or default is None:
            continue
        # A map that overrides an empty map has leaves of its own, so its path is missing here.
        value = now.get(path, {})
        expected, actual = kind(default), kind(value)
        if actual != expected and (expected, actual) != (NUMBER, WHOLE_NUMBER):
            subject = f"parameter {plain(name)} is {short(value)} ({plain(resolved.descriptions[name])})"
            raise ConfigurationError(f"{subject}: it must be {expected}, as in {file}")


def _nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate most similar to a name, with or without the sections before its last part."""
    by_last = {other.rsplit(".", 1)[-1]: other for other in candidates}
    near = difflib.get_close_matches(name, candidates, n=1)
    last = difflib.get_close_matches(name.rsplit(".", 1)[-1], by_last, n=1)
    return near[0] if near else by_last[last[0]] if last else None


def _as_read(value: JsonValue) -> JsonValue:
    """A JSON value with whole numbers beyond 64 bits as floats, as in a file."""
    if type(value) is int and not -(1 << 63) <= value < (1 << 64):
        return float(value)
    if isinstance(value, list):
        return [_as_read(item) for item in value]
    return value


def _as_typed(value: Any) -> JsonValue:
    if isinstance(value, agent_yaml.Rewritten):
        return value.written
    if isinstance(value, list):
        return [_as_typed(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _as_typed(item) for key, item in value.items()}
    return cast(JsonValue, value)


def _set(values: dict[str, JsonValue], path: tuple[str, ...], value: JsonValue) -> None:
    for key in path[:-1]:
        inner = values[key]
        assert isinstance(inner, dict)
        values = inner
    values[path[-1]] = value
