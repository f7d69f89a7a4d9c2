"""What a build carries beside its jobs: meta-data, the values of block fields, annotations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from modelbuild.local.buildkite.definition import InputField
from modelbuild.local.buildkite.refusal import Refused
from modelbuild.local.buildkite.state import Annotation, Build, Job

MAX_META_DATA_BYTES = 100_000
MAX_ANNOTATION_BYTES = 1024 * 1024


def set_meta_data(build: Build, values: Mapping[str, str]) -> None:
    """Write meta-data. Refused (422): a value is blank or over 100 kB."""
    for key, value in values.items():
        if not key or not value.strip():
            raise Refused(422, f"The value of '{key}' must not be blank")
        if len(value.encode()) > MAX_META_DATA_BYTES:
            raise Refused(422, f"The value of '{key}' is over {MAX_META_DATA_BYTES} bytes")
    build.meta_data.update(values)


def annotate(
    job: Job,
    now: datetime,
    *,
    context: str,
    body: str | None,
    style: str | None,
    append: bool,
    priority: int,
    scope: str,
) -> Annotation:
    """Create, replace, restyle (``body`` is None) or extend an annotation. Refused (422): over 1 MiB."""
    key = (context, job.id if scope == "job" else "")
    note = job.build.annotations.get(key)
    if note is None:
        note = Annotation(context, "", style or "", priority, scope, job.id, now, now)
    text = note.body if body is None else note.body + body if append else body
    if len(text.encode()) > MAX_ANNOTATION_BYTES:
        raise Refused(422, f"The annotation '{context}' is over {MAX_ANNOTATION_BYTES} bytes")
    note.body, note.style, note.priority = text, style or note.style, priority
    note.updated_at = now
    job.build.annotations[key] = note
    return note


def field_value(field: InputField, given: object) -> str:
    """The meta-data value of a block's field. Refused (422): missing, or not what the field allows."""
    if given is None and field.default_value is not None:
        return field.default_value
    values = (
        [str(item) for item in given] if isinstance(given, list) else [] if given is None else [str(given)]
    )
    value = "\n".join(values)
    if not value:
        if field.required:
            raise Refused(422, f"The field '{field.key}' is required")
        return ""
    if field.format is not None and not re.fullmatch(field.format, value):
        raise Refused(422, f"The field '{field.key}' must match {field.format}")
    if field.options:
        chosen = value.split("\n") if field.multiple else [value]
        wrong = [item for item in chosen if item not in [option.value for option in field.options]]
        if wrong:
            raise Refused(422, f"'{wrong[0]}' is not an option of the field '{field.key}'")
    return value
