"""The values of a training's parameter file: how they are read, named, described and written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pydantic import JsonValue

from modelbuild.errors import ConfigurationError
from modelbuild.formats import agent_yaml

WHOLE_NUMBER, NUMBER = "a whole number", "a number"
# The order matters: in Python, true is an int.
_KINDS = (
    (bool, "true or false"),
    (int, WHOLE_NUMBER),
    (float, NUMBER),
    (str, "text"),
    (list, "a list"),
    (dict, "a map"),
)


def parse(text: bytes, name: str) -> dict[str, JsonValue]:
    """The values of a parameter file.

    Raises:
        ConfigurationError: the file is not YAML, not a map, or holds a value that JSON cannot hold.
    """
    with readable(name):
        values: dict[str, JsonValue] = agent_yaml.load_written(text)
    if values is None:
        raise ConfigurationError(f"{name} has no values: write {{}} into it if the flow has no parameters")
    if not isinstance(values, dict):
        raise ConfigurationError(f"{name} must be a map from names to values, not {kind(values)}")
    return values


def names(defaults: Mapping[str, JsonValue], file: str) -> dict[str, tuple[str, ...]]:
    """The path of each parameter, by its dotted name.

    Raises:
        ConfigurationError: two parameters have the same dotted name.
    """
    found: dict[str, tuple[str, ...]] = {}
    for path, _ in leaves(defaults):
        name = ".".join(path)
        if name in found:
            raise ConfigurationError(f"{file} has {plain(name)} nested and dotted: keep one of the two")
        found[name] = path
    return found


def kind(value: JsonValue) -> str:
    """The kind of a value, in words."""
    for types, words in _KINDS:
        if isinstance(value, types):
            return words
    return "null"


def short(value: object) -> str:
    """A value on one line, cut to 80 characters."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def plain(name: str) -> str:
    """A name on one printable line."""
    return name if name.isprintable() and len(name) <= 200 else short(name)


def unknown_parameter(
    description: str, value: JsonValue, suggestion: str | None, defaults: Mapping[str, JsonValue], file: str
) -> ConfigurationError:
    """The error that the file has no parameter of an override, with the one that may be meant."""
    kinds = {".".join(path): kind(default) for path, default in leaves(defaults)}
    if suggestion is None:
        hint = f"it has {', '.join(map(plain, list(kinds)[:20])) or 'none'}"
    else:
        hint = f"did you mean {plain(suggestion)}, which is {kinds[suggestion]}?"
    return ConfigurationError(
        f"{plain(description)} is {short(value)}, but {file} has no such parameter: {hint}"
    )


def dump(values: Mapping[str, JsonValue]) -> str:
    """Values as YAML that reads back as the same values."""
    return agent_yaml.dump(dict(values))


def shown(values: Mapping[str, JsonValue]) -> str:
    """Values as YAML for people."""
    return agent_yaml.dump(dict(values), sort_keys=False, allow_unicode=True).rstrip()


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Add the name of the source to errors of the reader."""
    try:
        yield
    except agent_yaml.YamlError as error:
        where = f", line {error.line}," if error.line else ""
        raise ConfigurationError(f"{plain(name)}{where} cannot be read as YAML: {error}") from error


def leaves(
    values: Mapping[str, JsonValue], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], JsonValue]]:
    """The path and the value of each leaf; an empty map is a leaf."""
    for key, value in values.items():
        item_path = (*path, key)
        if isinstance(value, Mapping) and value:
            yield from leaves(value, item_path)
        else:
            yield item_path, value
