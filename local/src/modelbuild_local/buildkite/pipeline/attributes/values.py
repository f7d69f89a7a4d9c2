"""Converts the forms in which Buildkite accepts a value to one form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, JsonValue, StringConstraints

from modelbuild.formats.pipeline_rules import dependency_entries, variable_text

_PLUGIN_SHORT_NAME = re.compile(r"(?:(?P<owner>[\w.-]+)/)?(?P<name>[\w-]+)(?P<version>#.*)?", re.ASCII)


def as_text(value: object) -> object:
    """Booleans and numbers as text in YAML's form."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else value


def as_list(value: object) -> object:
    """One value as a list of one."""
    return [value] if isinstance(value, (str, int)) else value


def as_flag(value: object) -> object:
    """Convert a boolean as text to a boolean: Buildkite accepts both."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def _as_env(value: object) -> object:
    if value is None:
        return {}
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else value


def _as_lines(value: object) -> object:
    if value is None:
        return ""
    return "\n".join(str(line) for line in value) if isinstance(value, list) else value


def canonical_plugin(source: str) -> str:
    """The full form of a plugin reference: ``docker#v5`` is one of Buildkite's own on GitHub."""
    match = _PLUGIN_SHORT_NAME.fullmatch(source)
    if match is None or source.startswith("."):
        return source
    owner = match["owner"] or "buildkite-plugins"
    return f"https://github.com/{owner}/{match['name']}-buildkite-plugin{match['version'] or ''}"


def _as_plugins(value: object) -> object:
    if value is None:
        return []
    items = [{name: options} for name, options in value.items()] if isinstance(value, Mapping) else value
    if not isinstance(items, list):
        raise ValueError("plugins must be a list")
    return [_as_plugin(item) for item in items]


def _as_plugin(item: object) -> dict[str, object]:
    plugin = {item: None} if isinstance(item, str) else item
    if not isinstance(plugin, Mapping) or len(plugin) != 1:
        raise ValueError("each plugin must be a reference, or a map of one reference to its configuration")
    return {canonical_plugin(str(source)): options for source, options in plugin.items()}


def _as_agents(value: object) -> object:
    if value is None:
        return {}
    if isinstance(value, list):
        pairs = [str(item).partition("=") for item in value]
        return {name: tag if separator else "true" for name, separator, tag in pairs}
    return value


def _as_skip(value: object) -> object:
    """The reason for a skip; empty if the step is not skipped."""
    if value is None or isinstance(value, bool):
        return "skipped" if value else ""
    return value


def _as_branches(value: object) -> object:
    return " ".join(str(item) for item in value) if isinstance(value, list) else value


Text = Annotated[str, BeforeValidator(as_text)]
Env = Annotated[dict[str, Annotated[str, BeforeValidator(variable_text)]], BeforeValidator(_as_env)]
Lines = Annotated[str, BeforeValidator(_as_lines)]
Plugins = Annotated[list[dict[str, JsonValue]], BeforeValidator(_as_plugins)]
AgentTags = Annotated[dict[str, Text], BeforeValidator(_as_agents)]
Dependencies = BeforeValidator(dependency_entries)
Skip = Annotated[str, StringConstraints(max_length=70), BeforeValidator(_as_skip)]
Branches = Annotated[str, BeforeValidator(_as_branches)]
