"""Runs users' regular expressions, which may be of another dialect, invalid, or very slow."""

from __future__ import annotations

import functools
import math
import re

import regex

TIMEOUT_SECONDS = 0.25
"""The server answers no other request during a match, so this is its time limit."""

_MAX_REPETITIONS = 10_000
_COUNT = re.compile(r"\{(\d+)(?:,(\d*))?\}")
# The HTML attribute ``pattern`` has JavaScript's dialect: these three classes are ASCII, others are Unicode.
_ASCII_CLASSES = {"d": "0-9", "w": "A-Za-z0-9_"}
_TOKEN = re.compile(r"\\u\{(?P<code>[0-9A-Fa-f]+)\}|\\k<(?P<name>\w+)>|\\(?P<escaped>.)|(?P<other>[\[\]])")


class PatternError(ValueError):
    """A regular expression is invalid, or takes too long; the message names it."""


def check_format(pattern: str) -> None:
    """Refuse a field's ``format`` that is no regular expression.

    Raises:
        PatternError: it is invalid, or has too many repetitions to be compiled.
    """
    _compile(_from_javascript(pattern), pattern, False)


def matches_format(pattern: str, value: str) -> bool:
    """Whether the whole of ``value`` matches a field's ``format``, in the dialect of HTML's ``pattern``.

    Raises:
        PatternError: it is invalid, or takes longer than ``TIMEOUT_SECONDS``.
    """
    compiled = _compile(_from_javascript(pattern), pattern, False)
    return _run(compiled.fullmatch, pattern, value)


def is_match(expression: str, text: str) -> bool:
    """Whether an expression of our own matches the whole ``text``. Raises like ``matches_format``."""
    return _run(_compile(f"(?s){expression}", expression, False).fullmatch, expression, text)


def finds(pattern: str, text: str, *, ignore_case: bool) -> bool:
    """Whether ``pattern`` matches a part of ``text``. Raises like ``matches_format``."""
    return _run(_compile(pattern, pattern, ignore_case).search, pattern, text)


@functools.lru_cache(maxsize=256)
def _compile(translated: str, written: str, ignore_case: bool) -> regex.Pattern[str]:
    # ``regex`` unrolls nested counted repetitions, so a short pattern could use all the memory.
    counts = [max(int(low), int(high or 0), 1) for low, high in _COUNT.findall(translated)]
    if math.prod(counts) > _MAX_REPETITIONS:
        raise PatternError(f"the regular expression {written} repeats too often to be checked here")
    try:
        return regex.compile(translated, regex.IGNORECASE if ignore_case else 0)
    except (regex.error, OverflowError, RecursionError) as error:
        raise PatternError(f"{written} is not a regular expression: {error}") from None


def _run(match: object, pattern: str, text: str) -> bool:
    assert callable(match)
    try:
        return match(text, timeout=TIMEOUT_SECONDS) is not None
    except TimeoutError:
        raise PatternError(f"the regular expression {pattern} takes too long") from None


def _from_javascript(pattern: str) -> str:
    """The pattern in the dialect of the package ``regex``, version 1 of its rules for sets."""
    depth = 0

    def token(found: re.Match[str]) -> str:
        nonlocal depth
        if found["other"]:
            depth = max(0, depth + (1 if found["other"] == "[" else -1))
            return found[0]
        if found["code"]:
            return re.escape(chr(min(int(found["code"], 16), 0x10FFFF)))
        if found["name"]:
            return f"(?P={found['name']})"
        letter = found["escaped"]
        if letter.lower() in _ASCII_CLASSES and (depth == 0 or letter.islower()):
            inner = _ASCII_CLASSES[letter.lower()]
            return inner if depth else f"[{'^' if letter.isupper() else ''}{inner}]"
        return found[0]

    return f"(?V1){_TOKEN.sub(token, pattern)}"
