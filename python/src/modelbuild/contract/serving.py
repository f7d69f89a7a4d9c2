"""The environment of an inference server, and the format of its answers."""

from __future__ import annotations

from pydantic import ConfigDict, Field, JsonValue

from modelbuild.contract.environment import Variables
from modelbuild.contract.record import ModelId, ModelName, Record, Sha256, Slug

MODEL_ID_HEADER = "X-Model-Id"
CUSTOM_ATTRIBUTES_HEADER = "X-Amzn-SageMaker-Custom-Attributes"

DESCRIPTION_FILE = "model.json"
"""The file in ``model.tar.gz`` that describes the model: its kind, and the other files of the model."""


class Prediction(Record):
    """One prediction: the output of the model, and which model made it.

    Each prediction names its model, so that it can be traced to its build wherever it is stored.
    """

    model_config = ConfigDict(extra="allow")

    model: ModelName
    model_id: ModelId

    @property
    def output(self) -> dict[str, JsonValue]:
        """The output of the model, such as ``{"label": "positive", "scores": {...}}``."""
        return self.model_extra or {}


class Predictions(Record):
    """The body of an answer of ``/invocations``."""

    model: ModelName
    model_id: ModelId
    pipeline: Slug
    predictions: tuple[Prediction, ...]


class ServingEnvironment(Variables):
    """The variables that inference needs: ``model/env``, and the environment of the SageMaker model."""

    model: ModelName = Field(alias="MODEL_NAME")
    model_id: ModelId = Field(alias="MODEL_ID")
    pipeline: Slug = Field(alias="MODEL_PIPELINE")
    description_sha256: Sha256 = Field(alias="MODEL_DESCRIPTION_SHA256")
    """The hash of ``model.json``, which holds the hashes of the model's other files."""

    def to_env(self) -> dict[str, str]:
        """The variables by name."""
        return {key: str(value) for key, value in self.model_dump(by_alias=True).items()}


def custom_attributes(model_id: str, model: str, pipeline: str) -> str:
    """The value of ``X-Amzn-SageMaker-Custom-Attributes`` on an answer: visible ASCII, ≤ 1024 characters."""
    return f"MODEL_ID={model_id};MODEL={model};PIPELINE={pipeline}"
