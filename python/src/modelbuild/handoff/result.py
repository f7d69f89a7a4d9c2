"""Reads how the training of a build ended, from the fields of its block step or from S3.

A flow can write to the S3 prefix of its model, and the owner of a token can set block fields. So this module
follows no address from either. It takes the prefix from meta-data, which only jobs of agents write, and
requires a prefix that ends with this build's pipeline, a model and the build's number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import ValidationError

from modelbuild.buildkite.job import JobEnvironment
from modelbuild.buildkite.trainings import TrainingMetaData
from modelbuild.contract import (
    CANDIDATES_PIN,
    MANIFEST_PIN,
    MODEL_PIN,
    REQUEST_PIN,
    Failure,
    TrainingResult,
    split_s3_uri,
)
from modelbuild.errors import ConfigurationError, TrainingFailed, VerificationFailed
from modelbuild.store import records
from modelbuild.store.model import ModelStore
from modelbuild.store.objects import Objects

META_DATA = (
    *TrainingResult.field_keys(),
    "train/attempt",
    "train/artifacts",
    REQUEST_PIN,
    MANIFEST_PIN,
    MODEL_PIN,
    CANDIDATES_PIN,
)
"""The keys of meta-data whose values this package reads."""


_ATTEMPT_DIGITS = 9


def find_store(meta_data: TrainingMetaData, objects: Objects, job: JobEnvironment) -> ModelStore:
    """The store at the S3 prefix that this build's train step recorded.

    Raises:
        ConfigurationError: the build's meta-data names no prefix.
        VerificationFailed: it names the prefix of another build.
        BuildkiteError: the agent's command line failed.
    """
    uri = meta_data.get("train/artifacts") or ""
    key = f"meta-data {meta_data.prefix}train/artifacts"
    if not uri:
        raise ConfigurationError(
            f"{key} is not set, so no train step of this build has stored a request: put one before this "
            "step, and start a new build"
        )
    try:
        split_s3_uri(uri)
    except ValueError:
        is_own = False
    else:
        is_own = re.search(f"/{re.escape(job.pipeline)}/[^/]+/{re.escape(job.number)}$", uri) is not None
    if not is_own:
        raise VerificationFailed(
            f"{key} is {uri[:300]!r}, which is no prefix of build {job.number} of pipeline {job.pipeline}: "
            "start a new build, and leave that key to its train step"
        )
    return ModelStore(objects, uri)


def read_result(meta_data: TrainingMetaData, objects: Objects, job: JobEnvironment) -> TrainingResult:
    """The result of this build's training, from the fields of its block step.

    The fields of an unblocked step cannot be changed. So after a second attempt this function reads the
    result of the newest attempt from S3.

    Raises:
        TrainingFailed: the training has no result yet, or its fields are empty.
        ConfigurationError: a field cannot be read, so it was filled in by hand.
        VerificationFailed: the result of a later attempt cannot be read.
        AwsError: S3 refused.
        BuildkiteError: the agent's command line failed.
    """
    attempt = _attempt(meta_data)
    if attempt == 1:
        return _result_from_fields(meta_data.get_all(TrainingResult.field_keys()), meta_data)
    uri = find_store(meta_data, objects, job).attempt(attempt).result_uri
    result = records.find(objects, uri, TrainingResult)
    if result is None:
        raise TrainingFailed(
            f"attempt {attempt} of the training has not ended yet: retry this step when it has, because no "
            "step is unblocked a second time"
        )
    return _result_from_fields(result.to_fields(), meta_data)


def read_failure(meta_data: TrainingMetaData, objects: Objects, job: JobEnvironment) -> Failure | None:
    """What the head of the newest attempt saw of the flow that failed, or None if it has recorded nothing.

    Raises:
        ConfigurationError: the train step recorded no prefix.
        VerificationFailed: the record cannot be read, or the prefix is another build's.
        AwsError: S3 refused.
        BuildkiteError: the agent's command line failed.
    """
    return find_store(meta_data, objects, job).attempt(_attempt(meta_data)).failure()


def _attempt(meta_data: TrainingMetaData) -> int:
    """The number of the newest attempt."""
    attempt = meta_data.get("train/attempt") or "1"
    if not attempt.isdecimal() or len(attempt) > _ATTEMPT_DIGITS:
        raise ConfigurationError(
            f"meta-data {meta_data.prefix}train/attempt is {attempt[:80]!r}, which no train step sets: start "
            "a new build, and leave this key to the train step"
        )
    return int(attempt)


def _result_from_fields(fields: Mapping[str, str], meta_data: TrainingMetaData) -> TrainingResult:
    if not fields["training/status"].strip():
        raise TrainingFailed(
            f"meta-data {meta_data.prefix}training/status is empty, so it is not known how the training "
            "ended: "
            "the block step was unblocked by hand, or this step does not depend on it; start a new build"
        )
    try:
        result = TrainingResult.from_fields(fields)
    except ValidationError as error:
        location = error.errors()[0]["loc"]
        raise _unreadable(str(location[0]) if location else "model/env", fields, meta_data) from error
    except ValueError as error:
        raise _unreadable("model/env", fields, meta_data) from error
    if result.status == "succeeded":
        for key in ("model/manifest", "model/data/path", "model/data/sha256", "model/image"):
            if not fields[key].strip():
                raise _unreadable(key, fields, meta_data)
    return result


def _unreadable(key: str, fields: Mapping[str, str], meta_data: TrainingMetaData) -> ConfigurationError:
    return ConfigurationError(
        f"meta-data {meta_data.prefix}{key} is {fields[key][:80]!r}, which no training writes: start a new "
        "build and leave its block step to the training"
    )
