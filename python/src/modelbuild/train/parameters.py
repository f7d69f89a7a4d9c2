"""The parameters of a training: a file of the commit, with what the pipeline puts in place of its values."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping

import yaml
from pydantic import JsonValue

from modelbuild.errors import ConfigurationError

FILE_NAME = "params.yaml"


def parse(text: bytes, name: str) -> dict[str, JsonValue]:
    """The values of a parameter file.

    Raises:
        ConfigurationError: the file is not YAML, not a map, or holds what JSON cannot.
    """
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        said = str(getattr(error, "problem", error)).splitlines()[0]
        raise ConfigurationError(f"{name}{where} is not YAML: {said}") from error
    except (ValueError, LookupError, AttributeError, RecursionError) as error:
        # What PyYAML meets in a thirteenth month, or in a tag that its value does not fit.
        raise ConfigurationError(
            f"{name} holds a value that is not what it looks like ({error}): put it in quotes"
        ) from error
    if not isinstance(values, dict):
        raise ConfigurationError(f"{name} must be a map from names to values, not {type(values).__name__}")
    _require_json(values, name)
    return values


def merged(
    defaults: Mapping[str, JsonValue], changes: Mapping[str, JsonValue], name: str
) -> dict[str, JsonValue]:
    """``defaults`` with the values of ``changes``, whose keys may be nested or dotted.

    Raises:
        ConfigurationError: a key is not in ``defaults``, is given twice, or is a map on one side only.
    """
    result: dict[str, JsonValue] = json.loads(json.dumps(defaults))
    known = dict(_leaves(defaults))
    seen: set[tuple[str, ...]] = set()
    for path, value in _changes(changes):
        full = ".".join(path)
        place = known.get(full)
        if place is None:
            near = difflib.get_close_matches(full, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'none'}"
            raise ConfigurationError(
                f"option params names {full}, which is not a parameter of {name}: {hint}"
            )
        if place in seen:
            raise ConfigurationError(f"option params gives {full} twice: keep one of the two")
        seen.add(place)
        _set(result, place, value)
    return result


def dump(values: Mapping[str, JsonValue]) -> str:
    """Values as YAML that reads back as the same values; ASCII, because YAML folds some other characters."""
    return yaml.safe_dump(dict(values), sort_keys=True)


def shown(values: Mapping[str, JsonValue]) -> str:
    """Values as YAML for people."""
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True).rstrip()


def _require_json(values: JsonValue, name: str) -> None:
    """Refuse dates, sets and infinities, keys that are not text, and endless structures."""
    try:
        text = json.dumps(values, allow_nan=False, ensure_ascii=False)
        again = json.loads(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"{name} holds a value that JSON cannot: {error}; put it in quotes"
        ) from error
    if again != values:
        raise ConfigurationError(f"{name} has a key that is not text: put it in quotes")


def _leaves(
    values: Mapping[str, JsonValue], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each parameter's dotted name, and the keys that lead to it; an empty map is a value."""
    for key, value in values.items():
        place = (*path, key)
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, place)
        else:
            yield ".".join(place), place


def _changes(
    changes: Mapping[str, JsonValue], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], JsonValue]]:
    for key, value in changes.items():
        if isinstance(value, Mapping) and value:
            yield from _changes(value, (*path, key))
        else:
            yield (*path, key), value


def _set(values: dict[str, JsonValue], place: tuple[str, ...], value: JsonValue) -> None:
    for key in place[:-1]:
        inner = values[key]
        assert isinstance(inner, dict)
        values = inner
    values[place[-1]] = value
