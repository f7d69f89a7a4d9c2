"""Variables in a pipeline file, as the agent completes them before it uploads the pipeline."""

from __future__ import annotations

import re
from collections.abc import Mapping

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
        ConfigurationError: a variable that the pipeline requires is not set.
    """
    if isinstance(value, list):
        return [completed(item, environ) for item in value]
    if isinstance(value, dict):
        return {key: completed(item, environ) for key, item in value.items()}
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
    if how == "?":
        raise ConfigurationError(
            f"the pipeline requires variable {name}, which is not set here: set it in the pipeline's "
            "settings or on the agents"
        )
    return rest if how.endswith("-") else ""
