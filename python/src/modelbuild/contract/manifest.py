"""Everything about one model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from modelbuild.contract.evaluation import Evaluation
from modelbuild.contract.record import Count, Record, S3Uri, Seconds, Sha256, Text
from modelbuild.contract.request import TrainingRequest


class SnapshotObject(Record):
    """One object of a data snapshot."""

    path: S3Uri
    bytes: Count
    sha256: Sha256


class DataSnapshot(Record):
    """The rows that a model is trained and evaluated on: where they come from, and the objects in S3."""

    source: Text
    """The text of a query, or for people the file of the commit, or of a package, that the rows are in."""
    athena_execution_id: str | None = None
    """The execution of the query; None for rows that are not from Athena."""
    objects: tuple[SnapshotObject, ...]
    rows: Count
    sha256: Sha256


class PredictionsFile(Record):
    """What the model answers for each evaluation row: a Parquet file beside the manifest.

    Its columns are ``id``, ``input`` (the input's JSON text), ``truth``, ``prediction``, ``score:<name>`` for
    each score of an answer, ``baseline:<name>`` for the prediction of each baseline, ``slice:<column>`` for
    each column that divides the rows, ``metric:<name>`` for the values of a metric that is their mean, and
    ``metric:<name>:<baseline>`` for those of a baseline. Rows are sorted by ``id``, which no two rows share,
    so that the predictions of two models on the same rows can be compared row by row.
    """

    path: S3Uri
    bytes: Count
    sha256: Sha256
    rows: Count = Field(ge=1)


class WandbRun(Record):
    """The Weights & Biases run; ``url`` is empty for a run that W&B does not have."""

    id: Text
    url: Text


class Artifact(Record):
    """``model.tar.gz`` and the SHA-256 of each file in it, by name."""

    path: S3Uri
    bytes: Count
    sha256: Sha256
    files: dict[str, Sha256]


class Runtime(Record):
    """What the weights were computed with; what is not known is empty."""

    image: str
    python: str
    packages: dict[str, str]
    gpu: str
    driver: str
    deterministic: bool
    threads: Count


class GoldenPrediction(Record):
    """An input with what the trained model answered; whatever serves the model must answer the same."""

    input: JsonValue
    tolerance: float = Field(default=1e-4, ge=0)
    """The largest difference of a number from the recorded one, relative to it if that is above 1: another
    CPU rounds differently."""
    output: dict[str, JsonValue]
    """The answer without the fields that name the model: ``{"label": "positive", "scores": {...}}``."""
    seconds: Seconds | None = None
    """How long the prediction took in the step that evaluated the model, without a server around it."""


class CurvePoint(Record):
    """What a training measured after one of its steps, such as ``{"loss": 0.4, "learning_rate": 0.1}``."""

    step: Count
    values: dict[Text, float]


class TrainingSummary(Record):
    """The rows that a model was fitted on, and how the fit went; unknown values are None or empty."""

    rows: Count
    labels: dict[str, Count] = Field(default_factory=dict)
    """How many rows have each label."""
    dropped: dict[str, Count] = Field(default_factory=dict)
    """How many rows of the snapshot neither training nor evaluation used, by reason."""
    exact_duplicates: Count | None = None
    """How many evaluation rows have an input that is among the inputs of the training."""
    near_duplicates: Count | None = None
    """How many more have an input that is almost one of them."""
    curve: tuple[CurvePoint, ...] = ()
    converged: bool | None = None
    improving: tuple[Text, ...] = ()
    """The curves that were still improving when the training ended: ``loss``, ``validation_macro_f1``."""


class StepInstance(Record):
    """The EC2 instance that a step's job ran on."""

    type: Text
    spot: bool = False
    vcpus: Count = Field(ge=1)


class StepRun(Record):
    """One task of a step of the flow: how long its program ran, and what its Batch job asked for."""

    step: Text
    task: Text
    """Metaflow's id of the task; a step of a foreach has several."""
    seconds: Seconds
    cpu: Count | None = None
    """vCPUs; None for a step that ran in the head's job."""
    memory: Count | None = None
    """MiB."""
    gpu: Count = 0
    instance: StepInstance | None = None
    """None on Fargate, on a laptop, and for a step that ran in the head's job."""


class Manifest(Record):
    """Everything about one model: ``manifest.json``, written once, beside the model."""

    version: Literal[1] = 1
    request: TrainingRequest
    data: DataSnapshot
    evaluation: Evaluation
    predictions: PredictionsFile
    wandb: WandbRun
    artifact: Artifact
    runtime: Runtime
    golden: tuple[GoldenPrediction, ...]
    timings: dict[str, float]
    training: TrainingSummary | None = None
    steps: tuple[StepRun, ...] = ()
    """The tasks of the flow in the order of their ends, up to the one that wrote this; it is the last."""
    created_at: str
