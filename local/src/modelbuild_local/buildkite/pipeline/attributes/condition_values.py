"""The values of ``if`` conditions: their types, their literals, and the variables that a condition may read.

A variable that a build does not have is null, and keeps its type: Buildkite checks types before it evaluates,
so ``!build.tag`` is refused in each build, and not only in builds of a tag.

Source: https://github.com/buildkite/conditional
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


class ConditionError(ValueError):
    """A condition cannot be evaluated; the message names the position and the reason."""


@dataclass(frozen=True)
class Pattern:
    """A regular expression between slashes."""

    text: str
    ignore_case: bool


@dataclass(frozen=True)
class Missing:
    """Null in place of a value of this type, which the build does not have."""

    kind: type


@dataclass(frozen=True)
class OneOf:
    """A text of a fixed set."""

    text: str
    values: tuple[str, ...]


Scalar = str | int | bool | None | Missing | OneOf
Value = Scalar | tuple[Scalar, ...] | Pattern
Variables = Mapping[str, Scalar | tuple[str, ...]]
"""The variables by their names."""

# Of Buildkite's own variables, conditions may read these.
_READABLE = frozenset(
    f"BUILDKITE_{name}"
    for name in (
        *("BRANCH", "COMMIT", "GIT_DIFF_BASE", "MESSAGE", "ORGANIZATION_SLUG", "REPO", "TAG"),
        *("PIPELINE_ID", "PIPELINE_NAME", "PIPELINE_SLUG"),
        *("PULL_REQUEST", "PULL_REQUEST_BASE_BRANCH", "PULL_REQUEST_REPO"),
        *("PULL_REQUEST_USING_MERGE_REFSPEC", "MERGE_QUEUE_BASE_BRANCH", "MERGE_QUEUE_BASE_COMMIT"),
        *("REBUILT_FROM_BUILD_ID", "REBUILT_FROM_BUILD_NUMBER", "TRIGGERED_FROM_BUILD_ID"),
        *("TRIGGERED_FROM_BUILD_JOB_ID", "TRIGGERED_FROM_BUILD_NUMBER"),
        *("TRIGGERED_FROM_BUILD_PIPELINE_SLUG", "GITHUB_ACTION", "GITHUB_CHECK_RUN_CONCLUSION"),
        *("GITHUB_CHECK_RUN_NAME", "GITHUB_COMMENT_ID", "GITHUB_DEPLOYMENT_ENVIRONMENT"),
        *("GITHUB_DEPLOYMENT_ID", "GITHUB_DEPLOYMENT_PAYLOAD", "GITHUB_DEPLOYMENT_STATUS_ENVIRONMENT"),
        *("GITHUB_DEPLOYMENT_STATUS_STATE", "GITHUB_DEPLOYMENT_TASK", "GITHUB_EVENT"),
        *("GITHUB_RELEASE_DRAFT", "GITHUB_RELEASE_PRERELEASE", "GITHUB_RELEASE_TAG", "GITHUB_REVIEW_ID"),
        "GITHUB_REVIEW_STATE",
    )
)

_ESCAPES = dict(zip("nsrtvfbae", "\n \r\t\v\f\b\a\x1b", strict=True))
_IN_DOUBLE_QUOTES = re.compile(
    r"\\x(?P<hex>[0-9A-Fa-f]{2})|\\(?P<octal>[0-7]{1,3})|\\(?P<escaped>.)|\$\$|(?P<variable>\$\w+|\$\{.*?\})",
    re.DOTALL | re.ASCII,
)
_ESCAPE_OR_CLASS = re.compile(r"\\.|\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]", re.DOTALL)
# The server's own check of regular expressions refuses these.
_REFUSED = re.compile(r"\(\?(?:<|P<|'|>|\()|(?:[?*+]|\{\d+(?:,\d*)?\})\+")


def require_readable(name: str) -> None:
    """Refuse a name in ``build.env()`` or ``env()`` that Buildkite refuses.

    Raises:
        ConditionError: it is no name of a variable, or one of Buildkite's that only jobs have.
    """
    if re.fullmatch(r"\w+", name, re.ASCII) is None:
        raise ConditionError(f"'{name}' is not the name of a variable")
    if name.startswith("BUILDKITE_") and name not in _READABLE:
        raise ConditionError(f"{name} exists in jobs only: no condition can read it")


def text_of(literal: str) -> str:
    """The value of a text in quotes.

    Raises:
        ConditionError: it has a variable in double quotes.
    """
    if literal[0] == "'":
        return re.sub(r"\\(['\\])", r"\1", literal[1:-1])
    return _IN_DOUBLE_QUOTES.sub(_unescaped, literal[1:-1])


def _unescaped(found: re.Match[str]) -> str:
    if found["variable"]:
        text = found["variable"]
        raise ConditionError(f"{text} in double quotes is not supported on the laptop: use build.env()")
    if found["hex"] or found["octal"]:
        code = int(found["hex"], 16) if found["hex"] else int(found["octal"], 8)
        return chr(min(code, 0xFF))
    if found["escaped"]:
        return _ESCAPES.get(found["escaped"], found["escaped"])
    return "$"


def pattern_of(literal: str) -> Pattern:
    """The regular expression between slashes.

    Raises:
        ConditionError: it has a flag or a part that Buildkite refuses.
    """
    body, _, flags = literal[1:].rpartition("/")
    if flags not in ("", "i"):
        raise ConditionError(f"'{flags}' is not a flag of a regular expression: only 'i' is")
    if _REFUSED.search(_ESCAPE_OR_CLASS.sub("x", body)):
        raise ConditionError(f"/{body}/ uses a group or a repetition that Buildkite's conditions do not have")
    return Pattern(body.replace(r"\/", "/"), flags == "i")


def plain(value: Value) -> object:
    """The value as it is compared."""
    if isinstance(value, OneOf):
        return value.text
    return None if isinstance(value, Missing) else value


def kind_of(value: Value) -> type:
    """The type of a value; of a null, that of the value in whose place it is."""
    if isinstance(value, Missing):
        return value.kind
    return str if isinstance(value, OneOf) else type(value)


def describe(value: Value) -> str:
    """The type of a value in words."""
    names: dict[type, str] = {
        bool: "a boolean",
        int: "a number",
        str: "a text",
        tuple: "an array",
        Pattern: "a regular expression",
    }
    return names.get(kind_of(value), "null")
