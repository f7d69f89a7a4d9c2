"""The model that an image is checked with: the unpacked model.tar.gz, and what is known of its answers."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue, ValidationError

from modelbuild.answers import Identity
from modelbuild.contract import DESCRIPTION_FILE, GoldenPrediction, Manifest
from modelbuild.errors import ConfigurationError
from modelbuild.formats.validation import first_error

if TYPE_CHECKING:
    from modelbuild.serving.description import ModelDescription

# In place of those of a training, where no manifest names it.
_IDENTITY = Identity(model="checked-model", model_id="1", pipeline="check-image")
_MAX_FILES = 1_000
_TEXTS = ("Another one, and it is much worse than the first!", "12 % of 7 people like it 😀")


@dataclass(frozen=True)
class CheckedModel:
    """A model on disk, and what its server must answer.

    Attributes:
        directory: the unpacked ``model.tar.gz``.
        files: the paths of its files, relative to the directory.
        description: ``model.json`` as this package reads it, or None.
        unknown: why ``description`` is None.
        identity: the names that the server is started with.
        golden: the golden predictions of the manifest.
        instances: what is sent; those of the golden predictions come first.
    """

    directory: Path
    files: tuple[str, ...]
    description: ModelDescription | None
    unknown: str
    identity: Identity
    golden: tuple[GoldenPrediction, ...]
    instances: tuple[JsonValue, ...]

    @property
    def weights(self) -> tuple[str, ...]:
        """The files beside ``model.json``."""
        return tuple(name for name in self.files if name != DESCRIPTION_FILE)


def read_model(directory: Path, manifest: Path | None, instances: Sequence[JsonValue]) -> CheckedModel:
    """The model in a directory.

    Args:
        directory: the unpacked ``model.tar.gz``.
        manifest: ``manifest.json`` of the same model, with golden predictions.
        instances: instances to send beside the golden predictions; where there are neither, the example of
            the declared input is sent.

    Raises:
        ConfigurationError: the directory holds no files, the manifest is of another model, or an instance
            does not fit the declared input.
    """
    files = tuple(sorted(_files(directory)))
    if not files:
        raise ConfigurationError(
            f"MODEL_DIR {directory} holds no files: give the folder with the unpacked model.tar.gz"
        )
    description, unknown = _describe(directory)
    if description is not None:
        _require_fit(description, instances)
    golden: tuple[GoldenPrediction, ...] = ()
    identity = _IDENTITY
    if manifest is not None:
        read = _read_manifest(manifest, directory)
        request, golden = read.request, read.golden
        identity = Identity(model=request.model, model_id=request.model_id, pipeline=request.build.pipeline)
    sent = (*(one.input for one in golden), *instances)
    if not sent and description is not None:
        sent = (description.input.example(), *(_TEXTS if description.input.type == "text" else ()))
    return CheckedModel(directory, files, description, unknown, identity, golden, sent)


def variables(identity: Identity, directory: Path) -> dict[str, str]:
    """The variables that a server of the model gets, see :class:`modelbuild.contract.ServingEnvironment`.

    MODEL_DESCRIPTION_SHA256 is left out where there is no ``model.json``.
    """
    path = directory / DESCRIPTION_FILE
    sha256 = {"MODEL_DESCRIPTION_SHA256": _sha256(path.read_bytes())} if path.is_file() else {}
    return {
        "MODEL_NAME": identity.model,
        "MODEL_ID": identity.model_id,
        "MODEL_PIPELINE": identity.pipeline,
        **sha256,
    }


def copy(model: CheckedModel, directory: Path) -> Path:
    """A copy of the model's directory that every user can read, whatever user the image runs as.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    try:
        _copy(model.directory, model.files, directory, shutil.copyfile)
    except OSError as error:
        raise ConfigurationError(
            f"cannot copy MODEL_DIR {model.directory}: {error.strerror or error}"
        ) from error
    return directory


def replace(
    original: Path, files: Sequence[str], replaced: Mapping[str, bytes], directory: Path, *, hashes: bool
) -> Path:
    """A copy of the original in which some files have another content.

    Args:
        original: what :func:`copy` made.
        files: the paths of all files.
        replaced: the other contents, by path.
        directory: where to put the copy.
        hashes: whether ``model.json`` gets the hashes of the new contents in place of those of the old ones.
    """
    contents = dict(replaced)
    if hashes and DESCRIPTION_FILE in files:
        text = (original / DESCRIPTION_FILE).read_bytes()
        for name, content in replaced.items():
            text = _replace_hash(text, _sha256((original / name).read_bytes()), _sha256(content))
        contents[DESCRIPTION_FILE] = text
    _copy(original, [name for name in files if name not in contents], directory, os.link)
    for name, content in contents.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    _make_readable(directory)
    return directory


def describes(directory: Path, name: str) -> bool:
    """Whether ``model.json`` holds the hash of a file."""
    path = directory / DESCRIPTION_FILE
    return path.is_file() and _sha256((directory / name).read_bytes()).encode() in path.read_bytes().lower()


def _replace_hash(text: bytes, old: str, new: str) -> bytes:
    """The text with the hash ``new`` in place of ``old``, in upper case where that is in upper case."""
    text = text.replace(old.encode(), new.encode()).replace(old.upper().encode(), new.upper().encode())
    return re.sub(old.encode(), new.encode(), text, flags=re.IGNORECASE)


def _files(directory: Path) -> list[str]:
    if directory.is_file():
        raise ConfigurationError(
            f"MODEL_DIR {directory} is a file: unpack it into a folder, with tar -xzf, and give that"
        )
    if not directory.is_dir():
        raise ConfigurationError(
            f"MODEL_DIR {directory} does not exist: give the folder with the unpacked model.tar.gz"
        )
    found = (path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    files = list(itertools.islice(found, _MAX_FILES + 1))
    if len(files) > _MAX_FILES:
        raise ConfigurationError(
            f"MODEL_DIR {directory} holds more than {_MAX_FILES:,} files: give the folder with the unpacked "
            "model.tar.gz and nothing else"
        )
    return files


def _describe(directory: Path) -> tuple[ModelDescription | None, str]:
    try:
        content = (directory / DESCRIPTION_FILE).read_bytes()
    except OSError:
        return None, f"MODEL_DIR has no {DESCRIPTION_FILE}"
    try:
        from modelbuild.serving.description import ModelDescription
    except ImportError as error:
        return None, f"reading {DESCRIPTION_FILE} needs {error.name}, which is not installed here"
    try:
        return ModelDescription.model_validate_json(content), ""
    except ValidationError as error:
        return None, f"{DESCRIPTION_FILE} is not in modelbuild's format ({first_error(error)})"


def _require_fit(description: ModelDescription, instances: Sequence[JsonValue]) -> None:
    # What is served takes numpy, without which there is no description.
    from modelbuild.serving.values import BadInstance

    for instance in instances:
        try:
            description.input.from_json(instance)
        except BadInstance as error:
            raise ConfigurationError(
                f"--instance {json.dumps(instance)[:80]} does not fit the input that {DESCRIPTION_FILE} "
                f"declares: it {error}"
            ) from error


def _read_manifest(path: Path, directory: Path) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"cannot read --manifest {path}: {error.strerror}") from error
    except ValidationError as error:
        raise ConfigurationError(
            f"--manifest {path} is not the manifest.json of a model ({first_error(error)})"
        ) from error
    for name, expected in manifest.artifact.files.items():
        try:
            actual = _sha256((directory / name).read_bytes())
        except OSError:
            actual = "missing"
        if actual != expected:
            raise ConfigurationError(
                f"--manifest {path} is of another model: {name} in MODEL_DIR is {actual}, and the manifest "
                f"has {expected}; give the manifest and the model of the same training"
            )
    return manifest


def _copy(source: Path, files: Sequence[str], target: Path, transfer: Callable[[Path, Path], object]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        transfer(source / name, target / name)
    _make_readable(target)


def _make_readable(directory: Path) -> None:
    """Let every user read a copy, in spite of the umask: the image may have a user of its own."""
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
