"""The files of a variant's model: fetched from S3 and written into its folder."""

from __future__ import annotations

import io
import shutil
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from modelbuild_local.aws.objects import NoSuchObject, Objects, split


class StartFailed(Exception):
    """A variant does not come into service; the message is the endpoint's FailureReason."""


def install_model(account: str, data: str | None, folder: Path) -> None:
    """Put the model's files into ``folder``.

    Raises:
        StartFailed: the files are missing or invalid.
    """
    folder.mkdir(parents=True)
    if data is None:
        return
    objects = Objects(account)
    try:
        found = {uri: objects.read(uri) for uri in _found(objects, data)}
    except NoSuchObject:
        found = {}
    if not found:
        raise StartFailed(
            f'Failed to download model data for container "container_1" from URL: "{data}". Please '
            "ensure that there is an object located at the URL and that the role passed to CreateModel has "
            "permissions to download the object."
        )
    if data.endswith("/"):
        _write(found, data, folder)
    else:
        _extract(found[data], data, folder)


def is_there(account: str, data: str) -> bool:
    """Whether a model's data exists: an archive, or files below a location that ends in a slash."""
    return bool(_found(Objects(account), data))


def _found(objects: Objects, data: str) -> list[str]:
    try:
        return [uri for uri, _ in objects.list(data) if uri == data or data.endswith("/")]
    except (NoSuchObject, ValueError):
        return []


def _extract(archive: bytes, uri: str, folder: Path) -> None:
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as files:
            _unpack(files, folder)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise StartFailed(
            f'Failed to extract model data archive for container "container_1" from URL "{uri}". Please '
            f"ensure that the object located at the URL is a valid tar.gz archive: {error}"
        ) from None


def _unpack(files: tarfile.TarFile, folder: Path) -> None:
    """Write the archive's files and folders; Python 3.10.0 has no filter that makes ``extractall`` safe."""
    for member in files:
        path = (folder / member.name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise tarfile.ExtractError(f"{member.name!r} leads outside of the model's folder")
        if member.isdir():
            path.mkdir(parents=True, exist_ok=True)
            continue
        content = files.extractfile(member) if member.isfile() else None
        if content is None:
            raise tarfile.ExtractError(f"{member.name!r} is neither a file nor a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            shutil.copyfileobj(content, file)


def _write(files: Mapping[str, bytes], prefix: str, folder: Path) -> None:
    for uri, content in files.items():
        name = split(uri)[1][len(split(prefix)[1]) :]
        path = (folder / name).resolve()
        if not name or not path.is_relative_to(folder.resolve()):
            raise StartFailed(f"The object {uri} cannot be a file of the model; rename it.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
