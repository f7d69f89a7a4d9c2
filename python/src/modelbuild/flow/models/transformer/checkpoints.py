"""Checkpoints of a fine-tuning in S3: safetensors and JSON, nothing that is unpickled."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field

from modelbuild import log
from modelbuild.errors import AwsError
from modelbuild.store.checkpoints import CheckpointStore


class Measurement(BaseModel):
    """What was measured after some step."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    learning_rate: float
    loss: float | None
    """The mean of the steps since the last measurement; None if it was no finite number."""
    macro_f1: float | None
    """How good the model was on rows that it does not learn from; None if it was not validated."""

    @property
    def values(self) -> dict[str, float]:
        """What was measured, by the names of :mod:`modelbuild.flow.progress`."""
        found = {"loss": math.nan if self.loss is None else self.loss, "learning_rate": self.learning_rate}
        return found if self.macro_f1 is None else {**found, "validation_macro_f1": self.macro_f1}


class Progress(BaseModel):
    """How far a training is."""

    model_config = ConfigDict(extra="forbid")

    step: int = 0
    """Steps that are done."""
    stale: int = 0
    """How many validations in a row were not better than the best one before them."""
    measured: list[Measurement] = Field(default_factory=list)
    scaler: dict[str, Any] = Field(default_factory=dict)
    """How losses are scaled in float16."""

    @property
    def scores(self) -> list[float]:
        """The macro-F1 of each validation."""
        return [one.macro_f1 for one in self.measured if one.macro_f1 is not None]


@dataclass
class Checkpoints:
    """Writes a checkpoint after each so many seconds, and reads the newest one.

    Attributes:
        store: where they are.
        seconds: how long the training goes on before the next one.
    """

    store: CheckpointStore
    seconds: float
    _last: float = field(default_factory=time.monotonic, init=False)

    def read(self, inputs_sha256: str) -> tuple[dict[str, torch.Tensor], Progress] | None:
        """The tensors and the progress of the newest checkpoint, or None without one.

        Args:
            inputs_sha256: the hash of all that decides the training.

        Raises:
            AwsError: S3 refused.
        """
        with TemporaryDirectory() as folder:
            file = Path(folder) / "checkpoint.safetensors"
            found = self.store.read_newest(inputs_sha256, file)
            if found is None:
                return None
            return safetensors.torch.load_file(file), Progress.model_validate(found.progress)

    def write_if_due(
        self, inputs_sha256: str, tensors: Callable[[], dict[str, torch.Tensor]], progress: Progress
    ) -> None:
        """Write a checkpoint if the last one is old enough; where S3 refuses it, the training goes on."""
        if time.monotonic() - self._last < self.seconds:
            return
        with TemporaryDirectory() as folder:
            file = Path(folder) / "checkpoint.safetensors"
            safetensors.torch.save_file(tensors(), file)
            try:
                self.store.write(
                    file,
                    step=progress.step,
                    inputs_sha256=inputs_sha256,
                    progress=progress.model_dump(mode="json"),
                )
            except AwsError as error:
                log.warn(f"There is no checkpoint of step {progress.step:,}; the training goes on: {error}")
        self._last = time.monotonic()
