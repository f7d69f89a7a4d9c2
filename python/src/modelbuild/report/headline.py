"""What a report is about: its title, which tells models of one commit apart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from modelbuild.contract import Report

_NAMED = 3


def title(report: Report) -> str:
    """The model for people: ``sentiment 12 with training.learning_rate 0.1``.

    The parameters are those that the build or its sweep set, so two builds of one commit have different
    titles.
    """
    request = report.manifest.request
    values = dict(_leaves(request.parameters))
    own = [
        name
        for name, origin in sorted(request.origins.items())
        if origin in ("build", "sweep") and name in values
    ]
    named = ", ".join(f"{name} {brief(values[name])}" for name in own[:_NAMED])
    more = f" and {len(own) - _NAMED} more" if len(own) > _NAMED else ""
    return f"{request.model} {request.model_id}{' with ' if own else ''}{named}{more}"


def brief(value: JsonValue) -> str:
    """A JSON value on one line; a text without quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _leaves(values: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    for name, value in values.items():
        yield f"{prefix}{name}", value
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
