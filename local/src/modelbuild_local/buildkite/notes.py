"""Meta-data, the values of block fields, and annotations of a build."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.pipeline.attributes.patterns import PatternError, matches_format
from modelbuild_local.buildkite.pipeline.attributes.values import as_text
from modelbuild_local.buildkite.pipeline.definition import InputField
from modelbuild_local.buildkite.state import Annotation, Build

MAX_META_DATA_BYTES = 100_000
MAX_ANNOTATION_BYTES = 1024 * 1024
MAX_CONTEXT_CHARACTERS = 100
DEFAULT_PRIORITY = 3
COMMIT_KEY = "buildkite:git:commit"
_COMMIT = re.compile(r"commit ([0-9a-f]{40}(?:[0-9a-f]{24})?)\n")
STYLES = ("default", "success", "info", "warning", "error")


def set_meta_data(build: Build, values: Mapping[str, str]) -> None:
    """Write meta-data. Refused (422): a value is blank or over 100 kB.

    By the key :data:`COMMIT_KEY`, the agent of the first job that checks out reports which commit a name such
    as ``HEAD`` means: all later jobs get that commit.
    """
    for key, value in values.items():
        if not key or not value.strip():
            raise Refused(422, f"The value of '{key}' must not be blank")
    require_size(values)
    if (commit := _COMMIT.match(values.get(COMMIT_KEY, ""))) is not None:
        build.commit = commit[1]
    build.meta_data.update(values)


def require_size(meta_data: Mapping[str, str]) -> None:
    """Refuse (422) meta-data with a value over 100 kB."""
    for key, value in meta_data.items():
        if len(value.encode()) > MAX_META_DATA_BYTES:
            raise Refused(422, f"The value of '{key}' is over {MAX_META_DATA_BYTES} bytes")


def annotate(
    build: Build,
    now: datetime,
    *,
    job_id: str,
    options: AnnotationOptions,
    body: str | None,
    append: bool,
    scope: str,
) -> Annotation:
    """Create, replace, restyle (``body`` is None) or extend an annotation. Refused (422): over 1 MiB.

    Args:
        build: the build.
        now: the time.
        job_id: the job that annotates; empty for a person or program outside the build.
        options: its context, which is unique in each scope, its style, and its priority; the highest is shown
            first.
        body: Markdown.
        append: whether the body is appended to the existing one.
        scope: ``build``, or ``job`` for an annotation of the job alone.
    """
    key = (options.context, job_id if scope == "job" else "")
    note = build.annotations.get(key)
    if note is None:
        note = Annotation(options.context, "", options.style or "", options.priority, scope, job_id, now, now)
    text = note.body if body is None else note.body + body if append else body
    if len(text.encode()) > MAX_ANNOTATION_BYTES:
        raise Refused(422, f"The annotation '{options.context}' is over {MAX_ANNOTATION_BYTES} bytes")
    note.body, note.style, note.priority = text, options.style or note.style, options.priority
    note.updated_at = now
    build.annotations[key] = note
    return note


@dataclass(frozen=True)
class AnnotationOptions:
    """What a request says of an annotation besides its body; without a style, it keeps the one it has."""

    context: str
    style: str | None
    priority: int


def annotation_options(body: Mapping[str, object]) -> AnnotationOptions:
    """The context, style and priority in a request. Refused (422): one of them is invalid."""
    style, priority, context = (body.get(name) for name in ("style", "priority", "context"))
    if style and style not in STYLES:
        raise Refused(422, f"Validation failed: 'style' must be one of {', '.join(STYLES)}")
    priority = DEFAULT_PRIORITY if priority is None else priority
    if type(priority) is not int or not 1 <= priority <= 10:
        raise Refused(422, "Validation failed: 'priority' must be a number from 1 to 10")
    if len(str(context or "")) > MAX_CONTEXT_CHARACTERS:
        raise Refused(422, f"Validation failed: 'context' is over {MAX_CONTEXT_CHARACTERS} characters")
    return AnnotationOptions(str(context or "default"), str(style) if style else None, priority)


def field_value(field: InputField, submitted: object) -> str:
    """The meta-data value of a block's field. Refused (422): it is missing or invalid."""
    if submitted is None and field.default_value is not None:
        return field.default_value
    items = submitted if isinstance(submitted, list) else [] if submitted is None else [submitted]
    value = "\n".join(_text(field, item) for item in items)
    if not value:
        if field.required:
            raise Refused(422, f"The field '{field.key}' is required")
        return ""
    require_size({field.key: value})
    if field.format is not None and not _fits(field.format, value):
        raise Refused(422, f"The field '{field.key}' must match {field.format}")
    if field.options:
        chosen = value.split("\n") if field.multiple else [value]
        wrong = [item for item in chosen if item not in [option.value for option in field.options]]
        if wrong:
            raise Refused(422, f"'{wrong[0]}' is not an option of the field '{field.key}'")
    return value


def _text(field: InputField, item: object) -> str:
    """A submitted value as text, with Unix line endings. Refused (422): it is a map or a list."""
    text = as_text(item)
    if not isinstance(text, str):
        raise Refused(422, f"The field '{field.key}' must be a text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _fits(pattern: str, value: str) -> bool:
    try:
        return matches_format(pattern, value)
    except PatternError as error:
        raise Refused(422, str(error)) from None
