"""The jobs that a step has by ``matrix``, each with its values in the options of plugins.

Source: https://buildkite.com/docs/pipelines/configure/workflows/build-matrix
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import product

from pydantic import JsonValue

_TOKEN = re.compile(r"\{\{\s*matrix(?:\.([\w.-]+))?\s*\}\}", re.ASCII)
_MOST_JOBS = 50


def has_value(text: str) -> bool:
    """Whether Buildkite puts a value of the step's matrix into the text."""
    return _TOKEN.search(text) is not None


def options_of_jobs(options: JsonValue, matrix: object) -> list[JsonValue]:
    """The options of each job of a step; those of the step where it has no matrix, or one that Buildkite
    would refuse. Adjustments are not applied.
    """
    setup = matrix.get("setup") if isinstance(matrix, dict) else matrix
    dimensions = setup if isinstance(setup, dict) else {"": setup}
    values = [found if isinstance(found, list) else [] for found in dimensions.values()]
    if not 1 <= math.prod(map(len, values)) <= _MOST_JOBS:
        return [options]
    names = [str(name) for name in dimensions]
    return [_filled(options, dict(zip(names, job, strict=True))) for job in product(*values)]


def _filled(value: JsonValue, job: Mapping[str, object]) -> JsonValue:
    if isinstance(value, list):
        return [_filled(item, job) for item in value]
    if isinstance(value, dict):
        return {key: _filled(item, job) for key, item in value.items()}
    if isinstance(value, str):
        return _TOKEN.sub(lambda token: str(job.get(token[1] or "", token[0])), value)
    return value
