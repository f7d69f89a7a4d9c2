"""What a training handed to the build that waited for it: the block's fields, and the manifest they name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from modelbuild.aws.storage import NotFound, Storage
from modelbuild.buildkite import agent
from modelbuild.contract import (
    RESULT_FILE,
    WEIGHTS_FILE,
    Manifest,
    ServingEnvironment,
    TrainingResult,
    attempt_prefix,
)
from modelbuild.errors import ConfigurationError, TrainingFailed, VerificationFailed


@dataclass(frozen=True)
class Handoff:
    """A successful training: its result, and the manifest that agrees with it."""

    result: TrainingResult
    manifest: Manifest
    manifest_bytes: bytes

    @property
    def manifest_sha256(self) -> str:
        """SHA-256 of the manifest as it lies in S3."""
        return hashlib.sha256(self.manifest_bytes).hexdigest()


def read_result(storage: Storage) -> TrainingResult:
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
    artifacts = agent.get_meta_data("train/artifacts") or ""
    if not attempt.isdecimal() or not artifacts:
        raise ConfigurationError(
            f"meta-data train/attempt is {attempt[:80]!r} and train/artifacts {artifacts[:80]!r}, which no "
            "train step sets: start a new build, and leave both to that step"
        )
    uri = f"{attempt_prefix(artifacts, int(attempt))}/{RESULT_FILE}"
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
    """The manifest of a successful training, after checking that it is this build's and says the same.

    Raises:
        ConfigurationError: this is no Buildkite job, or the field ``model/manifest`` is no S3 location.
        NotFound: there is no manifest.
        VerificationFailed: it is another build's, or contradicts the fields.
    """
    content = storage.read(result.manifest)
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        raise VerificationFailed(
            f"{result.manifest} is not a manifest of modelbuild ({place}: {first['msg']}): train again"
        ) from error
    _require_agreement(result, manifest, environ)
    return Handoff(result, manifest, content)


def _require_agreement(result: TrainingResult, manifest: Manifest, environ: Mapping[str, str]) -> None:
    request = manifest.request
    # Not validated: a manifest without weights is a contradiction like any other.
    serving = ServingEnvironment.model_construct(
        model_id=request.model_id,
        pipeline=request.build.pipeline,
        weights_sha256=manifest.artifact.files.get(WEIGHTS_FILE, ""),
    )
    claims: list[tuple[str, object, object]] = [
        ("the model id", request.model_id, agent.variable(environ, "BUILDKITE_BUILD_NUMBER")),
        ("the pipeline", request.build.pipeline, agent.variable(environ, "BUILDKITE_PIPELINE_SLUG")),
        ("model/data/path", manifest.artifact.path, result.model_path),
        ("model/data/sha256", manifest.artifact.sha256, result.model_sha256),
        ("model/image", request.images.serve, result.image),
        ("model/env", serving.to_env(), result.env),
    ]
    for name, written, expected in claims:
        if written != expected:
            raise VerificationFailed(
                f"{name} is {expected!r} in this build, but {written!r} in {result.manifest}: what was "
                "approved is not what was trained; start a new build"
            )
