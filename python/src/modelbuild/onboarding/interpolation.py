r"""Interpolates variables in a pipeline file, by the agent's rules for ``pipeline upload``.

The grammar is that of ``github.com/buildkite/interpolate``: ``$NAME``, ``${NAME}``, ``${NAME:-default}``,
``${NAME-default}``, ``${NAME?message}`` and ``${NAME:offset:length}``, where a default may contain variables;
``$$`` and ``\$`` become a dollar sign, and ``$(`` is not changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from modelbuild.errors import ConfigurationError
from modelbuild.onboarding import matrix

_ESCAPED = ("\\$", "$$")
_NUMBER = re.compile(r"\s*([-+]?[0-9]{1,18})\s*", re.ASCII)
_MOST_NESTED = 100


@dataclass(frozen=True)
class _Variable:
    """A variable with its operator: ``:-``, ``-``, ``?``, ``:`` or none."""

    name: str
    operator: str = ""
    default: tuple[str | _Variable, ...] = ()
    offset: int = 0
    length: int | None = None


_Expression = tuple["str | _Variable", ...]


def interpolated(value: JsonValue, environ: Mapping[str, str]) -> JsonValue:
    """Interpolate the variables in the texts and keys of a value; a variable that is not set is empty.

    Raises:
        ConfigurationError: variables that the pipeline requires are not set, or the agent would refuse a
            text.
    """
    missing: set[str] = set()
    found = _interpolated(value, environ, missing)
    if missing:
        raise ConfigurationError(
            f"the pipeline requires {' and '.join(sorted(missing))}, which this environment does not have: "
            f"set {'them' if len(missing) > 1 else 'it'} in the pipeline's settings or on the agents"
        )
    return found


def interpolated_variables(values: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Interpolate the names and values of variables, with those of ``environ`` only.

    Raises:
        ConfigurationError: see :func:`interpolated`.
    """
    found = interpolated(dict(values), environ)
    assert isinstance(found, dict)
    return {name: str(value) for name, value in found.items()}


def interpolated_environment(env: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Interpolate the variables under ``env:`` of a pipeline file, in order.

    Each may use the variables before it, which override those of ``environ``.

    Raises:
        ConfigurationError: see :func:`interpolated`.
    """
    found: dict[str, str] = {}
    for name, value in env.items():
        found.update(interpolated_variables({name: value}, {**environ, **found}))
    return found


def has_variable(text: object) -> bool:
    """Whether the text contains a variable that the agent interpolates, or a value of the step's matrix."""
    if not isinstance(text, str):
        return False
    if matrix.has_value(text):
        return True
    try:
        return any(isinstance(part, _Variable) for part in _Parser(text).expression())
    except ConfigurationError:
        return True


def problems(value: object) -> Iterator[str]:
    """The errors that the agent would report for the texts and keys of a value."""
    if isinstance(value, str):
        try:
            _Parser(value).expression()
        except ConfigurationError as error:
            yield str(error)
    elif isinstance(value, (list, dict)):
        items = [*value, *value.values()] if isinstance(value, dict) else value
        yield from (problem for item in items for problem in problems(item))


def _interpolated(value: JsonValue, environ: Mapping[str, str], missing: set[str]) -> JsonValue:
    if isinstance(value, list):
        return [_interpolated(item, environ, missing) for item in value]
    if isinstance(value, dict):
        return {
            _text(_Parser(key).expression(), environ, missing): _interpolated(item, environ, missing)
            for key, item in value.items()
        }
    if isinstance(value, str):
        return _text(_Parser(value).expression(), environ, missing)
    return value


def _text(expression: _Expression, environ: Mapping[str, str], missing: set[str]) -> str:
    return "".join(part if isinstance(part, str) else _value(part, environ, missing) for part in expression)


def _value(variable: _Variable, environ: Mapping[str, str], missing: set[str]) -> str:
    value = environ.get(variable.name)
    match variable.operator:
        case "?" if value is None:
            missing.add(variable.name)
        case "-" if value is None:
            return _text(variable.default, environ, missing)
        case ":-" if not value:
            return _text(variable.default, environ, missing)
        case ":":
            # Go counts bytes.
            content = (value or "").encode()
            begin = max(variable.offset + (len(content) if variable.offset < 0 else 0), 0)
            length = variable.length
            end = len(content) if length is None else length + (begin if length >= 0 else len(content))
            return content[begin : max(begin, end)].decode(errors="replace")
    return value or ""


class _Parser:
    """One text, read from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._depth = 0

    def expression(self, stop: str = "") -> _Expression:
        """Parse up to the character ``stop``, or to the end."""
        return tuple(self._parts(stop))

    def _parts(self, stop: str) -> Iterator[str | _Variable]:
        while self._position < len(self._text) and self._text[self._position] != stop:
            if self._takes("\\\\"):
                yield "\\\\"
            elif any(self._takes(escaped) for escaped in _ESCAPED):
                yield "$"
            elif self._takes("$("):
                yield "$("
            elif self._takes("$"):
                yield self._variable()
            else:
                yield self._text[self._position]
                self._position += 1

    def _takes(self, text: str) -> bool:
        found = self._text.startswith(text, self._position)
        self._position += len(text) if found else 0
        return found

    def _variable(self) -> str | _Variable:
        """Parse after a dollar sign."""
        if self._takes("{"):
            return self._in_braces()
        return _Variable(name) if (name := self._name()) else "$"

    def _name(self) -> str:
        begin = self._position
        if self._text[begin : begin + 1].isalpha():
            while self._text[self._position : self._position + 1] == "_" or (
                self._text[self._position : self._position + 1].isalnum()
            ):
                self._position += 1
        return self._text[begin : self._position]

    def _in_braces(self) -> _Variable:
        name = self._name()
        if not name:
            raise self._refused("${ is not followed by the name of a variable")
        if self._takes("}"):
            return _Variable(name)
        operator = next((one for one in (":-", "-", "?", ":") if self._takes(one)), "")
        if not operator:
            raise self._refused(f"${{{name} is followed by none of }}, :-, -, ? and :")
        if operator == ":":
            return self._substring(name)
        default = self._default()
        if not self._takes("}"):
            raise self._refused(f"${{{name} is not closed")
        return _Variable(name, operator, default)

    def _default(self) -> _Expression:
        if self._depth == _MOST_NESTED:
            raise ConfigurationError(
                f"{self._shown()!r} nests variables deeper than {_MOST_NESTED} levels: nest fewer"
            )
        self._depth += 1
        found = self.expression("}")
        self._depth -= 1
        return found

    def _substring(self, name: str) -> _Variable:
        inner, closed, _ = self._text[self._position :].partition("}")
        numbers = [_NUMBER.fullmatch(part) for part in inner.split(":", 1)]
        if not closed or None in numbers:
            raise self._refused(f"${{{name}: takes a number, or two with : between them, or - and a default")
        self._position += len(inner) + 1
        offset, *length = (int(found[1]) for found in numbers if found)
        return _Variable(name, ":", offset=offset, length=length[0] if length else None)

    def _refused(self, problem: str) -> ConfigurationError:
        return ConfigurationError(
            f"the agent refuses the pipeline, because in {self._shown()!r} {problem}: write $$ for a dollar "
            "sign"
        )

    def _shown(self) -> str:
        return self._text if len(self._text) <= 80 else f"{self._text[:77]}..."
