"""Putting a trained model where the build, and whoever deploys it, will look for it."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Mapping

from modelbuild.aws.storage import Storage
from modelbuild.contract import (
    ATTEMPT,
    MANIFEST_FILE,
    MODEL_FILE,
    RESULT_FILE,
    WEIGHTS_FILE,
    Artifact,
    Manifest,
    ServingEnvironment,
    TrainingResult,
    attempt_prefix,
)
from modelbuild.errors import VerificationFailed


def archive(files: Mapping[str, bytes]) -> bytes:
    """A gzipped tar of the files; the same files give the same bytes."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=buffer, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(files[name]), 0o644
            tar.addfile(member, io.BytesIO(files[name]))
    return buffer.getvalue()


def upload(storage: Storage, artifacts: str, files: Mapping[str, bytes]) -> Artifact:
    """Write ``model.tar.gz`` once.

    Raises:
        VerificationFailed: another model is there already.
    """
    uri = f"{artifacts}/{MODEL_FILE}"
    content = archive(files)
    digest = hashlib.sha256(content).hexdigest()
    if not storage.write_once(uri, content, "application/gzip"):
        present = hashlib.sha256(storage.read(uri)).hexdigest()
        if present != digest:
            raise VerificationFailed(
                f"{uri} is there with SHA-256 {present}, but this training made {digest}; start a new build."
            )
    return Artifact(
        path=uri,
        bytes=len(content),
        sha256=digest,
        files={name: hashlib.sha256(part).hexdigest() for name, part in sorted(files.items())},
    )


def publish(storage: Storage, manifest: Manifest) -> TrainingResult:
    """Write ``manifest.json`` and this attempt's ``result.json``, once each, where the training lies.

    Returns:
        The result that lies in S3: an earlier run of this step may have written it, or a program that
        declared this attempt as failed.
    """
    request = manifest.request
    uri = f"{request.artifacts}/{MANIFEST_FILE}"
    if not storage.write_once(uri, manifest.to_json().encode()):
        manifest = Manifest.model_validate_json(storage.read(uri))
    result = TrainingResult(
        status="succeeded",
        model_path=manifest.artifact.path,
        model_sha256=manifest.artifact.sha256,
        manifest=uri,
        env=ServingEnvironment(
            model_id=request.model_id,
            pipeline=request.build.pipeline,
            weights_sha256=manifest.artifact.files[WEIGHTS_FILE],
        ).to_env(),
        image=request.images.serve,
        wandb_run_id=manifest.wandb.id,
        wandb_run_url=manifest.wandb.url,
    )
    attempt = int(os.environ.get(ATTEMPT) or 1)
    result_uri = f"{attempt_prefix(request.artifacts, attempt)}/{RESULT_FILE}"
    if not storage.write_once(result_uri, result.to_json().encode()):
        return TrainingResult.model_validate_json(storage.read(result_uri))
    return result
