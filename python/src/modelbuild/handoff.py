"""Reads the handoff of a training to its build, and checks that deploy serves the model that notify showed.

A flow can write to the S3 prefix of its model, and the owner of a token can set block fields. So this module
follows no address from either. It takes the prefix and the hash of the request from meta-data, which only
jobs of agents write, and requires a prefix that ends with this build's pipeline, a model and the build's
number.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from modelbuild.buildkite.job import JobEnvironment
from modelbuild.buildkite.trainings import TrainingMetaData
from modelbuild.contract import (
    DESCRIPTION_FILE,
    MANIFEST_PIN,
    MODEL_PIN,
    REQUEST_PIN,
    Build,
    Failure,
    Manifest,
    ServingEnvironment,
    TrainingRequest,
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
)
"""The keys of meta-data whose values this module reads."""

_FULL_COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Handoff:
    """A successful training: its result, and the manifest that agrees with it and with the build."""

    store: ModelStore
    result: TrainingResult
    manifest: Manifest
    manifest_bytes: bytes

    @property
    def manifest_sha256(self) -> str:
        """SHA-256 of the manifest in S3."""
        return hashlib.sha256(self.manifest_bytes).hexdigest()

    @property
    def pins(self) -> dict[str, str]:
        """The hashes that notify pins in the build's meta-data, and that deploy requires there."""
        return {MANIFEST_PIN: self.manifest_sha256, MODEL_PIN: self.manifest.artifact.sha256}


def find_store(meta_data: TrainingMetaData, objects: Objects, job: JobEnvironment) -> ModelStore:
    """The store at the S3 prefix that this build's train step recorded.

    Raises:
        ConfigurationError: the build's meta-data names no prefix.
        VerificationFailed: it names the prefix of another build.
        BuildkiteError: the agent's command line failed.
    """
    noted = meta_data.get("train/artifacts") or ""
    key = f"meta-data {meta_data.prefix}train/artifacts"
    if not noted:
        raise ConfigurationError(
            f"{key} is not set, so no train step of this build has stored a request: put one before this "
            "step, and start a new build"
        )
    try:
        split_s3_uri(noted)
    except ValueError:
        is_own = False
    else:
        is_own = re.search(f"/{re.escape(job.pipeline)}/[^/]+/{re.escape(job.number)}$", noted) is not None
    if not is_own:
        raise VerificationFailed(
            f"{key} is {noted[:300]!r}, which is no prefix of build {job.number} of pipeline {job.pipeline}: "
            "start a new build, and leave that key to its train step"
        )
    return ModelStore(objects, noted)


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
            f"attempt {attempt} of the training has not ended yet: retry this step when it has, as no step "
            "is unblocked a second time"
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
    if not attempt.isdecimal():
        raise ConfigurationError(
            f"meta-data {meta_data.prefix}train/attempt is {attempt[:80]!r}, which no train step sets: start "
            "a new build, and leave it to that step"
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


def read_manifest(
    meta_data: TrainingMetaData, result: TrainingResult, objects: Objects, job: JobEnvironment
) -> Handoff:
    """The manifest of a successful training; checked against this build and the result.

    Raises:
        ConfigurationError: the train step recorded no prefix or request.
        NotFound: there is no manifest, or no request.
        VerificationFailed: request, manifest or fields are not this build's, or contradict each other.
        BuildkiteError: the agent's command line failed.
    """
    store = find_store(meta_data, objects, job)
    if result.manifest != store.manifest_uri:
        raise VerificationFailed(
            f"model/manifest is {result.manifest!r}, but the manifest of this build is {store.manifest_uri}: "
            "no training writes that; start a new build"
        )
    content = store.manifest_bytes()
    request = _request(meta_data, store, job)
    manifest = records.parse(content, store.manifest_uri, Manifest)
    _require_agreement(result, manifest, request, store)
    return Handoff(store, result, manifest, content)


def _request(meta_data: TrainingMetaData, store: ModelStore, job: JobEnvironment) -> TrainingRequest:
    """The request that the train step of this build stored."""
    pinned = meta_data.get(REQUEST_PIN)
    if not pinned:
        raise ConfigurationError(
            f"meta-data {meta_data.prefix}{REQUEST_PIN} is not set, so it is not known what this build asked "
            "for: start a new build, whose train step has this version of modelbuild"
        )
    request = store.pinned_request(pinned)
    own: list[tuple[str, object, object]] = [
        ("organization", request.build.organization, job.organization),
        ("id", request.build.id, job.build_id),
        ("commit", request.build.commit, _commit(job, request.build)),
        ("meta-data prefix", request.meta_data_prefix, meta_data.prefix),
    ]
    for name, written, expected in own:
        if written != expected:
            raise VerificationFailed(
                f"the {name} of this build is {expected!r}, but {written!r} in {store.request_uri}: it is "
                "the request of another build; start a new build"
            )
    return request


def _commit(job: JobEnvironment, build: Build) -> str:
    """The full commit id of this build, or of the request if Buildkite names ``HEAD`` or a branch.

    The branch may have moved since then, so it is not resolved again.
    """
    return job.commit if _FULL_COMMIT.fullmatch(job.commit) else build.commit


def _require_agreement(
    result: TrainingResult, manifest: Manifest, request: TrainingRequest, store: ModelStore
) -> None:
    # Not validated: a manifest without a description of the model fails the comparison below.
    serving = ServingEnvironment.model_construct(
        model=request.model,
        model_id=request.model_id,
        pipeline=request.build.pipeline,
        description_sha256=manifest.artifact.files.get(DESCRIPTION_FILE, ""),
    )
    uri = store.manifest_uri
    if manifest.request != request:
        there, asked = manifest.request.model_dump(by_alias=True), request.model_dump(by_alias=True)
        differing = ", ".join(sorted(key for key in asked if asked[key] != there[key]))
        raise VerificationFailed(
            f"the request in {uri} is not the one of this build ({differing}): the flow must publish the "
            "request that it was given; start a new build"
        )
    claims: list[tuple[str, object, object]] = [
        ("model/data/path", store.model_uri, result.model_path),
        ("model/data/sha256", manifest.artifact.sha256, result.model_sha256),
        ("model/image", request.images.serve, result.image),
        ("model/env", serving.to_env(), result.env),
        ("wandb/run/id", manifest.wandb.id, result.wandb_run_id),
        ("wandb/run/url", manifest.wandb.url, result.wandb_run_url),
    ]
    for name, written, expected in claims:
        if written != expected:
            raise VerificationFailed(
                f"{name} is {expected!r} in this build, but {written!r} by {uri}: what was handed over is "
                "not what was trained; start a new build"
            )
    for kind, path, expected_path in (
        ("model", manifest.artifact.path, store.model_uri),
        ("predictions", manifest.predictions.path, store.predictions_uri),
    ):
        if path != expected_path:
            raise VerificationFailed(
                f"{uri} names the {kind} {path}, which does not lie beside it: start a new build"
            )


def pin(handoff: Handoff, meta_data: TrainingMetaData) -> None:
    """Pin the hashes of the model that the page shows: a person approves it, and deploy requires them.

    A build shows one model of a name: if the page has shown another one, a person may have approved that one.

    Raises:
        VerificationFailed: another manifest or model has been shown.
        BuildkiteError: the agent's command line failed.
    """
    pinned = meta_data.get_all(handoff.pins)
    for key, value in handoff.pins.items():
        before = pinned[key]
        if before and before != value:
            raise VerificationFailed(
                f"{handoff.result.manifest} was changed after this build showed it: {key} is {before}, and "
                f"was found to be {value}; start a new build"
            )
    meta_data.set(handoff.pins)


def require_pinned(handoff: Handoff, meta_data: TrainingMetaData) -> None:
    """Require that notify has shown the model that is about to be deployed.

    Raises:
        ConfigurationError: no notify step of this build has shown a model.
        VerificationFailed: it has shown another one.
        BuildkiteError: the agent's command line failed.
    """
    pinned = meta_data.get_all(handoff.pins)
    for key, value in handoff.pins.items():
        shown = pinned[key]
        if not shown:
            raise ConfigurationError(
                f"meta-data {meta_data.prefix}{key} is not set, so no person has been shown what is to be "
                "deployed: put a step with the plugin notify before this one, or retry that step now that "
                "the training has ended"
            )
        if shown != value:
            raise VerificationFailed(
                f"{handoff.result.manifest} was changed after notify showed it: {key} is {shown}, and was "
                f"found to be {value}; nothing was deployed; start a new build"
            )
