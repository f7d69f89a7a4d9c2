"""Meta-data, the values of block fields, and annotations of a build."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.pipeline.attributes.patterns import PatternError, matches_format
from modelbuild_local.buildkite.pipeline.definition import InputField
from modelbuild_local.buildkite.state import Annotation, Build

MAX_META_DATA_BYTES = 100_000
MAX_ANNOTATION_BYTES = 1024 * 1024
MAX_CONTEXT_CHARACTERS = 100
STYLES = ("default", "success", "info", "warning", "error")


def set_meta_data(build: Build, values: Mapping[str, str]) -> None:
    """Write meta-data. Refused (422): a value is blank or over 100 kB."""
    for key, value in values.items():
        if not key or not value.strip():
            raise Refused(422, f"The value of '{key}' must not be blank")
        if len(value.encode()) > MAX_META_DATA_BYTES:
            raise Refused(422, f"The value of '{key}' is over {MAX_META_DATA_BYTES} bytes")
    build.meta_data.update(values)


def annotate(
    build: Build,
    now: datetime,
    *,
    job_id: str,
    context: str,
    body: str | None,
    style: str | None,
    append: bool,
    priority: int,
    scope: str,
) -> Annotation:
    """Create, replace, restyle (``body`` is None) or extend an annotation. Refused (422): over 1 MiB.

    Args:
        build: the build.
        now: the time.
        job_id: the job that annotates; empty for a person or program outside the build.
        context: its name, unique in each scope.
        body: Markdown.
        style: ``success``, ``info``, ``warning`` or ``error``; None keeps the style.
        append: whether the body is appended to the existing one.
        priority: 1 to 10; higher ones are shown first.
        scope: ``build``, or ``job`` for an annotation of the job alone.
    """
    key = (context, job_id if scope == "job" else "")
    note = build.annotations.get(key)
    if note is None:
        note = Annotation(context, "", style or "", priority, scope, job_id, now, now)
    text = note.body if body is None else note.body + body if append else body
    if len(text.encode()) > MAX_ANNOTATION_BYTES:
        raise Refused(422, f"The annotation '{context}' is over {MAX_ANNOTATION_BYTES} bytes")
    note.body, note.style, note.priority = text, style or note.style, priority
    note.updated_at = now
    build.annotations[key] = note
    return note


def check_annotation(body: Mapping[str, object]) -> str | None:
    """The style of a new annotation. Refused (422): style, priority or context is invalid."""
    style, priority = body.get("style"), body.get("priority") or 3
    if style is not None and style not in STYLES:
        raise Refused(422, f"Validation failed: 'style' must be one of {', '.join(STYLES)}")
    if not isinstance(priority, int) or not 1 <= priority <= 10:
        raise Refused(422, "Validation failed: 'priority' must be a number from 1 to 10")
    if len(str(body.get("context") or "")) > MAX_CONTEXT_CHARACTERS:
        raise Refused(422, f"Validation failed: 'context' is over {MAX_CONTEXT_CHARACTERS} characters")
    return None if style is None else str(style)


def field_value(field: InputField, submitted: object) -> str:
    """The meta-data value of a block's field. Refused (422): it is missing or invalid."""
    if submitted is None and field.default_value is not None:
        return field.default_value
    values = (
        [str(item) for item in submitted]
        if isinstance(submitted, list)
        else []
        if submitted is None
        else [str(submitted)]
    )
    value = "\n".join(values)
    if not value:
        if field.required:
            raise Refused(422, f"The field '{field.key}' is required")
        return ""
    if field.format is not None and not _fits(field.format, value):
        raise Refused(422, f"The field '{field.key}' must match {field.format}")
    if field.options:
        chosen = value.split("\n") if field.multiple else [value]
        wrong = [item for item in chosen if item not in [option.value for option in field.options]]
        if wrong:
            raise Refused(422, f"'{wrong[0]}' is not an option of the field '{field.key}'")
    return value


def _fits(pattern: str, value: str) -> bool:
    try:
        return matches_format(pattern, value)
    except PatternError as error:
        raise Refused(422, str(error)) from None
