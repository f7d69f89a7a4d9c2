"""``soft_fail`` and ``retry``: the rules for a job that ended.

Source: https://buildkite.com/docs/pipelines/configure/retry
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from modelbuild_local.buildkite.pipeline.attributes.values import as_flag, as_list

ExitStatus = int | Literal["*"]
SignalReason = Literal[
    "*",
    "none",
    "agent_incompatible",
    "agent_refused",
    "agent_stop",
    "cancel",
    "process_run_error",
    "signature_rejected",
    "stack_error",
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SoftFail(_Part):
    """One rule of ``soft_fail``; ``*`` is any exit status but 0."""

    exit_status: ExitStatus = "*"


class AutomaticRetry(_Part):
    """One rule of ``retry.automatic``; all of its attributes must match."""

    exit_status: Annotated[list[ExitStatus], BeforeValidator(as_list)] | None = None
    signal: Annotated[list[str], BeforeValidator(as_list)] = ["*"]
    signal_reason: Annotated[list[SignalReason], BeforeValidator(as_list)] = ["*"]
    limit: int = Field(default=2, ge=0, le=10)

    def matches(self, exit_status: int, signal: str, signal_reason: str) -> bool:
        """Whether a job with this end matches the rule."""
        signals = {_signal_name(name) for name in self.signal}
        return (
            self._matches_status(exit_status)
            and not signals.isdisjoint(("*", _signal_name(signal or "none")))
            and not {"*", signal_reason or "none"}.isdisjoint(self.signal_reason)
        )

    def _matches_status(self, exit_status: int) -> bool:
        """``*``, the default, is 1 to 255, so not the -1 of a lost agent.

        A rule with only a signal or a reason matches any exit status: the job of a stopped or lost agent ends
        with -1.
        """
        if self.exit_status is None and (self.signal != ["*"] or self.signal_reason != ["*"]):
            return True
        statuses = self.exit_status or ["*"]
        return exit_status in statuses or ("*" in statuses and 1 <= exit_status <= 255)


class ManualRetry(_Part):
    """``retry.manual``."""

    allowed: bool = True
    # Buildkite's schema has the default true, but its page offers a retry of a passed job only if the step
    # allows it.
    permit_on_passed: bool = False
    reason: str = ""


class Retry(_Part):
    """``retry``."""

    automatic: list[AutomaticRetry] = []
    manual: ManualRetry = ManualRetry()

    @field_validator("automatic", mode="before")
    @classmethod
    def _automatic(cls, value: object) -> object:
        return as_rules(value)

    @field_validator("manual", mode="before")
    @classmethod
    def _manual(cls, value: object) -> object:
        value = as_flag(value)
        return {"allowed": value} if isinstance(value, bool) else {} if value is None else value


def as_rules(value: object) -> object:
    """A list of rules: true is one rule that always matches, false and null are none, a map is one rule."""
    value = as_flag(value)
    if value is None or isinstance(value, bool):
        return [{}] if value else []
    return [value] if isinstance(value, dict) else value


def _signal_name(name: str) -> str:
    """The signal's name in upper case and without ``SIG``, for comparisons."""
    return name.upper().removeprefix("SIG")
