"""Copies the approved model's files to production, byte for byte."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from modelbuild import log
from modelbuild.aws.storage import NotFound
from modelbuild.contract import MANIFEST_FILE, MODEL_FILE, model_prefix
from modelbuild.errors import VerificationFailed
from modelbuild.handoff.manifest import Handoff
from modelbuild.store.model import ModelStore
from modelbuild.store.objects import Objects


def copy(approved: Handoff, root: str, source: Objects, destination: Objects) -> ModelStore:
    """Copy a model and its manifest to production, unless they are there already.

    One identity reads and another writes, so that neither account needs to trust the other. The bytes pass
    through this machine, which hashes them on the way, and then hashes the written objects.

    Args:
        approved: the model to copy.
        root: the prefix of models in production.
        source: S3 with the identity that reads.
        destination: S3 with the identity that writes.

    Returns:
        The files in production.

    Raises:
        VerificationFailed: the bytes are not the approved ones, or others are there already.
        AwsError: S3 refused.
    """
    request = approved.manifest.request
    prefix = model_prefix(root, request.build.pipeline, request.model, request.model_id)
    copied = ModelStore(destination, prefix)
    with tempfile.TemporaryDirectory() as folder:
        # A model that was deployed before needs its original no more, which retention may have deleted.
        if not _is_there(approved.result.model_sha256, copied.model_uri, destination):
            path = Path(folder) / MODEL_FILE
            _require(source, approved.result.model_path, approved.result.model_sha256, path)
            _put(path, approved.result.model_sha256, copied.model_uri, destination)
        if not _is_there(approved.manifest_sha256, copied.manifest_uri, destination):
            manifest = Path(folder) / MANIFEST_FILE
            manifest.write_bytes(approved.manifest_bytes)
            _put(manifest, approved.manifest_sha256, copied.manifest_uri, destination)
    return copied


def _require(source: Objects, uri: str, expected: str, path: Path) -> None:
    """Download an object into a file, and require the expected hash."""
    try:
        with path.open("wb") as file:
            actual = _digest(source.stream(uri), file)
    except NotFound as error:
        raise VerificationFailed(
            f"{uri} was deleted, and production has no copy of it: restore it, or train again"
        ) from error
    if actual != expected:
        raise VerificationFailed(
            f"{uri} has SHA-256 {actual}, but the model that was approved has {expected}: its bytes were "
            "changed after the training, so nothing was copied; train again"
        )


def _is_there(expected: str, uri: str, destination: Objects) -> bool:
    """Whether an object exists, which then must have the expected hash."""
    try:
        actual = _digest(destination.stream(uri))
    except NotFound:
        return False
    if actual != expected:
        raise VerificationFailed(
            f"{uri} is there already with SHA-256 {actual}, but this deployment brings {expected}: move "
            "it away if no endpoint uses it, because a deployment never replaces a served file"
        )
    log.info(f"reused  {uri}")
    return True


def _put(path: Path, expected: str, uri: str, destination: Objects) -> None:
    """Upload a file of a known hash."""
    destination.upload(path, uri)
    actual = _digest(destination.stream(uri))
    if actual != expected:
        destination.delete(uri)
        raise VerificationFailed(
            f"{uri} has SHA-256 {actual} after the upload of {expected}: it was deleted; retry this step"
        )
    log.info(f"copied  {uri}")


def _digest(chunks: Iterable[bytes], copy_to: BinaryIO | None = None) -> str:
    """SHA-256 of the chunks; also writes them to ``copy_to`` if given."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
        if copy_to is not None:
            copy_to.write(chunk)
    return digest.hexdigest()
