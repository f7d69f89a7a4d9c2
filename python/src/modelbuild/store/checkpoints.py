"""The checkpoints of a training that is under way, from which it goes on after its host was lost."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from modelbuild import log
from modelbuild.aws.failures import NotFound
from modelbuild.contract import document, split_s3_uri
from modelbuild.store import records
from modelbuild.store.objects import Objects

_NAME = re.compile(r"(?P<step>[0-9]{9})\.(json|safetensors)")
_KEPT = 2
"""The newest, and one before it in case that the newest cannot be read."""


class Checkpoint(BaseModel):
    """``<step>.json``: what a checkpoint's tensors are; written after them, so that they are complete."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    step: int = Field(ge=0)
    inputs_sha256: str
    """The hash of all that decides the training: a checkpoint with another hash is of another training."""
    sha256: str
    """The hash of ``<step>.safetensors``."""
    progress: dict[str, JsonValue]
    """What the program that trains needs to know besides the tensors."""


@dataclass(frozen=True)
class CheckpointStore:
    """``<bucket>/checkpoints/<prefix of the model in the bucket>/``.

    The checkpoints are apart from the model's other files, because they are large, and because the lifecycle
    rule by which S3 deletes those of a failed training selects objects by the beginning of their keys. Every
    method raises ``AwsError`` when S3 refuses.
    """

    objects: Objects
    model_prefix: str

    def write(self, tensors: Path, *, step: int, inputs_sha256: str, progress: dict[str, JsonValue]) -> None:
        """Add a checkpoint and delete all but the newest two.

        Args:
            tensors: a file of safetensors.
            step: how many steps of the training are done.
            inputs_sha256: the hash of all that decides the training.
            progress: what else the training needs to go on.
        """
        checkpoint = Checkpoint(
            step=step, inputs_sha256=inputs_sha256, sha256=_sha256(tensors), progress=progress
        )
        self.objects.upload(tensors, self._uri(step, "safetensors"))
        self.objects.write(self._uri(step, "json"), document(checkpoint.model_dump()).encode())
        # Another training of the model, which is over, may have deleted all of them just now.
        oldest = min(self._recorded()[:_KEPT], default=step)
        self._delete(step for step in self._steps() if step < oldest)

    def read_newest(self, inputs_sha256: str, into: Path) -> Checkpoint | None:
        """Find the newest checkpoint that is whole and of the same training.

        Others are passed over, each with a line in the log.

        Args:
            inputs_sha256: the hash of all that decides the training.
            into: a file that gets the tensors.

        Returns:
            The checkpoint, or None without one.
        """
        return next(self._readable(inputs_sha256, into), None)

    def clear(self) -> None:
        """Delete all checkpoints, of a training that is over."""
        self._delete(self._steps())

    def _readable(self, inputs_sha256: str, into: Path) -> Iterator[Checkpoint]:
        for step in self._recorded():
            uri = self._uri(step, "json")
            try:
                checkpoint = records.read(self.objects, uri, Checkpoint)
                if checkpoint.inputs_sha256 != inputs_sha256:
                    log.warn(f"{uri} is of a training with other parameters or data: it is not resumed.")
                    continue
                self._download(self._uri(step, "safetensors"), into)
            except (records.InvalidRecord, NotFound) as error:
                log.warn(f"The checkpoint of step {step} cannot be read and is passed over: {error}.")
                continue
            if (found := _sha256(into)) != checkpoint.sha256:
                log.warn(
                    f"The tensors of {uri} have SHA-256 {found} in place of {checkpoint.sha256}: the "
                    "checkpoint is passed over."
                )
                continue
            yield checkpoint

    def _recorded(self) -> list[int]:
        """The steps of which there is a record, the newest first."""
        return self._steps(".json")

    def _steps(self, ending: str = "") -> list[int]:
        """The steps of which there is anything, or a file with this ending, the newest first."""
        names = (uri.rsplit("/", 1)[-1] for uri, _ in self.objects.list(f"{self._root}/"))
        found = (match for name in names if (match := _NAME.fullmatch(name)) and name.endswith(ending))
        return sorted({int(match["step"]) for match in found}, reverse=True)

    def _download(self, uri: str, into: Path) -> None:
        with into.open("wb") as file:
            for chunk in self.objects.stream(uri):
                file.write(chunk)

    def _delete(self, steps: Iterable[int]) -> None:
        for step in steps:
            # The record first: without it, nothing reads the tensors.
            for kind in ("json", "safetensors"):
                self.objects.delete(self._uri(step, kind))

    @property
    def _root(self) -> str:
        bucket, key = split_s3_uri(self.model_prefix)
        return f"s3://{bucket}/checkpoints/{key}"

    def _uri(self, step: int, kind: str) -> str:
        return f"{self._root}/{step:09}.{kind}"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
