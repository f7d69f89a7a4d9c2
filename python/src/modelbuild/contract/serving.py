"""What the image of an inference server is given and answers, as a server and as a job that scores rows."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, JsonValue

from modelbuild.contract.environment import Variables
from modelbuild.contract.record import ModelId, ModelName, Record, S3Uri, Sha256, Slug, Text

MODEL_ID_HEADER = "X-Model-Id"
CUSTOM_ATTRIBUTES_HEADER = "X-Amzn-SageMaker-Custom-Attributes"

DESCRIPTION_FILE = "model.json"
"""The file in ``model.tar.gz`` that describes the model: its kind, and the other files of the model."""

SCORE_COMMAND = ("score",)
"""The arguments with which a serving image scores rows, as ``serve`` is the one with which it serves."""

SCORE_DEFINITION = "modelbuild-score"
"""The job definition of the stack whose copies, with the image of a model, score rows."""


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


class ScoringEnvironment(Variables):
    """The variables of the job."""

    model: S3Uri = Field(alias="SCORE_MODEL")
    """``model.tar.gz``."""
    model_sha256: Sha256 = Field(alias="SCORE_MODEL_SHA256")
    rows: S3Uri = Field(alias="SCORE_ROWS")
    """JSON lines, each the input of a row."""
    rows_sha256: Sha256 = Field(alias="SCORE_ROWS_SHA256")
    scores: S3Uri = Field(alias="SCORES")
    """Where the job writes :class:`Scoring`, once."""

    def to_env(self) -> dict[str, str]:
        """The variables by name."""
        return {key: str(value) for key, value in self.model_dump(by_alias=True).items()}


class Scoring(Record):
    """What a model's own server predicts for some rows: ``scores.json``."""

    version: Literal[1] = 1
    model_sha256: Sha256
    """The hash of the model's archive."""
    rows_sha256: Sha256
    """The hash of the rows."""
    predictions: tuple[str, ...] | tuple[float, ...] = ()
    """The label or the number of each row, in their order; none if there is a problem."""
    problem: Text = ""
    """Why the model cannot score these rows, as a sentence without a period; empty if it did."""
