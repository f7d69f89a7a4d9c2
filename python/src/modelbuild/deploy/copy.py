"""The model's files in production, byte for byte those that were approved."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from modelbuild import log
from modelbuild.aws.storage import NotFound, Storage
from modelbuild.contract import MANIFEST_FILE, MODEL_FILE, model_prefix
from modelbuild.errors import VerificationFailed
from modelbuild.handoff import Handoff


@dataclass(frozen=True)
class Copied:
    """Where the files lie in production."""

    place: str
    model_path: str
    manifest_path: str


def copy(given: Handoff, root: str, source: Storage, destination: Storage) -> Copied:
    """Copy a model and its manifest to production, or find that they are there.

    Two identities do it, so that neither account needs to trust the other's bucket: the bytes pass through
    this machine and are hashed on the way, and again from what production then holds.

    Args:
        given: the model to copy.
        root: where models lie in production.
        source: who reads.
        destination: who writes.

    Raises:
        VerificationFailed: the bytes are not the approved ones, or others are there already.
        AwsError: S3 refused.
    """
    request = given.manifest.request
    place = model_prefix(root, request.build.pipeline, request.model_id)
    copied = Copied(place, f"{place}/{MODEL_FILE}", f"{place}/{MANIFEST_FILE}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MODEL_FILE
        _require(source, given.result.model_path, given.result.model_sha256, path)
        _put(path, given.result.model_sha256, copied.model_path, destination)
        manifest = Path(folder) / MANIFEST_FILE
        manifest.write_bytes(given.manifest_bytes)
        _put(manifest, given.manifest_sha256, copied.manifest_path, destination)
    return copied


def _require(source: Storage, uri: str, expected: str, path: Path) -> None:
    """Fetch an object into a file, if it is the expected one."""
    with path.open("wb") as file:
        actual = _digest(source.stream(uri), file)
    if actual != expected:
        raise VerificationFailed(
            f"{uri} has SHA-256 {actual}, but the model that was approved has {expected}: its bytes were "
            "changed after the training, so nothing was copied; train again"
        )


def _put(path: Path, expected: str, uri: str, destination: Storage) -> None:
    """Bring a file of a known hash to an object that may be there already."""
    try:
        actual = _digest(destination.stream(uri))
    except NotFound:
        pass
    else:
        if actual != expected:
            raise VerificationFailed(
                f"{uri} is there already with SHA-256 {actual}, but this deployment brings {expected}: move "
                "it away if it is not in use, because what is served is never replaced"
            )
        log.say(f"reused  {uri}")
        return
    destination.upload(path, uri)
    actual = _digest(destination.stream(uri))
    if actual != expected:
        destination.delete(uri)
        raise VerificationFailed(
            f"{uri} has SHA-256 {actual} after the upload of {expected}: it was deleted; retry this step"
        )
    log.say(f"copied  {uri}")


def _digest(chunks: Iterable[bytes], copy_to: BinaryIO | None = None) -> str:
    """SHA-256 of the chunks, which also go to a file where there is one."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
        if copy_to is not None:
            copy_to.write(chunk)
    return digest.hexdigest()
