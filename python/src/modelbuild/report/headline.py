"""What a report is about: its title, which tells models of one commit apart."""

from __future__ import annotations

import json

from pydantic import JsonValue

from modelbuild.contract import Report

_NAMED = 3


def title(report: Report) -> str:
    """The model for people: ``sentiment 12 with training.learning_rate 0.1``.

    The parameters are those that the build or its sweep set, so two builds of one commit have different
    titles.
    """
    request = report.manifest.request
    own = request.values_of(
        name for name, origin in sorted(request.origins.items()) if origin in ("build", "sweep")
    )
    named = ", ".join(f"{name} {brief(value)}" for name, value in list(own.items())[:_NAMED])
    more = f" and {len(own) - _NAMED} more" if len(own) > _NAMED else ""
    return f"{request.model} {request.model_id}{' with ' if own else ''}{named}{more}"


def brief(value: JsonValue) -> str:
    """A JSON value on one line; a text without quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
