"""The models of one pipeline."""

from __future__ import annotations

import re
from dataclasses import dataclass

from modelbuild.contract.record import MODEL_ID_PATTERN
from modelbuild.store.model import ModelStore
from modelbuild.store.objects import Objects

_MODEL_ID = re.compile(MODEL_ID_PATTERN)


def is_model_id(text: str) -> bool:
    """Whether text is the id of a model."""
    return _MODEL_ID.fullmatch(text) is not None


@dataclass(frozen=True)
class PipelineStore:
    """The models below ``root``: ``s3://<bucket>/models/<pipeline>``, without a slash at the end.

    Every method raises ``AwsError`` when S3 refuses. Names and ids are listed as folders: one request for a
    thousand of them, whatever the number of files.
    """

    objects: Objects
    root: str

    def models(self) -> list[str]:
        """The names of the pipeline's models, sorted."""
        return [*self.objects.folders(f"{self.root}/")]

    def ids(self, model: str) -> list[str]:
        """The ids of the models of this name, the newest first."""
        found = [name for name in self.objects.folders(f"{self.root}/{model}/") if is_model_id(name)]
        return sorted(found, key=lambda one: [int(part) for part in one.split(".")], reverse=True)

    def trainings(self, model: str) -> list[str]:
        """The ids of the trainings of this name, the newest first: each has a head, as no candidate has."""
        return [model_id for model_id in self.ids(model) if "." not in model_id]

    def model(self, model: str, model_id: str) -> ModelStore:
        """The files of one model."""
        return ModelStore(self.objects, f"{self.root}/{model}/{model_id}")
