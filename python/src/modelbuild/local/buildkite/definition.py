"""What a pipeline may say: its steps and their attributes, in the one form the rest of this room uses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    field_validator,
)

MAX_STEPS_PER_UPLOAD = 500

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PLUGIN_SHORT_NAME = re.compile(r"(?:(?P<owner>[\w.-]+)/)?(?P<name>[\w-]+)(?P<version>#.*)?", re.ASCII)


def _as_text(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else value


def _as_env(value: object) -> object:
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return {str(key): "" if item is None else item for key, item in value.items()}
    return value


def _as_lines(value: object) -> object:
    if value is None:
        return ""
    return "\n".join(str(line) for line in value) if isinstance(value, list) else value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, (str, int)) else value


def _as_dependencies(value: object) -> object:
    if value is None:
        return []
    if isinstance(value, (str, Mapping)):
        value = [value]
    if isinstance(value, list):
        return [{"step": item} if isinstance(item, str) else item for item in value]
    return value


def canonical_plugin(source: str) -> str:
    """The full form of a plugin reference: ``docker#v5`` is one of Buildkite's own on GitHub."""
    match = _PLUGIN_SHORT_NAME.fullmatch(source)
    if match is None or source.startswith("."):
        return source
    owner = match["owner"] or "buildkite-plugins"
    return f"https://github.com/{owner}/{match['name']}-buildkite-plugin{match['version'] or ''}"


def _as_plugins(value: object) -> object:
    if value is None:
        return []
    items = [{name: options} for name, options in value.items()] if isinstance(value, Mapping) else value
    if not isinstance(items, list):
        raise ValueError("plugins must be a list")
    return [_as_plugin(item) for item in items]


def _as_plugin(item: object) -> dict[str, object]:
    plugin = {item: None} if isinstance(item, str) else item
    if not isinstance(plugin, Mapping) or len(plugin) != 1:
        raise ValueError("each plugin must be a reference, or a map of one reference to its configuration")
    return {canonical_plugin(str(source)): options for source, options in plugin.items()}


def _as_agents(value: object) -> object:
    if value is None:
        return {}
    if isinstance(value, list):
        pairs = [str(item).partition("=") for item in value]
        return {name: tag if separator else "true" for name, separator, tag in pairs}
    return value


Text = Annotated[str, BeforeValidator(_as_text)]
Env = Annotated[dict[str, Text], BeforeValidator(_as_env)]
Lines = Annotated[str, BeforeValidator(_as_lines)]
Plugins = Annotated[list[dict[str, JsonValue]], BeforeValidator(_as_plugins)]
AgentTags = Annotated[dict[str, Text], BeforeValidator(_as_agents)]
ExitStatus = int | Literal["*"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class DependencyRule(_Part):
    """One entry of ``depends_on``."""

    step: str
    allow_failure: bool = False


class SoftFail(_Part):
    """One rule of ``soft_fail``."""

    exit_status: ExitStatus = "*"


class AutomaticRetry(_Part):
    """One rule of ``retry.automatic``."""

    exit_status: Annotated[list[ExitStatus], BeforeValidator(_as_list)] = ["*"]
    signal: str = "*"
    signal_reason: str = "*"
    limit: int = Field(default=2, ge=1, le=10)

    def matches(self, exit_status: int, signal: str, signal_reason: str) -> bool:
        """Whether a job that ended like this falls under the rule."""
        return (
            ("*" in self.exit_status or exit_status in self.exit_status)
            and _signal_name(self.signal) in ("*", _signal_name(signal))
            and self.signal_reason in ("*", signal_reason or "none")
        )


class ManualRetry(_Part):
    """``retry.manual``."""

    allowed: bool = True
    # Buildkite's schema says true; its page offers no retry of what passed unless the step asks for it.
    permit_on_passed: bool = False
    reason: str = ""


class Retry(_Part):
    """``retry``."""

    automatic: list[AutomaticRetry] = []
    manual: ManualRetry = ManualRetry()

    @field_validator("automatic", mode="before")
    @classmethod
    def _automatic(cls, value: object) -> object:
        if isinstance(value, bool):
            return [{}] if value else []
        return [value] if isinstance(value, Mapping) else value

    @field_validator("manual", mode="before")
    @classmethod
    def _manual(cls, value: object) -> object:
        return {"allowed": value} if isinstance(value, bool) else value


class SelectOption(_Part):
    """One option of a select field."""

    label: Text
    value: Text
    hint: str = ""
    required: bool = False


class InputField(_Part):
    """One field of a block or input step: a text field, or a select field where ``options`` is not empty."""

    key: str = Field(pattern=r"^[A-Za-z0-9/_\-]+$")
    text: str | None = None
    select: str | None = None
    hint: str = ""
    required: bool = True
    default: Annotated[list[Text], BeforeValidator(_as_list)] | None = None
    format: str | None = None
    options: list[SelectOption] = []
    multiple: bool = False

    @property
    def title(self) -> str:
        """What a person reads beside the field."""
        return self.text or self.select or self.key

    @property
    def default_value(self) -> str | None:
        """The default as meta-data holds it: several values one a line."""
        return None if self.default is None else "\n".join(self.default)


class _Step(_Part):
    key: str | None = None
    label: str = ""
    depends_on: Annotated[list[DependencyRule], BeforeValidator(_as_dependencies)] | None = None
    allow_dependency_failure: bool = False
    notify: JsonValue = None

    @field_validator("key")
    @classmethod
    def _key(cls, key: str | None) -> str | None:
        if key is not None and _UUID.fullmatch(key):
            raise ValueError("a key must not look like a UUID")
        return key


class CommandStep(_Step):
    """A step that an agent runs."""

    type: Literal["command"] = "command"
    command: Lines = ""
    env: Env = {}
    plugins: Plugins = []
    agents: AgentTags = {}
    artifact_paths: Lines = ""
    timeout_in_minutes: Annotated[int, Field(ge=1)] | None = None
    retry: Retry = Retry()
    soft_fail: list[SoftFail] = []
    priority: int = 0
    concurrency: Annotated[int, Field(ge=1)] | None = None
    concurrency_group: str | None = Field(default=None, max_length=200)

    @field_validator("soft_fail", mode="before")
    @classmethod
    def _soft_fail(cls, value: object) -> object:
        if isinstance(value, bool):
            return [{}] if value else []
        return value

    @field_validator("retry", mode="before")
    @classmethod
    def _retry(cls, value: object) -> object:
        return {} if value is None else value


class WaitStep(_Step):
    """A step that waits for everything before it."""

    type: Literal["wait"] = "wait"
    continue_on_failure: bool = False


class ManualStep(_Step):
    """A block step (later steps depend on it) or an input step (they do not)."""

    type: Literal["block", "input"]
    prompt: str = ""
    fields: list[InputField] = []
    blocked_state: Literal["passed", "failed", "running"] = "passed"
    allowed_teams: JsonValue = None


class GroupStep(_Step):
    """A named set of steps."""

    type: Literal["group"] = "group"
    steps: list[AnyStep] = Field(min_length=1)


AnyStep = Annotated[CommandStep | WaitStep | ManualStep | GroupStep, Field(discriminator="type")]
GroupStep.model_rebuild()


class Pipeline(_Part):
    """A parsed pipeline."""

    steps: list[AnyStep] = Field(min_length=1, max_length=MAX_STEPS_PER_UPLOAD)
    env: Env = {}
    agents: AgentTags = {}
    notify: JsonValue = None


def _signal_name(name: str) -> str:
    return name.upper().removeprefix("SIG")
