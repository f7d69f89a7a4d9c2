"""The model that a successful training hands over, checked against the build and its request.

A flow can write to the S3 prefix of its model. So this module takes the hash of the request from meta-data,
which only jobs of agents write, and compares the manifest with that request and with the result.
"""

from __future__ import annotations

import hashlib
import re
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
    Manifest,
    ServingEnvironment,
    TrainingRequest,
    TrainingResult,
    succeeded,
)
from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.handoff.result import find_store
from modelbuild.store import records
from modelbuild.store.model import ModelStore
from modelbuild.store.objects import Objects

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
    def source(self) -> str:
        """The URI of the manifest."""
        return self.store.manifest_uri

    @property
    def pins(self) -> dict[str, str]:
        """The hashes that notify pins in the build's meta-data, and that deploy requires there."""
        return {MANIFEST_PIN: self.manifest_sha256, MODEL_PIN: self.manifest.artifact.sha256}


@dataclass(frozen=True)
class Requested:
    """What the train step of this build asked for, and where its files are."""

    store: ModelStore
    request: TrainingRequest


def read_request(meta_data: TrainingMetaData, objects: Objects, job: JobEnvironment) -> Requested:
    """The request that the train step of this build stored.

    Raises:
        ConfigurationError: the train step recorded no prefix or request.
        NotFound: there is no request.
        VerificationFailed: the request is not this build's.
        BuildkiteError: the agent's command line failed.
    """
    store = find_store(meta_data, objects, job)
    return Requested(store, _request(meta_data, store, job))


def read_manifest(requested: Requested, result: TrainingResult) -> Handoff:
    """The manifest of a successful training; checked against this build and the result.

    Raises:
        NotFound: there is no manifest.
        VerificationFailed: manifest or fields are not this build's, or contradict each other.
        AwsError: S3 refused.
    """
    require_own_manifest(result, requested.store)
    return check_manifest(requested, requested.store.manifest_bytes(), result)


def require_own_manifest(result: TrainingResult, store: ModelStore) -> None:
    """Require that the fields name the manifest in a store.

    Raises:
        VerificationFailed: they name another one.
    """
    if result.manifest != store.manifest_uri:
        raise VerificationFailed(
            f"model/manifest is {result.manifest!r}, but the manifest of this build is {store.manifest_uri}: "
            "no training writes that; start a new build"
        )


def check_manifest(requested: Requested, content: bytes, result: TrainingResult | None = None) -> Handoff:
    """A manifest that agrees with a request and with the fields of the block step.

    Args:
        requested: the request, and where its model lies.
        content: the bytes of the manifest.
        result: the fields; None for a candidate that is in no field, whose result follows from its manifest.

    Raises:
        VerificationFailed: it is no manifest, of another request, or contradicts the fields.
    """
    store, request = requested.store, requested.request
    manifest = records.parse(content, store.manifest_uri, Manifest)
    if manifest.request != request:
        stored, expected = manifest.request.model_dump(by_alias=True), request.model_dump(by_alias=True)
        differing = ", ".join(sorted(key for key in expected if expected[key] != stored[key]))
        raise VerificationFailed(
            f"the request in {store.manifest_uri} is not the one of this build ({differing}): the flow must "
            "publish the request that it was given; start a new build"
        )
    result = result or _result_of(manifest, store)
    _require_agreement(result, manifest, store)
    return Handoff(store, result, manifest, content)


def _result_of(manifest: Manifest, store: ModelStore) -> TrainingResult:
    """The fields with which a training would hand over this model."""
    try:
        found = succeeded(manifest, store.manifest_uri)
    except (KeyError, ValidationError) as error:
        raise VerificationFailed(
            f"{store.manifest_uri} describes no model that can be served: start a new build"
        ) from error
    return found.model_copy(update={"model_path": store.model_uri})


def _serving(manifest: Manifest) -> ServingEnvironment:
    request = manifest.request
    # Not validated: the empty hash of a manifest without a description of the model agrees with no field.
    return ServingEnvironment.model_construct(
        model=request.model,
        model_id=request.model_id,
        pipeline=request.build.pipeline,
        description_sha256=manifest.artifact.files.get(DESCRIPTION_FILE, ""),
    )


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


def _require_agreement(result: TrainingResult, manifest: Manifest, store: ModelStore) -> None:
    uri = store.manifest_uri
    claims: list[tuple[str, object, object]] = [
        ("model/data/path", store.model_uri, result.model_path),
        ("model/data/sha256", manifest.artifact.sha256, result.model_sha256),
        ("model/image", manifest.request.images.serve, result.image),
        ("model/env", _serving(manifest).to_env(), result.env),
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
