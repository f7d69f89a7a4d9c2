"""Reads pipelines.

The agent parses and interpolates pipeline files and sends normalised JSON; a pipeline's own configuration is
YAML. This module refuses an unsupported attribute with an error and does not ignore it, because a build that
silently differs from Buildkite's would be misleading. The exception is ``notify``, which is accepted and does
nothing: the laptop sends no mail and no messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from modelbuild.formats import agent_yaml
from modelbuild.formats.pipeline_rules import KEY_ALIASES, StepType, step_type, title_attributes
from modelbuild_local.buildkite.pipeline.definition import (
    CommandStep,
    GroupStep,
    ManualStep,
    Pipeline,
    WaitStep,
)

MAX_PROBLEMS = 20
"""How many problems an error lists; it only counts further ones."""


class PipelineError(ValueError):
    """A pipeline is invalid; the message names each wrong step with the reason."""

    def __init__(self, problems: list[str]) -> None:
        shown = list(dict.fromkeys(problems))
        more = len(shown) - MAX_PROBLEMS
        text = "; ".join(shown[:MAX_PROBLEMS])
        super().__init__(f"{text}; and {more} more problems" if more > 0 else text)


_ALIASES = {
    "agent_query_rules": "agents",
    "artifacts": "artifact_paths",
    "commands": "command",
    **dict.fromkeys(KEY_ALIASES, "key"),
    "name": "label",
    "timeout": "timeout_in_minutes",
}
# Attributes of Buildkite that are not supported here.
_UNSUPPORTED = (
    "cache",
    "checkout",
    "secrets",
    "signature",
    "trigger",
)
_IF_CHANGED = "'if_changed' is for uploaded files only: `buildkite-agent pipeline upload` applies it"


_Indices = tuple[int, ...]
"""The index of a step, or the indices of its group and of the step, from 0."""


class _Reader:
    """Converts steps to the form of ``definition``, and collects their errors."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.titles: dict[_Indices, str] = {}

    def steps(
        self, steps: list[object], indices: _Indices = (), index: _Indices = ()
    ) -> list[dict[str, Any]]:
        """The valid steps, as maps with their ``type``, and with titles under ``label``.

        Args:
            steps: the steps, of the pipeline or of a group.
            indices: the position of the group in the document.
            index: the position of the group among the valid steps.
        """
        found: list[dict[str, Any]] = []
        for number, step in enumerate(steps):
            values = self._step(step, (*indices, number), (*index, len(found)))
            if values is not None:
                found.append(values)
        return found

    def _step(self, step: object, indices: _Indices, index: _Indices) -> dict[str, Any] | None:
        if isinstance(step, str):
            step = {step: None}
        title = f"step {'.'.join(str(number + 1) for number in indices)}"
        if not isinstance(step, Mapping):
            self.problems.append(f"{title}: a step must be a map or one of 'wait', 'block' and 'input'")
            return None
        values: dict[str, Any] = {str(name): value for name, value in step.items()}
        self.titles[index] = title = title + _name(values)
        unsupported = [name for name in _UNSUPPORTED if name in values]
        for name in unsupported:
            self.problems.append(f"{title}: '{name}' is not supported on the laptop: remove it")
            del values[name]
        if "if_changed" in values:
            self.problems.append(f"{title}: {_IF_CHANGED}")
            del values["if_changed"]
        kind = step_type(values)
        if kind is None or kind == "trigger":
            if "trigger" not in unsupported:
                self.problems.append(f"{title}: {_no_kind(values)}")
            return None
        _move_title(values, kind)
        values = _canonical(values)
        if kind == "group":
            members = values.get("steps")
            if len(indices) > 1:
                self.problems.append(f"{title}: a group cannot hold another group")
                return None
            if not isinstance(members, list):
                self.problems.append(f"{title}: a group needs 'steps', a list")
                return None
            values["steps"] = self.steps(members, indices, index)
        return {**values, "type": kind}

    def add(self, error: ErrorDetails) -> None:
        """Add the errors of the pydantic model, with their steps."""
        location = list(error["loc"])
        index: _Indices = ()
        while len(location) > 1 and location[0] == "steps" and isinstance(location[1], int):
            index = (*index, location[1])
            # The third part is the discriminator, the step's type.
            location = location[3:]
        title = self.titles.get(index, "the pipeline")
        attribute = ".".join(str(part) for part in location)
        if error["type"] == "extra_forbidden":
            self.problems.append(f"{title}: '{attribute}' does not exist, or is not supported on the laptop")
        elif attribute:
            self.problems.append(f"{title}: '{attribute}': {_reason(error)}")
        else:
            self.problems.append(f"{title}: {_reason(error)}")


def _move_title(values: dict[str, Any], kind: StepType) -> None:
    """Move the title of a step from the attribute that names its type to ``label``, and drop ``type``."""
    values.pop("type", None)
    for name in title_attributes(kind):
        title = values.pop(name, None)
        if title is not None:
            values["label"] = title


def _canonical(values: dict[str, Any]) -> dict[str, Any]:
    """The attributes by their canonical names, without unset ones.

    A null under ``depends_on`` means that the step depends on nothing. Unknown names are kept, and the model
    refuses them.
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        own = _ALIASES.get(name, name)
        if own != name and own in values:
            continue
        if value is not None or own == "depends_on" or own not in _KNOWN:
            found[own] = value
    return found


# A null unsets these; the model refuses other nulls.
_KNOWN = frozenset(
    field.alias or name
    for model in (CommandStep, WaitStep, ManualStep, GroupStep)
    for name, field in model.model_fields.items()
)


def _no_kind(values: Mapping[str, Any]) -> str:
    names = ", ".join(f"'{name}'" for name in values) or "nothing"
    return f"it has none of 'command', 'plugins', 'wait', 'block', 'input' and 'group', but {names}"


def _name(values: Mapping[str, Any]) -> str:
    """The step's key or label in brackets; empty without either."""
    for attribute in ("key", "label", "name", "block", "input", "group", "command", "commands", "trigger"):
        value = values.get(attribute)
        if isinstance(value, str) and value.strip():
            first = value.strip().split("\n")[0]
            return f" ('{first if len(first) <= 60 else first[:59] + '…'}')"
    return ""


def _reason(error: ErrorDetails) -> str:
    """The model's message, with a wrong number but no wrong text, which may be a secret."""
    message = error["msg"].removeprefix("Value error, ")
    actual = error.get("input")
    return f"{message}, not {actual}" if isinstance(actual, (int, float)) else message


def parse_pipeline(document: object) -> Pipeline:
    """Read a pipeline from an agent's JSON or from the parsed YAML of a configuration.

    Raises:
        PipelineError: it is not a pipeline, or uses unsupported attributes; the message names all of them.
    """
    if isinstance(document, list):
        document = {"steps": document}
    if not isinstance(document, Mapping):
        raise PipelineError(["a pipeline must be a map with 'steps'"])
    steps = document.get("steps")
    if not isinstance(steps, list):
        raise PipelineError(["a pipeline needs 'steps', a list"])
    reader = _Reader()
    reader.problems += [
        f"the pipeline: '{name}' is not supported on the laptop: remove it"
        for name in ("checkout", "secrets")
        if document.get(name)
    ]
    values = {str(name): value for name, value in document.items() if value is not None}
    values["steps"] = reader.steps(steps)
    try:
        pipeline = Pipeline.model_validate(values)
    except ValidationError as error:
        if values["steps"] or not reader.problems:
            for detail in error.errors():
                reader.add(detail)
        raise PipelineError(reader.problems) from None
    if reader.problems:
        raise PipelineError(reader.problems)
    return pipeline


def parse_yaml(text: str) -> Pipeline:
    """Read a pipeline's own configuration.

    Raises:
        PipelineError: it is not YAML, or not a pipeline.
    """
    try:
        return parse_pipeline(agent_yaml.load(text))
    except agent_yaml.YamlError as error:
        raise PipelineError([f"the pipeline's configuration is not YAML: {error}"]) from None
