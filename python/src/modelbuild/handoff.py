"""What a training handed to the build that waited for it, and that what notify shows is what deploy serves.

The files lie where a flow may write, and block fields hold what the owner of a token sent. So nothing in them
leads anywhere: the place is the one that the train step noted, which must end with this build's pipeline and
number, and the request must be the one that this step stored. Both stand in the build's meta-data, which only
jobs of agents write.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from modelbuild.aws.storage import NotFound, Storage
from modelbuild.buildkite import agent
from modelbuild.contract import (
    MANIFEST_FILE,
    MANIFEST_PIN,
    MODEL_FILE,
    MODEL_PIN,
    REQUEST_FILE,
    REQUEST_PIN,
    RESULT_FILE,
    WEIGHTS_FILE,
    Build,
    Manifest,
    ServingEnvironment,
    TrainingRequest,
    TrainingResult,
    attempt_prefix,
    split_s3_uri,
)
from modelbuild.errors import ConfigurationError, TrainingFailed, VerificationFailed

Document = TypeVar("Document", Manifest, TrainingRequest)

_FULL_COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Handoff:
    """A successful training: its result, and the manifest that agrees with it and with the build."""

    result: TrainingResult
    manifest: Manifest
    manifest_bytes: bytes

    @property
    def manifest_sha256(self) -> str:
        """SHA-256 of the manifest as it lies in S3."""
        return hashlib.sha256(self.manifest_bytes).hexdigest()

    @property
    def pins(self) -> dict[str, str]:
        """What notify notes in the build's meta-data, and deploy requires there."""
        return {MANIFEST_PIN: self.manifest_sha256, MODEL_PIN: self.manifest.artifact.sha256}


def artifacts(environ: Mapping[str, str]) -> str:
    """The prefix in S3 under which the train step of this build stored everything about its model.

    Raises:
        ConfigurationError: this is no job of a build, or its meta-data names no place.
        VerificationFailed: it names the place of another build.
        BuildkiteError: the agent's command line failed.
    """
    pipeline = agent.variable(environ, "BUILDKITE_PIPELINE_SLUG")
    number = agent.variable(environ, "BUILDKITE_BUILD_NUMBER")
    noted = agent.get_meta_data("train/artifacts") or ""
    if not noted:
        raise ConfigurationError(
            "meta-data train/artifacts is not set, so no train step of this build has stored a request: put "
            "one before this step, and start a new build"
        )
    try:
        split_s3_uri(noted)
    except ValueError:
        noted_here = False
    else:
        noted_here = noted.endswith(f"/{pipeline}/{number}")
    if not noted_here:
        raise VerificationFailed(
            f"meta-data train/artifacts is {noted[:300]!r}, which is no place of build {number} of pipeline "
            f"{pipeline}: start a new build, and leave that key to its train step"
        )
    return noted


def read_result(storage: Storage, environ: Mapping[str, str]) -> TrainingResult:
    """How the training of this build ended, as the fields of its block step say.

    Fields cannot be changed once their step is unblocked. Of a training that was attempted again, the result
    of the newest attempt is therefore read where it lies.

    Raises:
        TrainingFailed: nothing says how it ended, or it has not ended yet.
        ConfigurationError: a field cannot be read, so it was filled in by hand.
        AwsError: S3 refused.
        BuildkiteError: the agent's command line failed.
    """
    attempt = agent.get_meta_data("train/attempt") or "1"
    if attempt == "1":
        return _of_fields({key: agent.get_meta_data(key) or "" for key in TrainingResult.field_keys()})
    if not attempt.isdecimal():
        raise ConfigurationError(
            f"meta-data train/attempt is {attempt[:80]!r}, which no train step sets: start a new build, and "
            "leave it to that step"
        )
    uri = f"{attempt_prefix(artifacts(environ), int(attempt))}/{RESULT_FILE}"
    try:
        return _of_fields(TrainingResult.model_validate_json(storage.read(uri)).to_fields())
    except NotFound as error:
        raise TrainingFailed(
            f"attempt {attempt} of the training has not ended yet: retry this step when it has, as no step "
            "is unblocked a second time"
        ) from error
    except ValidationError as error:
        raise VerificationFailed(f"{uri} is not a result of modelbuild: train again") from error


def _of_fields(fields: Mapping[str, str]) -> TrainingResult:
    if not fields["training/status"].strip():
        raise TrainingFailed(
            "meta-data training/status is empty, so nobody knows how the training ended: the block step was "
            "unblocked by hand, or this step does not depend on it; start a new build"
        )
    try:
        result = TrainingResult.from_fields(fields)
    except ValidationError as error:
        raise _unreadable(str(error.errors()[0]["loc"][0]), fields) from error
    except ValueError as error:
        raise _unreadable("model/env", fields) from error
    if result.status == "succeeded":
        for key in ("model/manifest", "model/data/path", "model/data/sha256", "model/image"):
            if not fields[key].strip():
                raise _unreadable(key, fields)
    return result


def _unreadable(key: str, fields: Mapping[str, str]) -> ConfigurationError:
    return ConfigurationError(
        f"meta-data {key} is {fields[key][:80]!r}, which no training writes: start a new build and leave its "
        "block step to the training"
    )


def read_manifest(result: TrainingResult, storage: Storage, environ: Mapping[str, str]) -> Handoff:
    """The manifest of a successful training, checked to be this build's and to agree with the result.

    Raises:
        ConfigurationError: this is no Buildkite job, or its train step noted no place and no request.
        NotFound: there is no manifest, or no request.
        VerificationFailed: request, manifest or fields are not this build's, or contradict each other.
        BuildkiteError: the agent's command line failed.
    """
    place = artifacts(environ)
    uri = f"{place}/{MANIFEST_FILE}"
    if result.manifest != uri:
        raise VerificationFailed(
            f"model/manifest is {result.manifest!r}, but the manifest of this build is {uri}: no training "
            "writes that; start a new build"
        )
    content = storage.read(uri)
    request = _request(storage, place, environ)
    manifest = _parsed(Manifest, content, uri)
    _require_agreement(result, manifest, request, place)
    return Handoff(result, manifest, content)


def _request(storage: Storage, place: str, environ: Mapping[str, str]) -> TrainingRequest:
    """What the train step of this build asked for."""
    uri = f"{place}/{REQUEST_FILE}"
    pinned = agent.get_meta_data(REQUEST_PIN)
    if not pinned:
        raise ConfigurationError(
            f"meta-data {REQUEST_PIN} is not set, so nothing says what this build asked for: start a new "
            "build, whose train step has this version of modelbuild"
        )
    content = storage.read(uri)
    found = hashlib.sha256(content).hexdigest()
    if found != pinned:
        raise VerificationFailed(
            f"{uri} has SHA-256 {found}, but the train step stored {pinned}: the request was changed after "
            "that; start a new build"
        )
    request = _parsed(TrainingRequest, content, uri)
    own: list[tuple[str, object, object]] = [
        ("organization", request.build.organization, agent.variable(environ, "BUILDKITE_ORGANIZATION_SLUG")),
        ("id", request.build.id, agent.variable(environ, "BUILDKITE_BUILD_ID")),
        ("commit", request.build.commit, _commit(environ, request.build)),
    ]
    for name, written, expected in own:
        if written != expected:
            raise VerificationFailed(
                f"the {name} of this build is {expected!r}, but {written!r} in {uri}: it is the request of "
                "another build; start a new build"
            )
    if misplaced := request.misplaced(place):
        raise VerificationFailed(f"{uri} is the request of another build ({misplaced}): start a new build")
    return request


def _commit(environ: Mapping[str, str], build: Build) -> str:
    """The commit of this build, as its train step resolved it where Buildkite just says ``HEAD`` or a branch.

    The branch may have moved on since then, so nothing is resolved again.
    """
    said = agent.variable(environ, "BUILDKITE_COMMIT")
    return said if _FULL_COMMIT.fullmatch(said) else build.commit


def _parsed(kind: type[Document], content: bytes, uri: str) -> Document:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        raise VerificationFailed(
            f"{uri} is not a {'manifest' if kind is Manifest else 'request'} of modelbuild ({place}: "
            f"{first['msg']}): train again"
        ) from error


def _require_agreement(
    result: TrainingResult, manifest: Manifest, request: TrainingRequest, place: str
) -> None:
    # Not validated: a manifest without weights is a contradiction like any other.
    serving = ServingEnvironment.model_construct(
        model_id=request.model_id,
        pipeline=request.build.pipeline,
        weights_sha256=manifest.artifact.files.get(WEIGHTS_FILE, ""),
    )
    uri = f"{place}/{MANIFEST_FILE}"
    if manifest.request != request:
        there, asked = manifest.request.model_dump(by_alias=True), request.model_dump(by_alias=True)
        differing = ", ".join(sorted(key for key in asked if asked[key] != there[key]))
        raise VerificationFailed(
            f"the request in {uri} is not the one of this build ({differing}): the flow must publish the "
            "request that it was given; start a new build"
        )
    claims: list[tuple[str, object, object]] = [
        ("model/data/path", f"{place}/{MODEL_FILE}", result.model_path),
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
    if manifest.artifact.path != f"{place}/{MODEL_FILE}":
        raise VerificationFailed(
            f"{uri} names the model {manifest.artifact.path}, which does not lie beside it: start a new build"
        )


def pin(given: Handoff) -> None:
    """Note the hashes of what the page shows: a person approves this, and deploy requires it.

    A build shows one model. Where the page has shown another one, a person may have approved that one.

    Raises:
        VerificationFailed: another manifest or model has been shown.
        BuildkiteError: the agent's command line failed.
    """
    for key, value in given.pins.items():
        before = agent.get_meta_data(key)
        if before and before != value:
            raise VerificationFailed(
                f"{given.result.manifest} was changed after this build showed it: {key} is {before}, and was "
                f"found to be {value}; start a new build"
            )
    agent.set_meta_data(given.pins)


def require_pinned(given: Handoff) -> None:
    """Require that notify has shown what is about to be deployed.

    Raises:
        ConfigurationError: no notify step of this build has shown a model.
        VerificationFailed: it has shown another one.
        BuildkiteError: the agent's command line failed.
    """
    for key, value in given.pins.items():
        shown = agent.get_meta_data(key)
        if not shown:
            raise ConfigurationError(
                f"meta-data {key} is not set, so no person has been shown what is to be deployed: put a step "
                "with the plugin notify before this one, or retry that step now that the training has ended"
            )
        if shown != value:
            raise VerificationFailed(
                f"{given.result.manifest} was changed after notify showed it: {key} is {shown}, and was "
                f"found to be {value}; nothing was deployed; start a new build"
            )
