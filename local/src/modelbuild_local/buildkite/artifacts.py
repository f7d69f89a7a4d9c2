"""Artifacts: the upload form, searching, and the files on disk."""

from __future__ import annotations

import re
from pathlib import Path

from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.pipeline.attributes.patterns import PatternError, is_match
from modelbuild_local.buildkite.state import Artifact, Build


def form_parts(content_type: str, body: bytes) -> dict[str, bytes]:
    """The parts of a multipart form by their names. Refused (400): it is not one.

    Only Go's client uploads here. Its boundary has 60 random characters, so no file contains it.
    """
    match = re.search(r'boundary="?([^";]+)"?', content_type)
    if not content_type.startswith("multipart/form-data") or match is None:
        raise Refused(400, "The upload must be a multipart form")
    delimiter = b"--" + match[1].encode()
    parts: dict[str, bytes] = {}
    for part in (b"\r\n" + body).split(b"\r\n" + delimiter)[1:]:
        head, separator, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]*)"', head)
        if separator and name:
            parts[name[1].decode()] = content
    return parts


def matches(query: str, path: str) -> bool:
    """Whether a path matches a query: ``*`` matches any text, ``?`` one character; ``;`` separates patterns.

    Refused (422): it takes too long.
    """
    for pattern in filter(None, (part.strip() for part in query.split(";"))):
        expression = re.escape(pattern.removeprefix("./"))
        # "a/**/b" also means "a/b".
        expression = expression.replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*")
        expression = expression.replace(r"\*", ".*").replace(r"\?", ".")
        try:
            if is_match(expression, path):
                return True
        except PatternError:
            raise Refused(422, f"The pattern '{pattern}' takes too long to be searched for") from None
    return False


def search(
    build: Build, query: str, *, scope: str, state: str, retried: bool, duplicates: bool
) -> list[Artifact]:
    """The artifacts of a build that a query finds, the newest first.

    Args:
        build: the build.
        query: the pattern of the paths.
        scope: only from the job with this id, or the step with this key, id or label; empty: all.
        state: only in this state; empty: all.
        retried: include artifacts of retried jobs.
        duplicates: include artifacts with the path of a newer one.
    """
    found: list[Artifact] = []
    seen: set[str] = set()
    members = build.find_all(scope) if scope else []
    for artifact in reversed(build.artifacts):
        step = artifact.job.step
        in_scope = not scope or step in members
        in_scope = in_scope or scope in (artifact.job.id, step.definition.label)
        if not in_scope or not matches(query, artifact.path) or (state and artifact.state != state):
            continue
        if (artifact.job.retried_in is not None and not retried) or (
            artifact.path in seen and not duplicates
        ):
            continue
        seen.add(artifact.path)
        found.append(artifact)
    return found


def file_of(folder: Path, artifact: Artifact) -> Path:
    """The file with the bytes of an artifact; its name does not depend on the path that the job chose."""
    return folder / artifact.id
