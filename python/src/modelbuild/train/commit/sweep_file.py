"""Reads the file of a sweep, and checks it against the parameters of the flow."""

from __future__ import annotations

import ast
import difflib
import json
from collections.abc import Mapping

from pydantic import JsonValue, ValidationError

from modelbuild.contract import Sweep, parameters_by_name
from modelbuild.errors import ConfigurationError
from modelbuild.formats.validation import first_error
from modelbuild.sweep import space
from modelbuild.train.commit import overrides, parameters, syntax


def read(text: bytes, name: str) -> Sweep:
    """The sweep that a file asks for; ``name`` is the file's, for messages.

    Raises:
        ConfigurationError: it is not YAML, or no sweep.
    """
    values = parameters.parse(text, name)
    try:
        found = Sweep.model_validate_json(json.dumps(values))
    except ValidationError as error:
        message = first_error(error).replace("Value error, ", "")
        raise ConfigurationError(f"{name} is no sweep: {message}; see docs/sweeps.md") from error
    space.ordered(found.space)
    return found


def candidates(
    sweep: Sweep, name: str, resolved: overrides.Resolved, parameter_file: str
) -> dict[str, overrides.Resolved]:
    """The parameters of each candidate that is known before any is trained, and of each rung.

    With method ``tpe`` these are the candidates of its first round.

    Args:
        sweep: the sweep.
        name: its file.
        resolved: the parameters where a candidate sets none.
        parameter_file: their file.

    Returns:
        The parameters, by a description of each candidate or rung for messages.

    Raises:
        ConfigurationError: the sweep names an unknown parameter, or has more candidates than its limit.
    """
    defaults = parameters_by_name(resolved.values)
    _require_known(sweep, name, defaults, parameter_file)

    def with_values(values: Mapping[str, JsonValue], place: str) -> overrides.Resolved:
        changes = [
            overrides.Override(key, value, "sweep", f"{place.format(key)} of {name}")
            for key, value in values.items()
        ]
        return overrides.resolve(resolved.values, changes, parameter_file)

    found = {
        f"candidate {one.number} of the sweep": with_values(one.values, "space.{}")
        for one in space.candidates(sweep, defaults)
    }
    if sweep.early_stopping is not None:
        for rung, value in enumerate(space.rungs(sweep, defaults), 1):
            changed = {sweep.early_stopping.parameter: value}
            found[f"rung {rung} of the sweep"] = with_values(changed, "early-stopping")
    return found


def require_split(text: bytes, flow: str) -> None:
    """Require that a flow lets validation rows be split off, without which candidates cannot be ranked.

    Where this Python cannot parse the flow, the workers check it.

    Raises:
        ConfigurationError: the flow's file does not call ``search_split``.
    """
    tree = syntax.parse(text)
    if tree is None:
        return
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    if not any(node.attr == "search_split" for node in calls):
        raise ConfigurationError(
            f"{flow} cannot be swept, as its candidates would be ranked by the test rows: where it splits "
            "its rows, pass both parts through self.search_split(train, held_out, key)"
        )


def _require_known(sweep: Sweep, name: str, defaults: Mapping[str, JsonValue], parameter_file: str) -> None:
    """Require that the sweep names parameters of the flow only.

    Args:
        sweep: the sweep.
        name: its file.
        defaults: the parameters of the flow, by dotted name.
        parameter_file: their file.

    Raises:
        ConfigurationError: there is no such parameter.
    """
    named = {key: f"space.{key}" for key in sweep.space}
    for key, dimension in sweep.space.items():
        for other in dimension.when:
            named.setdefault(other, f"space.{key}.when")
    if sweep.early_stopping is not None:
        named.setdefault(sweep.early_stopping.parameter, "early-stopping.parameter")
    for key, place in named.items():
        if key not in defaults:
            near = difflib.get_close_matches(key, defaults, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(list(defaults)[:20])}"
            raise ConfigurationError(
                f"{name} tries {parameters.plain(key)} ({place}), but {parameter_file} has no such "
                f"parameter: {hint}"
            )
    if sweep.early_stopping is not None:
        full = defaults[sweep.early_stopping.parameter]
        if isinstance(full, bool) or not isinstance(full, int) or full <= sweep.early_stopping.minimum:
            raise ConfigurationError(
                f"{name} stops candidates early by {sweep.early_stopping.parameter}, which is "
                f"{parameters.short(full)} in {parameter_file}: it must be a whole number above "
                f"early-stopping.minimum, {sweep.early_stopping.minimum}"
            )
