"""The records that all programs share, as data: no I/O, no clients.

A *model id* is the number of the build that made the model, as text. It is unique within a
pipeline, so whatever stands in a shared place (an S3 key, a tag, a name) carries the pipeline too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)
from pydantic_core import from_json
from typing_extensions import Self

from modelbuild.text import storable

MODEL_ID_HEADER = "X-Model-Id"
CUSTOM_ATTRIBUTES_HEADER = "X-Amzn-SageMaker-Custom-Attributes"

REQUEST_FILE = "request.json"
SOURCE_FILE = "source.tar.gz"
JOB_FILE = "job.json"
RESULT_FILE = "result.json"
DELIVERED_FILE = "delivered.json"
MODEL_FILE = "model.tar.gz"
MANIFEST_FILE = "manifest.json"
DEPLOYMENT_FILE = "deployment.json"

WEIGHTS_FILE = "model.safetensors"
DESCRIPTION_FILE = "model.json"

LOG_GROUP = "/aws/batch/modelbuild"
"""The group of CloudWatch Logs with the logs of heads and of the flow's steps, which the stack makes."""

SCHEDULE_TIMEOUT = "SCHEDULE_TIMEOUT"
"""The head's variable with the seconds that a job of a step may wait for a machine; without it, for ever."""

STEP_VARIABLES = "STEP_VARIABLES"
"""The variable with the names, between spaces, of the head's variables that the flow's steps get too."""

WANDB_ENTITY = "WANDB_ENTITY"
"""W&B's own variable with the team or user that runs belong to; without it, the API key's default."""

ATTEMPT = "ATTEMPT"
"""The variable with the number of the attempt at a training, from 1, for its head and the flow's steps."""

STEP_RESOURCES = "STEP_RESOURCES"
"""The variable with the sizes of the flow's steps that replace those in the flow, as a JSON object."""

TRAINING_ANNOTATION = "training"
"""The context of the one annotation about the training of a build, whichever program wrote it last."""

UNDER_WAY: Literal["info"] = "info"
"""The style of that annotation while the training is under way, and at no other time."""

REQUEST_PIN = "train/request/sha256"
"""The build's meta-data with the SHA-256 of ``request.json``, as the train step stored it."""

MANIFEST_PIN = "notify/manifest/sha256"
"""The build's meta-data with the SHA-256 of the manifest that notify showed on the page."""

MODEL_PIN = "notify/model/sha256"
"""The build's meta-data with the SHA-256 of the model that notify showed on the page."""

CALLBACK_USER = "notify/callback/user"
"""The build's meta-data with the id of the user who unblocked the training's step: the token's, as a rule."""

# Buildkite takes 100 kB as a value of meta-data.
_FIELD_CHARACTERS = 10_000

S3Uri = Annotated[str, StringConstraints(pattern=r"^s3://[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9](/.*)?$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ModelId = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*(\.[1-9][0-9]*)?$")]
Label = Annotated[str, StringConstraints(min_length=1)]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9\-]*$")]
Text = Annotated[str, AfterValidator(storable)]
"""Text from elsewhere, such as a commit's message: what no document can hold in it becomes U+FFFD."""


def _field(text: str) -> str:
    if len(text) > _FIELD_CHARACTERS:
        raise ValueError(f"it must not have more than {_FIELD_CHARACTERS:,} characters")
    return storable(text)


FieldText = Annotated[str, AfterValidator(_field)]
"""A value of the build's meta-data."""


class Record(BaseModel):
    """A value object: frozen, closed, and written under its aliases."""

    # Most programs use a few of the records: the validator of each is built when it is first used.
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True)

    def to_json(self) -> str:
        """The value as a JSON document for people and programs, see :func:`document`.

        Raises:
            ValueError: the document would not be read back as this value.
        """
        text = document(self.model_dump(mode="json", by_alias=True))
        if type(self).model_validate_json(text) != self:
            raise ValueError(f"a {type(self).__name__} would be read back as another one")
        return text


def document(value: JsonValue) -> str:
    """A JSON document with sorted keys, two spaces and a newline at the end, that all its readers can read.

    Raises:
        ValueError: it would not be read back as ``value``: it holds half a surrogate pair or a number that is
            not finite, or is nested more than 200 times.
    """
    try:
        text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"
        same = from_json(text) == value
    except (TypeError, RecursionError) as error:
        raise ValueError("it is no JSON value, or nested too often") from error
    if not same:
        raise ValueError("it would be read back as another value")
    return text


def sha256_of_json(value: JsonValue) -> str:
    """SHA-256 of ``value`` in its canonical JSON form: sorted keys, no spaces, UTF-8 (RFC 8785 in spirit)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def model_prefix(root: str, pipeline: str, model_id: str) -> str:
    """Where everything about one model lies: ``<root>/<pipeline>/<model id>``, without a slash at the end."""
    return f"{root.rstrip('/')}/{pipeline}/{model_id}"


def attempt_prefix(artifacts: str, attempt: int) -> str:
    """Where the result of one attempt at a training lies.

    Results are written once: that of a later attempt does not replace that of the first, but lies below it.
    """
    return artifacts if attempt == 1 else f"{artifacts}/attempts/{attempt}"


class Build(Record):
    """The Buildkite build that asked for a model."""

    organization: Slug
    pipeline: Slug
    number: int = Field(ge=1)
    id: Text
    url: Text
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40,64}$")]
    branch: Text
    message: Text
    creator: Text


class Source(Record):
    """The archive of the commit's files that the head runs."""

    path: S3Uri
    sha256: Sha256


class Images(Record):
    """The images of one build, named as the folders of ``docker/``; digests where they are known."""

    default: str
    train_gpu: str = Field(alias="train-gpu")
    serve: str


class TrainingRequest(Record):
    """What was asked for: ``request.json``, written once, before the head job is submitted."""

    version: Literal[1] = 1
    model_id: ModelId
    build: Build
    source: Source
    flow: str
    parameters: dict[str, JsonValue]
    parameters_sha256: Sha256
    artifacts: S3Uri
    unblock: str
    images: Images
    origins: dict[str, Literal["file", "plugin", "build"]] = Field(default_factory=dict)
    """Who set each parameter, by its dotted name: params.yaml, the pipeline's options, or this build."""
    dirty_diff: str = ""
    """What the source has that the commit has not, as ``git diff`` shows it; empty as a rule."""

    def misplaced(self, prefix: str) -> str:
        """What contradicts the prefix in S3 that the request lies under, for people; empty when nothing does.

        A reader acts on the build that the request names, and access to one prefix must not be enough to name
        the build of another.
        """
        _, pipeline, model_id = f"//{prefix}".rsplit("/", 2)
        claims: list[tuple[str, str, str]] = [
            ("its pipeline is", self.build.pipeline, pipeline),
            ("its model id is", self.model_id, model_id),
            ("its artifacts are", self.artifacts, prefix),
            ("its source is", self.source.path, f"{prefix}/{SOURCE_FILE}"),
            ("its build is", str(self.build.number), self.model_id.partition(".")[0]),
        ]
        return next((f"{name} {written}" for name, written, expected in claims if written != expected), "")


class TrainingResult(Record):
    """How a training ended. Its fields, by alias, *are* the fields of the block step that waits for it."""

    status: Literal["succeeded", "failed", "cancelled"] = Field(alias="training/status")
    reason: Text = Field(default="", alias="training/reason")
    model_path: FieldText = Field(default="", alias="model/data/path")
    model_sha256: FieldText = Field(default="", alias="model/data/sha256")
    manifest: FieldText = Field(default="", alias="model/manifest")
    env: dict[str, str] = Field(default_factory=dict, alias="model/env")
    image: FieldText = Field(default="", alias="model/image")
    wandb_run_id: FieldText = Field(default="", alias="wandb/run/id")
    wandb_run_url: FieldText = Field(default="", alias="wandb/run/url")

    @model_validator(mode="after")
    def _env_fits_a_field(self) -> Self:
        """Hold the variables of inference to what one field may have, as they are one."""
        if len(json.dumps(self.env)) > _FIELD_CHARACTERS:
            raise ValueError(f"model/env must not take more than {_FIELD_CHARACTERS:,} characters")
        return self

    def to_fields(self) -> dict[str, str]:
        """The result as block fields: text by key, ``model/env`` as a JSON object."""
        fields = self.model_dump(by_alias=True)
        fields["model/env"] = json.dumps(self.env, sort_keys=True)
        return fields

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> TrainingResult:
        """Read a result back from meta-data; a key that is missing counts as empty.

        Raises:
            ValueError: a value is not what its key promises (pydantic's ``ValidationError`` is one).
        """
        values: dict[str, Any] = {key: fields[key] for key in cls.field_keys() if key in fields}
        values["model/env"] = json.loads(values.get("model/env") or "{}")
        return cls.model_validate(values)

    @classmethod
    def field_keys(cls) -> tuple[str, ...]:
        """The keys of the block step's fields, in the order in which a person reads them."""
        return tuple(field.alias or name for name, field in cls.model_fields.items())


class SnapshotObject(Record):
    """One object of a data snapshot."""

    path: S3Uri
    bytes: int
    sha256: Sha256


class DataSnapshot(Record):
    """The rows a model was made from: the query as it ran, and what it left in S3."""

    query: Text
    execution_id: str
    objects: tuple[SnapshotObject, ...]
    rows: int
    sha256: Sha256


class Scores(Record):
    """Classification quality on some rows; ``macro_f1`` is the unweighted mean of the classes' F1."""

    rows: int
    accuracy: float
    macro_f1: float


class ClassScores(Record):
    """Quality for one class; ``rows`` is its support."""

    rows: int
    precision: float
    recall: float
    f1: float


class Evaluation(Record):
    """Quality on evaluation rows, beside baselines on the same rows."""

    rows_are: Text = ""
    """What the rows are, in the words of the flow: "human-annotated, not trained on". Empty: not declared."""
    dataset_sha256: Sha256
    overall: Scores
    by_class: dict[str, ClassScores]
    by_domain: dict[str, Scores]
    baselines: dict[str, Scores]


class WandbRun(Record):
    """The Weights & Biases run; ``url`` is empty for a run that was recorded offline."""

    id: Text
    url: Text


class Artifact(Record):
    """``model.tar.gz`` and the SHA-256 of each file in it, by name."""

    path: S3Uri
    bytes: int
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
    threads: int


class GoldenPrediction(Record):
    """An input with the answer the trained model gave, for whoever serves it to compare with."""

    text: str
    label: str
    scores: dict[str, float]


class Manifest(Record):
    """Everything about one model: ``manifest.json``, written once, beside the model."""

    version: Literal[1] = 1
    request: TrainingRequest
    data: DataSnapshot
    evaluation: Evaluation
    wandb: WandbRun
    artifact: Artifact
    runtime: Runtime
    golden: tuple[GoldenPrediction, ...]
    timings: dict[str, float]
    created_at: str


def _distinct(labels: tuple[str, ...]) -> tuple[str, ...]:
    label, times = Counter(labels).most_common(1)[0]
    if times > 1:
        raise ValueError(f"the label {label!r} is there {times} times")
    return labels


class ModelDescription(Record):
    """``model.json`` in ``model.tar.gz``: how to read the weights beside it.

    The version is that of the n-grams: since 2, a text is normalised before it is hashed. Weights of another
    version would be looked up in the wrong buckets.
    """

    version: Literal[2] = 2
    kind: Literal["hashed-ngrams-linear"]
    labels: Annotated[tuple[Label, ...], Field(min_length=1), AfterValidator(_distinct)]
    buckets: int = Field(ge=1)
    ngrams: int = Field(ge=1, le=5)
    parameters_sha256: Sha256
    weights_sha256: Sha256


class Approver(Record):
    """Who unblocked the deployment, as Buildkite named them."""

    name: Text
    email: Text


class Deployment(Record):
    """A model behind an endpoint: in the endpoint's history, and beside the copied model and the original."""

    version: Literal[1] = 1
    number: int = Field(default=1, ge=1)
    """Which deployment of the endpoint it is, from 1; the next one replaced it."""
    model_id: ModelId
    pipeline: Slug
    build_url: str
    manifest: S3Uri
    manifest_sha256: Sha256
    model_path: S3Uri
    model_sha256: Sha256
    image: str
    endpoint: str
    endpoint_arn: str
    endpoint_config: str
    model_name: str
    previous_endpoint_config: str
    approver: Approver
    deployed_at: str


class Prediction(Record):
    """One answer. The id is in each, so that a prediction leads back to its build wherever it ends up."""

    label: str
    scores: dict[str, float]
    model_id: ModelId


class Predictions(Record):
    """The body that ``/invocations`` answers with."""

    model_id: ModelId
    pipeline: Slug
    predictions: tuple[Prediction, ...]


class ServingEnvironment(Record):
    """The variables inference needs: ``model/env``, and the environment of the SageMaker model."""

    model_id: ModelId = Field(alias="MODEL_ID")
    pipeline: Slug = Field(alias="MODEL_PIPELINE")
    weights_sha256: Sha256 = Field(alias="MODEL_WEIGHTS_SHA256")

    def to_env(self) -> dict[str, str]:
        """The variables by name."""
        return {key: str(value) for key, value in self.model_dump(by_alias=True).items()}


def custom_attributes(model_id: str, pipeline: str) -> str:
    """The value of ``X-Amzn-SageMaker-Custom-Attributes`` on an answer: visible ASCII, ≤ 1024 characters."""
    return f"MODEL_ID={model_id};PIPELINE={pipeline}"


def split_s3_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of ``s3://bucket/key``; the key of a bare bucket is empty.

    Raises:
        ValueError: ``uri`` does not name an S3 location.
    """
    match = re.fullmatch(r"s3://([a-z0-9][a-z0-9.\-]{1,61}[a-z0-9])(?:/(.*))?", uri, re.DOTALL)
    if match is None:
        raise ValueError(f"{uri!r} is not an S3 location such as s3://bucket/prefix")
    return match.group(1), match.group(2) or ""
