"""Scalars of YAML as ``buildkite-agent`` reads them: the value of what is written without quotes.

The rules are those of Go's ``yaml.v3``, see :mod:`modelbuild.formats.agent_yaml`.
"""

from __future__ import annotations

import datetime
import math
import re
from typing import Any

CORE = "tag:yaml.org,2002:"
_KINDS = {"str": str, "int": int, "float": float, "bool": bool, "null": type(None), "timestamp": str}
_WORDS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **{f"{sign}{word}": float(f"{sign}inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")},
}
_INTEGERS = (
    (16, re.compile(r"([-+]?)0[xX]([0-9a-fA-F]+)")),
    (2, re.compile(r"([-+]?)0[bB]([01]+)")),
    (8, re.compile(r"([-+]?)0[oO]?([0-7]+)")),
    # More digits than these are beyond 64 bits.
    (10, re.compile(r"([-+]?)(0|[1-9][0-9]{0,19})")),
    # Go parses what follows these prefixes as a number of its own, with its own sign.
    (2, re.compile(r"0b([-+])([01]+)")),
    (8, re.compile(r"0o([-+])([0-7]+)")),
)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_BETWEEN_DIGITS = re.compile(r"(?<=[0-9])_(?=[0-9])")
_TIME = r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:[.,](\d+))?"
_TIMESTAMP = re.compile(
    rf"(\d{{4}})-(\d{{1,2}})-(\d{{1,2}})(?:[Tt]{_TIME}(Z|[-+]\d\d:\d\d)| +{_TIME})?", re.ASCII
)


class YamlError(ValueError):
    """A document cannot be read; ``line`` counts from 1, and is 0 where the problem has no line."""

    def __init__(self, problem: str, line: int = 0) -> None:
        super().__init__(problem)
        self.line = line


class Rewritten(str):
    """Text that the agent puts in place of a date or time, or of a key that is not text."""

    written: str
    line: int

    def __new__(cls, text: str, written: str, line: int = 0) -> Rewritten:
        """``text``, in place of what the document has in a line."""
        made = super().__new__(cls, text)
        made.written, made.line = written, line
        return made


def require_no_tag(tag: str | None, own: str, line: int) -> None:
    """Refuse the tag of a list or a map, unless it is the core schema's ``own``.

    Raises:
        YamlError: it has another tag.
    """
    if tag not in (None, "!", CORE + own):
        raise YamlError(f"tag {_short_tag(str(tag))} is not known here: remove it", line)


def _short_tag(tag: str) -> str:
    return "!!" + tag.removeprefix(CORE) if tag.startswith(CORE) else tag


def scalar(event: Any, line: int) -> Any:
    """The value of a scalar event of PyYAML, by its quotes, its tag and its text.

    Raises:
        YamlError: JSON has no such value, or the tag is unknown or does not fit the value.
    """
    text: str = event.value
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise YamlError("half of a surrogate pair is not a character", line) from error
    tag = event.tag if event.tag != "!" else None
    if (tag is None and event.style) or tag == f"{CORE}str":
        return text
    value = plain(text, line)
    if isinstance(value, float) and not math.isfinite(value):
        raise YamlError(f"{text} is no number that JSON has: put it in quotes", line)
    if tag is None:
        return value
    kind = tag.removeprefix(CORE)
    if kind not in _KINDS or not tag.startswith(CORE):
        raise YamlError(f"tag {_short_tag(tag)} is not known here: remove it", line)
    if kind == "float" and type(value) is int:
        return float(value)
    if type(value) is not _KINDS[kind] and not (kind == "timestamp" and isinstance(value, Rewritten)):
        raise YamlError(f"{text!r} is not a value of type {_short_tag(tag)}: remove the tag", line)
    return value


def plain(text: str, line: int = 0) -> Any:
    """The value of a scalar without quotes and tag."""
    if text in _WORDS:
        return _WORDS[text]
    if text[:1] not in tuple("+-.0123456789"):
        return text
    moment = _timestamp(text, line)
    if moment is not None:
        return moment
    digits = _BETWEEN_DIGITS.sub("", text) if text[0] == "." else text.replace("_", "")
    for base, pattern in _INTEGERS:
        if found := pattern.fullmatch(digits):
            number = int(found[1] + found[2], base)
            if -(1 << 63) <= number < (1 << 63) or (not found[1] and number < (1 << 64)):
                return number
    # A number beyond the range of a float is text.
    real = float(digits) if _FLOAT.fullmatch(digits) else math.inf
    return real if math.isfinite(real) else text


def _timestamp(text: str, line: int) -> Rewritten | None:
    """A date or time as the agent hands it over: in RFC 3339, UTC where it has no zone."""
    found = _TIMESTAMP.fullmatch(text)
    if found is None:
        return None
    year, month, day, *times = found.groups()
    hour, minute, second, fraction, zone = times[:5] if times[4] else (*times[5:], "Z")
    try:
        moment = datetime.datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0)
        )
    except ValueError:
        return None
    nanoseconds = (fraction or "")[:9].rstrip("0")
    zone = "Z" if zone in ("+00:00", "-00:00") else zone
    return Rewritten(f"{moment.isoformat()}{nanoseconds and '.' + nanoseconds}{zone}", text, line)
