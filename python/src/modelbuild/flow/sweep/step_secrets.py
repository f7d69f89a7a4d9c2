"""Gives candidates the secrets that the steps of their flow ask for, as Metaflow gives them to a step."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

from metaflow.exception import MetaflowException
from metaflow.plugins.secrets import secrets_func, utils

from modelbuild import log
from modelbuild.errors import ConfigurationError

_metaflow: Any = utils


def set_variables(flow: type, excluded: Collection[str]) -> None:
    """Set the variables of the secrets that a flow's steps ask for.

    They ask with ``on_batch`` or with Metaflow's ``secrets``. The steps of a candidate run in one process, so
    each finds the variables of all of them.

    Args:
        flow: the user's flow.
        excluded: ARNs of secrets that are left out.

    Raises:
        ConfigurationError: a secret cannot be read, or its variables cannot be set.
    """
    found: list[tuple[Any, dict[str, str]]] = []
    try:
        for source, role in _secret_sources(flow):
            if _name(source) not in excluded:
                values = secrets_func.get_secret(source, role)
                _metaflow.validate_env_vars(values)
                found.append((_name(source), values))
        _metaflow.validate_env_vars_across_secrets(found)
        _metaflow.validate_env_vars_vs_existing_env(found)
    except MetaflowException as error:
        raise ConfigurationError(
            f"the candidates cannot have the secrets of the flow's steps: {error}"
        ) from error
    for _, values in found:
        for value in values.values():
            log.hide(value)
        os.environ.update(values)


def _secret_sources(flow: type) -> list[tuple[Any, str | None]]:
    """The sources of the secrets of all steps, each once, with the role that reads it."""
    found: list[tuple[Any, str | None]] = []
    for name in dir(flow):
        decorators = getattr(getattr(flow, name), "decorators", None)
        # A Config of Metaflow answers with something for each attribute.
        for decorator in decorators if isinstance(decorators, list) else ():
            if decorator.name == "secrets":
                role = decorator.attributes["role"]
                found += [(source, role) for source in decorator.attributes["sources"]]
    return [pair for place, pair in enumerate(found) if pair not in found[:place]]


def _name(source: Any) -> str:
    """The name or ARN of a source's secret."""
    if isinstance(source, dict):
        return str(source.get("id"))
    return str(source).partition(".")[2] or str(source)
