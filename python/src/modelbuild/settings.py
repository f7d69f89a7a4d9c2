"""The options of the three plugins, as the agent hands them over: one closed model each.

``plugins/<name>/plugin.yml`` publishes the same schemas; a test holds the two together. Agents do not
validate by default, so these models are what refuses a wrong option.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails
from typing_extensions import Self

from modelbuild.contract import ATTEMPT, SCHEDULE_TIMEOUT, STEP_RESOURCES, STEP_VARIABLES, S3Uri
from modelbuild.errors import ConfigurationError

CONFIGURATION = "BUILDKITE_PLUGIN_CONFIGURATION"

RoleArn = Annotated[str, StringConstraints(pattern=r"^arn:[a-z-]+:iam::[0-9]{12}:role/.+$")]
Text = Annotated[str, StringConstraints(min_length=1)]


def _free_name(name: str) -> str:
    """Refuse the names that the product or Batch sets, and those that say they hold a secret."""
    if name in _OWN_VARIABLES or name.startswith("AWS_BATCH"):
        raise ValueError(f"{name} is set for every training and cannot be changed")
    if sounds_secret(name):
        raise ValueError(
            f"{name} sounds like a secret, and anyone who may look at the job would see it; name a "
            "secret of Secrets Manager in the job definition instead"
        )
    return name


def _free_tag(key: str) -> str:
    """Refuse the tags that AWS, Metaflow or the product set."""
    if key.lower().startswith(("aws:", "modelbuild:", "metaflow.")):
        raise ValueError("it must not begin with aws:, modelbuild: or metaflow.")
    return key


def sounds_secret(name: str) -> bool:
    """Whether a variable of this name is to be taken for a secret."""
    return name.upper().endswith(_SECRET_ENDINGS)


_OWN_VARIABLES = (
    "MODEL_ID",
    "ARTIFACTS",
    "UNBLOCK_STEP",
    STEP_VARIABLES,
    STEP_RESOURCES,
    ATTEMPT,
    SCHEDULE_TIMEOUT,
    "METAFLOW_BATCH_EMIT_TAGS",
    "METAFLOW_BATCH_DEFAULT_TAGS",
    "TRAIN_GPU_IMAGE",
    "METAFLOW_BATCH_CONTAINER_IMAGE",
    "METAFLOW_HOME",
)
_SECRET_ENDINGS = ("PASSWORD", "TOKEN", "SECRET", "API_KEY", "ACCESS_KEY", "PRIVATE_KEY")
VariableName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"), AfterValidator(_free_name)
]


StepName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
# What AWS and Metaflow both take, without the names that AWS and modelbuild keep for themselves.
TagKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9 +._:/@-]{1,128}$"), AfterValidator(_free_tag)]
TagValue = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9 +._:/@-]{1,256}$")]


class _Options(BaseModel):
    # A hook needs the options of one plugin, so the checks of the others are not built.
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_by_name=True, defer_build=True
    )


class AwsSettings(_Options):
    """Where and as whom AWS is called."""

    region: Text | None = Field(None, description="Region; by default the one of the agent's environment.")
    role_arn: RoleArn | None = Field(
        None, alias="role-arn", description="Role to assume; by default the agent's own identity is used."
    )
    role_session_name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_+=,.@-]{2,64}$")] | None = (
        Field(
            None,
            alias="role-session-name",
            description="Name of the role's session in CloudTrail; by default it leads back to the build.",
        )
    )
    # Botocore renews credentials a quarter of an hour before they end: shorter ones would never be fresh.
    role_session_duration: Annotated[int, Field(ge=1800, le=43200)] | None = Field(
        None,
        alias="role-session-duration",
        description="Seconds after which the role's credentials are renewed; by default an hour.",
    )
    oidc: bool = Field(
        False, description="Whether the role is assumed with the agent's OIDC token, not its AWS identity."
    )
    session_tags: list[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]] = Field(
        [],
        alias="session-tags",
        description="Claims of the OIDC token that become tags of the session, such as pipeline_slug.",
    )
    external_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_+=,.@:/-]{2,}$")] | None = Field(
        None, alias="external-id", description="External id that the role's trust policy asks for."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Refuse what would silently do nothing."""
        if self.role_arn is None:
            for name in ("role_session_name", "role_session_duration", "oidc", "external_id"):
                if getattr(self, name):
                    raise ValueError(f"{name.replace('_', '-')} needs role-arn, the role that is assumed")
        if self.session_tags and not self.oidc:
            raise ValueError("session-tags needs oidc: true, as they are claims of the OIDC token")
        if self.external_id and self.oidc:
            raise ValueError("external-id and oidc exclude each other: AWS takes no external id with a token")
        return self


class CopySettings(_Options):
    """The two identities of a copy from one account to another."""

    source: AwsSettings = Field(AwsSettings(), description="Reads the model in the account that trained it.")
    destination: AwsSettings = Field(
        AwsSettings(), description="Writes the model and runs the endpoint in the account that serves it."
    )


class ImageSettings(_Options):
    """The images of one build."""

    default: Text = Field(description="Image of the head and of the steps that need no GPU.")
    train_gpu: Text = Field(alias="train-gpu", description="Image of the step that trains.")
    serve: Text = Field(description="Image that serves the model.")


class ResourceSettings(_Options):
    """The size of one step of the flow; what is left out is as the flow says."""

    cpu: int | None = Field(None, ge=1, description="vCPUs.")
    memory: int | None = Field(None, ge=4, description="MiB.")
    gpu: int | None = Field(
        None, ge=0, description="GPUs; with 0 the step leaves the GPU queue and its image."
    )


class _PluginSettings(_Options):
    plugin: ClassVar[str]

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read the options of this plugin from the agent's environment.

        Raises:
            ConfigurationError: they are not there, or one of them is wrong.
        """
        text = environ.get(CONFIGURATION)
        if text is None:
            raise ConfigurationError(
                f"{CONFIGURATION} is not set: run this as the command hook of the {cls.plugin} plugin on "
                "agent 3.108 or newer, and give no option the value null"
            )
        try:
            options = json.loads(text)
        except ValueError as error:
            raise ConfigurationError(f"{CONFIGURATION} is not JSON ({error}): the agent sets it") from error
        return cls.from_options(options)

    @classmethod
    def from_options(cls, options: JsonValue) -> Self:
        """Read the options of this plugin from a step; null says that there are none.

        Raises:
            ConfigurationError: one of them is wrong.
        """
        try:
            return cls.model_validate({} if options is None else options, by_alias=True, by_name=False)
        except ValidationError as error:
            raise ConfigurationError(_sentence(cls, error.errors(include_url=False))) from error

    @classmethod
    def wrong(cls, options: JsonValue, unknown: Callable[[object], bool]) -> str | None:
        """The first thing that is wrong with options as a pipeline file has them, or None.

        Text for which ``unknown`` is true is completed later and may then have any form.
        """
        try:
            cls.model_validate({} if options is None else options, by_alias=True, by_name=False)
        except ValidationError as error:
            judged = [
                item
                for item in error.errors(include_url=False)
                if not (item["type"] in ("string_pattern_mismatch", "value_error") and unknown(item["input"]))
            ]
            return _sentence(cls, judged) if judged else None
        return None


class TrainSettings(_PluginSettings):
    """Options of the plugin ``train``."""

    plugin = "train"

    flow: Annotated[str, StringConstraints(pattern=r"^[^/].*\.py$")] = Field(
        description="The Metaflow flow to run: a Python file of the repository, from its root."
    )
    params: dict[str, JsonValue] = Field(
        {},
        description="Values in place of those in params.yaml beside the flow; keys may be nested or dotted.",
    )
    artifacts: S3Uri = Field(
        description="Where models lie in S3; each lies below the pipeline's name and the build's number."
    )
    unblock: Text = Field(description="Key of the block step that the end of the training unblocks.")
    queue: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,100}$")] = Field(
        "modelbuild-head", description="Batch queue of the head; its job definition has the same name."
    )
    image: ImageSettings = Field(description="The images of this build.")
    environment: dict[VariableName, str] = Field(
        {},
        description="Variables of the head and of the flow's steps on Batch; never secrets.",
    )
    tags: dict[TagKey, TagValue] = Field(
        {}, description="Tags of the jobs of head and steps, by which their cost can be told apart."
    )
    resources: dict[StepName, ResourceSettings] = Field(
        {}, description="Sizes of the flow's steps in place of those in the flow, by the step's name."
    )
    aws: AwsSettings = Field(AwsSettings(), description="Where and as whom the head is submitted.")
    include: list[Annotated[str, StringConstraints(pattern=r"^[^/]")]] = Field(
        [],
        description="Files and folders to archive beside the flow's own folder; by default the whole commit.",
    )
    allow_dirty: bool = Field(
        False,
        alias="allow-dirty",
        description="Whether uncommitted changes are trained on, and recorded, instead of refused.",
    )
    timeout: int = Field(
        86400, ge=60, description="Seconds that the training may run, from the start of the head."
    )
    schedule_timeout: int | None = Field(
        None,
        alias="schedule-timeout",
        ge=60,
        description="Seconds that a step of the flow may wait for a machine; by default as long as it takes.",
    )
    wait: bool = Field(
        False, description="Whether the step follows the training to its end instead of letting the agent go."
    )


class NotifySettings(_PluginSettings):
    """Options of the plugin ``notify``."""

    plugin = "notify"

    aws: AwsSettings = Field(AwsSettings(), description="Where and as whom the manifest is read.")


class DeploySettings(_PluginSettings):
    """Options of the plugin ``deploy``."""

    plugin = "deploy"

    endpoint: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$")] = Field(
        description="Name of the SageMaker endpoint, which is created when it does not exist."
    )
    artifacts: S3Uri = Field(
        description="Where served models lie in S3, in the endpoint's account; the model is copied there."
    )
    instance_type: Annotated[str, StringConstraints(pattern=r"^ml\.[a-z0-9.-]+$")] = Field(
        "ml.m5.large", alias="instance-type", description="Instance type of the endpoint."
    )
    role: RoleArn = Field(description="Execution role that SageMaker runs the model as.")
    aws: CopySettings = Field(CopySettings(), description="Where and as whom the model is read and served.")
    timeout: int = Field(3600, ge=60, description="Seconds that the endpoint may take to serve the model.")


def _sentence(model: type[_PluginSettings], errors: Sequence[ErrorDetails]) -> str:
    """The first thing that is wrong, in words that name the option, the value and what was expected."""
    # A misspelt option is also a missing one, and its own name explains both.
    first = next((item for item in errors if item["type"] == "extra_forbidden"), errors[0])
    path, kind = first["loc"], first["type"]
    if not path:
        return f"the options of the {model.plugin} plugin are {_shown(first)}: they must be a map"
    option = f"option {'.'.join(str(part) for part in path if part != '[key]')} of the {model.plugin} plugin"
    if kind == "missing":
        field = _fields_at(model, path[:-1])[str(path[-1])]
        return f"{option} is missing: {_lowered(field.description or '')}"
    if kind == "extra_forbidden":
        return f"{option} does not exist: {_suggestion(str(path[-1]), list(_fields_at(model, path[:-1])))}"
    # A variable may hold what its author should have kept secret: it is not printed.
    value = "wrong" if path[0] == "environment" else _shown(first)
    return f"{option} is {value}: {_expected(first)}"


def _expected(first: ErrorDetails) -> str:
    context = first.get("ctx", {})
    match first["type"]:
        case "string_pattern_mismatch":
            return f"it must match {context['pattern']}"
        case "string_type":
            return "it must be text; put it in quotes"
        case "string_too_short":
            return "it must not be empty"
        case "int_type":
            return "it must be a whole number"
        case "bool_type":
            return "it must be true or false"
        case "list_type":
            return "it must be a list"
        case "greater_than_equal":
            return f"it must be at least {context['ge']}"
        case "less_than_equal":
            return f"it must be at most {context['le']}"
        case "dict_type" | "model_type":
            return "it must be a map"
        case "value_error":
            return str(context["error"])
        case _:
            return _lowered(first["msg"])


def _shown(first: ErrorDetails) -> str:
    text = json.dumps(first["input"])
    return text if len(text) <= 80 else text[:77] + "..."


def _fields_at(model: type[BaseModel], path: Sequence[object]) -> dict[str, Any]:
    """The options, by the name that a user writes, at a place in a plugin's options."""
    for part in path:
        field = {info.alias or name: info for name, info in model.model_fields.items()}[str(part)]
        if field.annotation == dict[StepName, ResourceSettings]:
            return _fields_at(ResourceSettings, path[2:])
        assert isinstance(field.annotation, type), part
        model = field.annotation
    return {info.alias or name: info for name, info in model.model_fields.items()}


def _suggestion(wrong: str, names: list[str]) -> str:
    near = difflib.get_close_matches(wrong, names, n=1)
    return f"did you mean {near[0]}?" if near else f"its place takes {', '.join(names)}"


def _lowered(text: str) -> str:
    return re.sub(r"^[A-Z](?=[a-z ])", lambda match: match[0].lower(), text).rstrip(".")
