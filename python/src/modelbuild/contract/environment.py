"""Names that programs of one training agree on: variables of its jobs, and meta-data of its build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import ConfigDict, Field, Json
from typing_extensions import Self

from modelbuild.contract.record import ModelId, Record, S3Uri

LOG_GROUP = "/aws/batch/modelbuild"
"""The group of CloudWatch Logs with the logs of heads and of the flow's steps, which the stack makes."""

SCHEDULE_TIMEOUT = "SCHEDULE_TIMEOUT"
"""The head's variable with the seconds that a job of a step may wait for a machine; if unset, without limit.
"""

TRAINING_TIMEOUT = "TRAINING_TIMEOUT"
"""The head's variable with the seconds that it may run, which its sweep's workers may run, too."""

STEP_VARIABLES = "STEP_VARIABLES"
"""The variable with the names, separated by spaces, of the head's variables that the head passes to the
flow's steps.
"""

WANDB_ENTITY = "WANDB_ENTITY"
"""W&B's own variable with the team or user that runs belong to; if unset, the default of the API key."""

SWEEP_WORK = "SWEEP_WORK"
"""The variable with the URI of what the workers of a sweep train, for the children of an array job."""

ATTEMPT = "ATTEMPT"
"""The variable with the number of the attempt at a training, from 1, for its head and the flow's steps."""

STEP_RESOURCES = "STEP_RESOURCES"
"""The variable with the sizes of the flow's steps that replace those in the flow, as a JSON object."""

TRAINING_ANNOTATION = "training"
"""The context of the one annotation about a training, whichever program wrote it last."""

DEPLOYMENT_ANNOTATION = "deployment"
"""The context of the annotation about a deployment, before a slash and the name of the endpoint."""

RUNNING_STYLE: Literal["info"] = "info"
"""The style of the training's annotation while the training runs. After it, notify by default uses the same
style if no model is live, or if the comparison shows no difference.
"""
RUNNING_TEXT = "is being trained."
"""What the training's annotation says while the training runs, and not after that."""

REQUEST_PIN = "train/request/sha256"
"""The meta-data with the SHA-256 of ``request.json``, as the train step stored it."""

MANIFEST_PIN = "notify/manifest/sha256"
"""The meta-data with the SHA-256 of the manifest that notify showed on the page."""

MODEL_PIN = "notify/model/sha256"
"""The meta-data with the SHA-256 of the model that notify showed on the page."""

CALLBACK_USER = "notify/callback/user"
"""The meta-data with the id of the user who unblocked the training's step: usually the owner of the API
token.
"""


FAILED_GATES = "notify/gates/failed"
"""The meta-data with the gates that the model did not meet, unless option ``on-failure`` is ``warn``."""

NO_GATES = "none"
"""Its value if the model meets all gates."""

GATES_ENDPOINT = "notify/gates/endpoint"
"""The meta-data with the endpoint that the notify step which noted the gates has compared with; ``-`` for
none.
"""

PAGE_CONTEXT = "notify/context"
"""The meta-data with the context of notify's annotation, where it is another than that of the train step."""

DECISION = "deploy/decision"
"""The field of the block step before deploy with a person's decision: ``deploy`` or ``reject``; see
:func:`endpoint_field` for builds that deploy to several endpoints.
"""

DECISIONS = ("deploy", "reject")
"""The values of that field."""

DECISION_REASON = "deploy/reason"
"""The field of that step with the person's reason."""

CHOSEN_CANDIDATE = "deploy/candidate"
"""The field of that step with the rank of the candidate of a sweep that the person chose; 1 is the best."""

CANDIDATES_PIN = "notify/candidates"
"""The meta-data with the candidates that notify offered on the page, and their hashes: an ``Offer``."""

CANDIDATE_GATES = "notify/candidates/gates"
"""The meta-data with the gates that offered candidates did not meet, unless option ``on-failure`` is
``warn``: a ``CandidateGates``.
"""


def endpoint_field(key: str, endpoint: str) -> str:
    """The key of a field of the block step before deploy (``deploy/decision``) that is for one endpoint
    (``deploy/<endpoint>/decision``).
    """
    step, name = key.split("/")
    return f"{step}/{endpoint}/{name}"


class Variables(Record):
    """Environment variables of a process, typed; the alias of each field is the variable's name."""

    model_config = ConfigDict(extra="ignore")

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """The variables of this class in an environment; an empty variable is one that is not set.

        Raises:
            ValidationError: a required variable is not set, or one has a wrong value.
        """
        names = {field.alias or name for name, field in cls.model_fields.items()}
        return cls.model_validate({name: environ[name] for name in names if environ.get(name)})


class HeadEnvironment(Variables):
    """What the head, and the programs that recover its training, read of the variables of its job."""

    artifacts: S3Uri = Field(alias="ARTIFACTS")
    """The S3 prefix of the model."""
    attempt: int = Field(1, alias=ATTEMPT, ge=1)
    schedule_timeout: float | None = Field(None, alias=SCHEDULE_TIMEOUT)
    """Seconds that the head and the jobs of its flow's steps may wait for a machine; None for no limit."""
    timeout: int = Field(86_400, alias=TRAINING_TIMEOUT, ge=60)
    """Seconds that the head may run."""
    user: str = Field("", alias="METAFLOW_USER")
    """Metaflow's user, with whose name the jobs of the flow's steps begin."""
    queue: str = Field("", alias="METAFLOW_BATCH_JOB_QUEUE")
    gpu_queue: str = Field("", alias="GPU_JOB_QUEUE")
    head_queue: str = Field("", alias="AWS_BATCH_JQ_NAME")
    """The head's own queue, which has the name of its job definition; Batch sets it."""
    wandb_entity: str = Field("", alias=WANDB_ENTITY)
    variables: str = Field("", alias=STEP_VARIABLES)
    resources: str = Field("", alias=STEP_RESOURCES)
    tags: Json[dict[str, str]] = Field("{}", alias="METAFLOW_BATCH_DEFAULT_TAGS", validate_default=True)
    """The tags of the jobs that the head submits."""
    job_id: str = Field("", alias="AWS_BATCH_JOB_ID")
    """The head's own job, which Batch names to the head only."""


class StepEnvironment(Variables):
    """What a flow reads of the variables that its head passes on to it, and to each job of its steps.

    A flow that runs on its own has no ``model_id``.
    """

    model_id: ModelId | None = Field(None, alias="MODEL_ID")
    artifacts: str = Field("", alias="ARTIFACTS")
    """The S3 prefix of the model; of a flow on its own, where the folder of its run shall be."""
    attempt: int = Field(1, alias=ATTEMPT, ge=1)
    wandb_entity: str | None = Field(None, alias=WANDB_ENTITY)
    wandb_project: str = Field("", alias="WANDB_PROJECT")
    """W&B's own variable with the project of a flow on its own; a build's is the one of its pipeline."""
    variables: str = Field("", alias=STEP_VARIABLES)
    resources: Json[dict[str, dict[str, int]]] = Field("{}", alias=STEP_RESOURCES, validate_default=True)
    """The sizes of steps that replace those in the flow."""
    queue: str = Field("", alias="AWS_BATCH_JQ_NAME")
    """The queue that this step's job came from; Batch sets it."""
    gpu_queue: str = Field("", alias="GPU_JOB_QUEUE")
    """Name or ARN of the queue of steps with a GPU."""
    gpu_image: str = Field("", alias="TRAIN_GPU_IMAGE")

    @property
    def runs_on_gpu_queue(self) -> bool:
        """Whether this step is a job of the queue of steps with a GPU."""
        return bool(self.queue) and self.queue == self.gpu_queue.rsplit("/", 1)[-1]


class WorkerEnvironment(Variables):
    """What a worker of a sweep reads of the variables of its job."""

    artifacts: S3Uri = Field(alias="ARTIFACTS")
    """The S3 prefix of the sweep."""
    work: S3Uri = Field(alias=SWEEP_WORK)
    index: int = Field(0, alias="AWS_BATCH_JOB_ARRAY_INDEX", ge=0)
    """Which child of the array job this is; Batch sets it."""
    buildkite_secret: str = Field("", alias="BUILDKITE_SECRET_ARN")
    """The secret with the token of Buildkite's API, which no candidate gets."""
    wandb_secret: str = Field("", alias="WANDB_SECRET_ARN")
    """The secret with the key of W&B's API; without one, candidates have no W&B runs."""
