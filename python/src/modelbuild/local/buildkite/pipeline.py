"""Reading a pipeline.

The agent parses and interpolates pipeline files; what arrives here is its normalised JSON, or the steps
of a pipeline's own configuration. An attribute that this stand-in does not honour is refused with a
sentence rather than ignored, because a build that silently differs from Buildkite's is worth nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from modelbuild import agent_yaml
from modelbuild.local.buildkite.definition import Pipeline


class PipelineError(ValueError):
    """A pipeline cannot be used; the message says which part and why."""


_ALIASES = {"commands": "command", "name": "label", "id": "key", "identifier": "key"}
_KINDS = {
    "block": "block",
    "manual": "block",
    "input": "input",
    "wait": "wait",
    "waiter": "wait",
    "group": "group",
}


def _normalise(step: object, *, nested: bool = False) -> dict[str, Any]:
    """One step as a map with its ``type``, its aliases resolved and its title under ``label``."""
    if isinstance(step, str):
        step = {step: None}
    if not isinstance(step, Mapping):
        raise PipelineError(f"a step must be a map or one of 'wait', 'block' and 'input', not {step!r}")
    values: dict[str, Any] = dict(step)
    for unsupported in ("if", "branches", "trigger", "matrix", "parallelism", "skip"):
        if unsupported in values:
            raise PipelineError(
                f"'{unsupported}' is not supported on the laptop: remove it from {_name(values)}"
            )
    kind = str(values.pop("type", ""))
    if "command" not in values and "commands" not in values and "plugins" not in values:
        for name, meaning in _KINDS.items():
            if name in values or kind == name:
                values = {"label": values.pop(name, None), **values}
                kind = meaning
                break
    # A null says "not set", but for depends_on, where it says "on nothing".
    values = {
        _ALIASES.get(name, name): value
        for name, value in values.items()
        if value is not None or name == "depends_on"
    }
    if kind == "group":
        if nested:
            raise PipelineError(f"a group cannot hold another group: {_name(values)}")
        members = values.get("steps")
        if not isinstance(members, list):
            raise PipelineError(f"a group needs 'steps', a list: {_name(values)}")
        values["steps"] = [_normalise(item, nested=True) for item in members]
    values["type"] = kind if kind in _KINDS.values() else "command"
    return values


def _name(step: Mapping[str, Any]) -> str:
    name = (
        step.get("key") or step.get("label") or step.get("command") or step.get("block") or step.get("group")
    )
    return f"step {name!r}" if name else "the step"


def parse_pipeline(document: object) -> Pipeline:
    """Read a pipeline from the JSON an agent uploads or from a configuration's YAML document.

    Raises:
        PipelineError: it is not a pipeline, or uses an attribute that is not supported here.
    """
    if isinstance(document, list):
        document = {"steps": document}
    if not isinstance(document, Mapping):
        raise PipelineError("a pipeline must be a map with 'steps'")
    steps = document.get("steps")
    if not isinstance(steps, list):
        raise PipelineError("a pipeline needs 'steps', a list")
    try:
        return Pipeline.model_validate({**document, "steps": [_normalise(step) for step in steps]})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        unknown = "this attribute does not exist, or is not supported on the laptop"
        reason = unknown if first["type"] == "extra_forbidden" else first["msg"]
        raise PipelineError(f"the pipeline is wrong at {place}: {reason}") from None


def parse_yaml(text: str) -> Pipeline:
    """Read a pipeline's own configuration.

    Raises:
        PipelineError: it is not YAML, or not a pipeline.
    """
    try:
        return parse_pipeline(agent_yaml.load(text))
    except agent_yaml.YamlError as error:
        raise PipelineError(f"the pipeline's configuration is not YAML: {error}") from None
