"""The options of the plugin ``train``."""

from __future__ import annotations

import posixpath
import re
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue, StringConstraints, TypeAdapter, ValidationError

from modelbuild.contract import (
    ATTEMPT,
    PARAMS_FILE,
    SCHEDULE_TIMEOUT,
    STEP_RESOURCES,
    STEP_VARIABLES,
    SWEEP_WORK,
    TRAINING_TIMEOUT,
    UNNAMED_VARIABLES,
    WANDB_ENTITY,
    ModelName,
    ParamsFile,
    S3Uri,
    parameter_variables,
)
from modelbuild.errors import ConfigurationError
from modelbuild.settings.aws import AwsSettings
from modelbuild.settings.options import Options, PluginOptions, Text
from modelbuild.text import holds_secret, is_secret_name

HEAD_QUEUE = "modelbuild-head"
"""The queue of heads in the stack, the only one that its function watches."""

_OWN_VARIABLES = (
    "MODEL_ID",
    "ARTIFACTS",
    "UNBLOCK_STEP",
    STEP_VARIABLES,
    STEP_RESOURCES,
    SWEEP_WORK,
    ATTEMPT,
    SCHEDULE_TIMEOUT,
    TRAINING_TIMEOUT,
    "METAFLOW_BATCH_EMIT_TAGS",
    "METAFLOW_BATCH_DEFAULT_TAGS",
    "TRAIN_GPU_IMAGE",
    "METAFLOW_BATCH_CONTAINER_IMAGE",
    "METAFLOW_HOME",
)
# Variables that decide how the head and Metaflow reach AWS, Buildkite and W&B, and which code they run. An
# operator sets these in the image of the build or in the stack's job definition.
_OPERATORS = re.compile(
    r"(?:LD|DYLD|GLIBC|GCONV|OPENSSL)_.*|PYTHON.*|PATH|HOME|USER|IFS|BASH_.*|BASHOPTS|SHELLOPTS"
    r"|PROMPT_COMMAND|VIRTUAL_ENV|LOCPATH|XDG_CONFIG_.*|CUDA_INJECTION.*|OMP_TOOL_LIBRARIES"
    # Others that begin with GIT_ say what a training is of: GIT_COMMIT, GIT_BRANCH.
    r"|GIT_(?:DIR|COMMON_DIR|WORK_TREE|INDEX_FILE|OBJECT_DIRECTORY|ALTERNATE_.*|CONFIG.*|EXEC_PATH|TEMPLATE_DIR"
    r"|SSH.*|ASKPASS|PROXY_.*|EXTERNAL_DIFF|(?:SEQUENCE_)?EDITOR|PAGER|ALLOW_PROTOCOL|SSL_.*|HTTP_.*|TRACE.*"
    r"|PYTHON_.*)"
    r"|(?:AWS|BUILDKITE|METAFLOW|MODELBUILD|ECS)_.*|GPU_JOB_QUEUE"
    r"|.*_PROXY|REQUEST_METHOD|HOSTALIASES|LOCALDOMAIN|RES_OPTIONS"
    r"|SSL_CERT_FILE|SSL_CERT_DIR|SSLKEYLOGFILE|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|NETRC|BOTO_CONFIG"
    r"|WANDB_(?:BASE_URL|APP_URL|SECRET_ARN|IDENTITY_TOKEN_FILE|CREDENTIALS_FILE|CONFIG_DIR|CONFIG_PATHS|SERVICE"
    r"|INSECURE_DISABLE_SSL|X_EXECUTABLE|X_EXTRA_HTTP_HEADERS|X_PROXIES|X_SERVICE_TRANSPORT)"
)


def _unreserved_name(name: str) -> str:
    """Refuse reserved names, and names of secrets."""
    if name == WANDB_ENTITY:
        raise ValueError(f"{name} is set by option wandb-entity: set that one instead")
    if name in _OWN_VARIABLES or name.startswith("AWS_BATCH"):
        raise ValueError(f"{name} is set for every training and cannot be changed")
    if is_secret_name(name):
        raise ValueError(
            f"{name} looks like a secret, and anyone who may look at the job would see it; name a "
            "secret of Secrets Manager in the job definition instead"
        )
    if _OPERATORS.fullmatch(name.upper()):
        raise ValueError(
            f"{name} decides which code the training runs, or how it reaches AWS, Buildkite or W&B; set it "
            "in the image or in the stack's job definition instead"
        )
    return name


def _unreserved_value(value: str) -> str:
    """Refuse values that hold a password or a private key."""
    if holds_secret(value):
        raise ValueError(
            "it holds a password or a private key, and anyone who may look at the job would see it; name a "
            "secret of Secrets Manager in the job definition instead"
        )
    return value


def _unreserved_tag(key: str) -> str:
    """Refuse the tags that AWS, Metaflow or modelbuild set."""
    if key.lower().startswith(("aws:", "modelbuild:", "metaflow.")):
        raise ValueError("it must not begin with aws:, modelbuild: or metaflow.")
    return key


def _unreserved_tag_value(value: str) -> str:
    """Refuse values that AWS reserves."""
    if value.lower().startswith("aws:"):
        raise ValueError("it must not begin with aws:")
    return value


VariableName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"), AfterValidator(_unreserved_name)
]
VariableValue = Annotated[str, AfterValidator(_unreserved_value)]
RepositoryFile = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._/-]*\.ya?ml$")]
# As git writes the path: what follows compares it with the names of the commit.
FlowFile = Annotated[str, StringConstraints(pattern=r"^[^/].*\.py$"), AfterValidator(posixpath.normpath)]
StepName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
# The tags that AWS and Metaflow both accept, except the names reserved by AWS and modelbuild.
TagKey = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9 +._:/@-]{1,128}$"), AfterValidator(_unreserved_tag)
]
TagValue = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9 +._:/@-]{1,256}$"),
    AfterValidator(_unreserved_tag_value),
]
# Batch takes 50; modelbuild and Metaflow add theirs to the jobs of steps.
_TAGS_LIMIT = 35


class ImageSettings(Options):
    """The images of one build."""

    default: Text = Field(description="Image of the head and of the steps that need no GPU.")
    train_gpu: Text = Field(alias="train-gpu", description="Image of the steps that need a GPU.")
    serve: Text = Field(description="Image that serves the model.")


class ResourceSettings(Options):
    """The size of one step of the flow; what is left out is as the flow says."""

    cpu: int | None = Field(None, ge=1, description="vCPUs.")
    memory: int | None = Field(None, ge=4, description="MiB.")
    gpu: int | None = Field(
        None, ge=0, description="GPUs; with 0 the step leaves the GPU queue and its image."
    )


class TrainSettings(PluginOptions):
    """Options of the plugin ``train``."""

    plugin = "train"

    flow: FlowFile = Field(
        description="The Metaflow flow to run: a Python file of the repository, from its root."
    )
    model: ModelName | None = Field(
        None,
        description="Name of the model, needed where a build trains several; by default the flow's folder.",
    )
    params_file: ParamsFile = Field(
        PARAMS_FILE, alias="params-file", description="Name of the file beside the flow with its parameters."
    )
    params: dict[str, JsonValue] = Field(
        {},
        description="Values in place of those in the parameter file; keys may be nested or dotted.",
    )
    sweep: RepositoryFile | None = Field(
        None,
        description="File with the candidates to try in place of one training; by default none.",
    )
    artifacts: S3Uri = Field(
        description="Where models lie in S3; each lies below the pipeline, the model and the build's number."
    )
    unblock: Text = Field(description="Key of the block step that the end of the training unblocks.")
    queue: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,100}$")] = Field(
        HEAD_QUEUE,
        description="Batch queue and job definition of the head; the stack watches the default queue only.",
    )
    image: ImageSettings = Field(description="The images of this build.")
    environment: dict[VariableName, VariableValue] = Field(
        {},
        description="Variables of the head and of the flow's steps on Batch; never secrets.",
    )
    wandb_entity: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,128}$")] | None = Field(
        None,
        alias="wandb-entity",
        description="W&B entity, a team or a user, of the training's run; by default the one of the API key.",
    )
    tags: dict[TagKey, TagValue] = Field(
        {},
        max_length=_TAGS_LIMIT,
        description="Tags of the jobs of head and steps, at most 35, which tell their costs apart.",
    )
    resources: dict[StepName, ResourceSettings] = Field(
        {}, description="Sizes of the flow's steps in place of those in the flow, by the step's name."
    )
    aws: AwsSettings = Field(
        AwsSettings(), description="Region and identity with which the step submits the head."
    )
    include: list[Annotated[str, StringConstraints(pattern=r"^[^/]")]] = Field(
        [],
        description="Files and folders to archive beside the flow's own folder; by default the whole commit.",
    )
    allow_dirty: bool = Field(
        False,
        alias="allow-dirty",
        description="Whether the step trains on uncommitted changes and records them; otherwise it refuses.",
    )
    allow_forks: bool = Field(
        False,
        alias="allow-forks",
        description="Whether the step trains for pull requests of other repositories; otherwise it refuses.",
    )
    timeout: int = Field(
        86400, ge=60, description="Seconds that the training may run, from the start of the head."
    )
    schedule_timeout: int | None = Field(
        None,
        alias="schedule-timeout",
        ge=60,
        description="Seconds that the head or a step may wait for a machine; by default the stack's, a day.",
    )
    wait: bool = Field(
        False, description="Whether the step follows the training to its end instead of freeing the agent."
    )

    @property
    def model_name(self) -> str:
        """The name of the model, see :func:`model_name`."""
        return model_name(self.model, self.flow)


# Keys of meta-data begin with these if no model is named.
_RESERVED_NAMES = ("params", "train", "notify", "deploy", "training", "model", "wandb", "image")


def model_name(model: str | None, flow: str) -> str:
    """Option ``model``, or the name of the flow's folder, or the file's name of a flow in the root.

    Raises:
        ConfigurationError: the result is not a valid name of a model.
    """
    folder, file = posixpath.split(flow)
    name = model or posixpath.basename(folder) or file.removesuffix(".py")
    source = "option model" if model else "the folder of the flow" if folder else "the file of the flow"
    try:
        valid = TypeAdapter[str](ModelName).validate_python(name)
    except ValidationError as error:
        raise ConfigurationError(
            f"{source} is {name!r}, which is no name for a model: set option model to at most 63 letters, "
            "digits, - and _, not only digits"
        ) from error
    if model and parameter_variables(model).startswith(UNNAMED_VARIABLES):
        raise ConfigurationError(
            f"option model is {model!r}, and the variables {parameter_variables(model)}… of its parameters "
            f"begin as those of a training without a name ({UNNAMED_VARIABLES}…): choose another name"
        )
    if model in _RESERVED_NAMES:
        raise ConfigurationError(
            f"option model is {model!r}, with which keys of meta-data begin: choose another name"
        )
    return valid
