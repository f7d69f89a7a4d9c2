"""Variables in a pipeline file, as the agent completes them before it uploads the pipeline."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from modelbuild.errors import ConfigurationError

_VARIABLE = re.compile(
    r"\$\$|\\\$|\$(?P<plain>[A-Za-z_]\w*)|\$\{(?P<name>[A-Za-z_]\w*)(?:(?P<how>:?-|\?)(?P<rest>[^{}]*))?\}",
    re.ASCII,
)


def completed(value: JsonValue, environ: Mapping[str, str]) -> JsonValue:
    """A value with the variables in its texts completed.

    ``$NAME``, ``${NAME}``, ``${NAME:-default}``, ``${NAME-default}`` and ``${NAME?message}`` are; other
    forms stay as they are. A variable that is not set is empty.

    Raises:
        ConfigurationError: variables that the pipeline requires are not set.
    """
    missing = sorted({name for name in _required(value) if name not in environ})
    if missing:
        raise ConfigurationError(
            f"the pipeline requires {' and '.join(missing)}, which this environment does not have: set "
            f"{'them' if missing[1:] else 'it'} in the pipeline's settings or on the agents"
        )
    return _completed(value, environ)


def _required(value: JsonValue) -> Iterator[str]:
    """The variables without which the agent refuses to upload the pipeline."""
    if isinstance(value, list):
        yield from (name for item in value for name in _required(item))
    elif isinstance(value, dict):
        yield from (name for item in value.values() for name in _required(item))
    elif isinstance(value, str):
        yield from (found["name"] for found in _VARIABLE.finditer(value) if found["how"] == "?")


def _completed(value: JsonValue, environ: Mapping[str, str]) -> JsonValue:
    if isinstance(value, list):
        return [_completed(item, environ) for item in value]
    if isinstance(value, dict):
        return {key: _completed(item, environ) for key, item in value.items()}
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: _value(found, environ), value)
    return value


def _value(found: re.Match[str], environ: Mapping[str, str]) -> str:
    name = found["plain"] or found["name"]
    if name is None:
        return "$"
    how, rest, value = found["how"] or "", found["rest"] or "", environ.get(name)
    if value is not None and (value or not how.startswith(":")):
        return value
    return rest if how.endswith("-") else ""
