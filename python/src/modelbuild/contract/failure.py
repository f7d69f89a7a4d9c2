"""Why the flow of a training failed, for people."""

from __future__ import annotations

from pydantic import Field

from modelbuild.contract.record import Record, Text


class Failure(Record):
    """What the head saw of a flow that failed (``failure.json``), beside the result, for people only."""

    reason: Text
    """The step, the exception, and file and line of the user's code: with it the result's reason begins."""
    step: Text = ""
    """The step of the flow that failed; empty if the flow ended before a step failed."""
    log: tuple[Text, ...] = Field(default=(), max_length=100)
    """The last lines that the step printed, without secrets; they may hold control sequences."""

    def explains(self, reason: str) -> bool:
        """Whether a result with this reason is about this failure."""
        return bool(self.reason) and reason.startswith(self.reason.removesuffix("…"))
