"""Writes and checks model and predictions, which the manifest names by their hashes.

A second training of a model may write them, too, when a head was lost: the next head trains before every
step or worker of the first one has ended. So a file is replaced only if it is as it was when no manifest was
there, and a manifest is good only if the files have its hashes after it is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from modelbuild.contract import sha256_of
from modelbuild.errors import VerificationFailed
from modelbuild.store.objects import Objects


def write_until_manifest(
    objects: Objects, uri: str, content: bytes, content_type: str, named: Callable[[], str | None]
) -> None:
    """Write a file that the manifest will name. Without a manifest, no program has used the bytes of an
    earlier training, so they are replaced.

    Args:
        objects: S3.
        uri: of the file.
        content: its bytes.
        content_type: its type.
        named: reads the file's SHA-256 in the manifest; None before there is a manifest.

    Raises:
        VerificationFailed: the manifest is there and names other bytes, or another training writes the file.
    """
    if objects.write_once(uri, content, content_type):
        return
    present, tag = objects.read_tagged(uri)
    if present == content:
        return
    made = sha256_of(content)
    if named() not in (None, made):
        raise _other(uri, present, made)
    written = objects.replace(uri, content, tag, content_type)
    if written is None:
        found, written = objects.read_tagged(uri)
        # A request that is sent again because its answer was lost finds its own bytes.
        if found != content:
            raise _other(uri, found, made)
    if named() not in (None, made):
        # The manifest was written after the first check: the file that it may name is restored.
        objects.replace(uri, present, written, content_type)
        raise _other(uri, present, made)


def require_hashes(objects: Objects, manifest_uri: str, hashes: Mapping[str, str]) -> None:
    """Require that files have the hashes that a manifest names.

    Args:
        objects: S3.
        manifest_uri: where the manifest lies, or will lie.
        hashes: SHA-256 of each file, by its URI.

    Raises:
        VerificationFailed: a file has another one.
    """
    for uri, expected in hashes.items():
        found = hashlib.sha256()
        for chunk in objects.stream(uri):
            found.update(chunk)
        if found.hexdigest() != expected:
            raise VerificationFailed(
                f"{uri} has SHA-256 {found.hexdigest()}, but {manifest_uri} is of a model with {expected}: "
                "another training of the model has replaced the file; start a new build"
            )


def _other(uri: str, present: bytes, made: str) -> VerificationFailed:
    return VerificationFailed(
        f"{uri} is there with SHA-256 {sha256_of(present)}, but this training made {made}: start a new build"
    )
