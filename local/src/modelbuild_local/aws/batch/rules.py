"""What Batch refuses in a request, with the limits of its API reference."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

from moto.batch.exceptions import ClientException

DESCRIBED_AT_ONCE = 100
_OVERRIDES_BYTES = 8192
_DEPENDENCIES = 20
_TAGS = 50
_PREFIX = "AWS_BATCH"


def check_submission(request: Mapping[str, Any], jobs: Container[str]) -> None:
    """The name, size, dependencies, overrides and tags of SubmitJob.

    Args:
        request: the parameters.
        jobs: the ids of existing jobs.

    Raises:
        ClientException: Batch would refuse one of them.
    """
    name, size = request.get("jobName"), (request.get("arrayProperties") or {}).get("size")
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]{0,127}", name or ""):
        raise ClientException(f"Job name {name!r} is not 1 to 128 letters, digits, hyphens and underscores")
    if size is not None and not 2 <= size <= 10_000:
        raise ClientException(f"Array size {size} is not between 2 and 10000")
    dependencies = request.get("dependsOn") or []
    if len(dependencies) > _DEPENDENCIES:
        raise ClientException(f"A job depends on {_DEPENDENCIES} jobs at most, not {len(dependencies)}")
    for entry in dependencies:
        if entry.get("jobId") and entry["jobId"] not in jobs:
            raise ClientException(f"The job {entry['jobId']} to depend on does not exist")
    _check_overrides(request.get("containerOverrides") or {})
    if len(request.get("tags") or {}) > _TAGS:
        raise ClientException(f"A job has {_TAGS} tags at most")


def _check_overrides(overrides: Mapping[str, Any]) -> None:
    size = len(json.dumps(overrides, separators=(",", ":")).encode())
    if size > _OVERRIDES_BYTES:
        raise ClientException(f"Container Overrides length must be at most {_OVERRIDES_BYTES}")
    for variable in overrides.get("environment") or []:
        if str(variable.get("name", "")).startswith(_PREFIX):
            raise ClientException(f"Environment variables cannot start with {_PREFIX}: {variable['name']}")


def check_filters(filters: Sequence[Mapping[str, Any]], names: Container[str]) -> None:
    """The filters of ListJobs.

    Raises:
        ClientException: there are several, or one is not known.
    """
    if len(filters) > 1:
        raise ClientException("Only one filter can be used at a time")
    for entry in filters:
        if entry.get("name") not in names:
            raise ClientException(f"Filter {entry.get('name')} does not exist")


def check_described(ids: Sequence[str]) -> None:
    """The ids of DescribeJobs.

    Raises:
        ClientException: there are more than Batch describes in one call.
    """
    if len(ids) > DESCRIBED_AT_ONCE:
        raise ClientException(f"Up to {DESCRIBED_AT_ONCE} jobs are described at once, not {len(ids)}")
