"""The model of a pipeline: its steps and their attributes, in the form that the rest of this package uses."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    field_validator,
    model_validator,
)

from modelbuild.formats.pipeline_rules import FIELD_KEY_PATTERN
from modelbuild_local.buildkite.pipeline.attributes.matrix import Matrix
from modelbuild_local.buildkite.pipeline.attributes.patterns import PatternError, check_format
from modelbuild_local.buildkite.pipeline.attributes.retry import Retry, SoftFail, as_rules
from modelbuild_local.buildkite.pipeline.attributes.values import (
    AgentTags,
    Branches,
    Dependencies,
    Env,
    Lines,
    Plugins,
    Skip,
    Text,
    as_list,
)

MAX_STEPS_PER_UPLOAD = 500

# Both as in the public schema of pipelines, https://github.com/buildkite/pipeline-schema.
_KEY = re.compile(r"[A-Za-z0-9_\-:.,]+")
_MAX_KEY_CHARACTERS = 100
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DependencyRule(_Part):
    """One entry of ``depends_on``."""

    step: str
    allow_failure: bool = False


class SelectOption(_Part):
    """One option of a select field."""

    label: Text
    value: Text
    hint: str = ""
    required: bool = False


class InputField(_Part):
    """One field of a block or input step: a text field, or a select field, which has ``options``."""

    key: str = Field(pattern=FIELD_KEY_PATTERN)
    text: str | None = None
    select: str | None = None
    hint: str = ""
    required: bool = True
    default: Annotated[list[Text], BeforeValidator(as_list)] | None = None
    format: str | None = None
    options: list[SelectOption] = []
    multiple: bool = False

    @field_validator("format")
    @classmethod
    def _format(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                check_format(pattern)
            except PatternError as error:
                raise ValueError(str(error)) from None
        return pattern

    @model_validator(mode="after")
    def _text_or_select(self) -> InputField:
        if (self.text is None) == (self.select is None):
            raise ValueError("a field needs either 'text' or 'select', its label")
        if self.select is not None and not self.options:
            raise ValueError("a field with 'select' needs 'options'")
        if self.text is not None and self.options:
            raise ValueError("'options' are for fields with 'select'")
        return self

    @property
    def title(self) -> str:
        """The label of the field."""
        return self.text or self.select or self.key

    @property
    def default_value(self) -> str | None:
        """The default in the form of meta-data: several values one per line."""
        return None if self.default is None else "\n".join(self.default)


class _Step(_Part):
    key: str | None = None
    label: str = ""
    depends_on: Annotated[list[DependencyRule] | None, Dependencies] = None
    allow_dependency_failure: bool = False
    notify: JsonValue = None
    condition: Text = Field(default="", alias="if")
    skip: Skip = ""

    @field_validator("key")
    @classmethod
    def _key(cls, key: str | None) -> str | None:
        if key is None:
            return None
        if _UUID.fullmatch(key):
            raise ValueError("a key must not look like a UUID")
        if _KEY.fullmatch(key) is None or len(key) > _MAX_KEY_CHARACTERS:
            raise ValueError("a key has 1 to 100 letters of a-z and A-Z, digits, and characters of '-_:.,'")
        return key


class _BranchStep(_Step):
    branches: Branches = ""

    @model_validator(mode="after")
    def _if_or_branches(self) -> _BranchStep:
        if self.condition and self.branches:
            raise ValueError("'if' and 'branches' cannot be used at the same time")
        return self


class CommandStep(_BranchStep):
    """A step that an agent runs, as one job or as several."""

    type: Literal["command"] = "command"
    command: Lines = ""
    env: Env = {}
    plugins: Plugins = []
    agents: AgentTags = {}
    artifact_paths: Lines = ""
    timeout_in_minutes: Annotated[int, Field(ge=1)] | None = None
    retry: Retry = Retry()
    soft_fail: list[SoftFail] = []
    priority: int | None = None
    concurrency: Annotated[int, Field(ge=1)] | None = None
    concurrency_group: str | None = Field(default=None, max_length=200)
    concurrency_method: Literal["ordered", "eager"] = "ordered"
    cancel_on_build_failing: bool = False
    parallelism: Annotated[int, Field(ge=1)] | None = None
    matrix: Matrix | None = None
    image: str = ""

    @field_validator("soft_fail", mode="before")
    @classmethod
    def _soft_fail(cls, value: object) -> object:
        return as_rules(value)

    @model_validator(mode="after")
    def _pairs(self) -> CommandStep:
        if self.matrix is not None and self.parallelism is not None:
            raise ValueError("'matrix' and 'parallelism' cannot be used on the same step")
        if (self.concurrency is None) != (self.concurrency_group is None):
            raise ValueError("'concurrency' and 'concurrency_group' need each other")
        return self


class WaitStep(_BranchStep):
    """A step that waits for everything before it."""

    type: Literal["wait"] = "wait"
    continue_on_failure: bool = False


class ManualStep(_BranchStep):
    """A block step (later steps depend on it) or an input step; ``submit`` is its button's label."""

    type: Literal["block", "input"]
    prompt: str = ""
    submit: str = ""
    fields: list[InputField] = []
    blocked_state: Literal["passed", "failed", "running"] = "passed"
    allowed_teams: Annotated[list[Text], BeforeValidator(as_list)] = []


class GroupStep(_Step):
    """A named set of steps."""

    type: Literal["group"] = "group"
    steps: list[AnyStep] = Field(min_length=1)


AnyStep = Annotated[CommandStep | WaitStep | ManualStep | GroupStep, Field(discriminator="type")]
GroupStep.model_rebuild()


class Pipeline(_Part):
    """A parsed pipeline; its other attributes are defaults of its command steps."""

    # Buildkite ignores other keys, which may hold YAML anchors.
    model_config = ConfigDict(extra="ignore")

    steps: list[AnyStep] = Field(min_length=1, max_length=MAX_STEPS_PER_UPLOAD)
    env: Env = {}
    agents: AgentTags = {}
    notify: JsonValue = None
    priority: int = 0
    image: str = ""
