"""Parses the forms of the build page."""

from __future__ import annotations

from urllib.parse import parse_qsl

from modelbuild_local.buildkite.errors import Refused


def form_values(body: str) -> dict[str, list[str]]:
    """The values of a form by their names, also empty ones, with line feeds as line ends."""
    values: dict[str, list[str]] = {}
    for name, value in parse_qsl(body, keep_blank_values=True):
        values.setdefault(name, []).append(value.replace("\r\n", "\n"))
    return values


def variables(text: str) -> dict[str, str]:
    """Variables from lines of the form ``NAME=value``. Refused (422): a line has another form."""
    found: dict[str, str] = {}
    for line in text.split("\n"):
        name, equals, value = line.partition("=")
        if not line.strip():
            continue
        if not equals or not name.strip() or " " in name.strip():
            raise Refused(422, f"'{line}' in the environment is not of the form NAME=value")
        found[name.strip()] = value
    return found
