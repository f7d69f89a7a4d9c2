"""How an attempt of a job ended."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """How one attempt ended.

    Attributes:
        exit_code: Exit code of the container; None where it never started.
        reason: The container's reason, if it has one.
        status_reason: The job's reason.
        final: Whether no further attempt is allowed.
    """

    exit_code: int | None
    reason: str | None
    status_reason: str
    final: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether the attempt succeeded."""
        return self.exit_code == 0 and not self.final

    def described(self, log_stream: str | None, started_at: datetime) -> dict[str, Any]:
        """The attempt that ends now, as DescribeJobs shows it.

        Args:
            log_stream: its log; None or empty where its container never started.
            started_at: when it got a machine.
        """
        details: dict[str, Any] = {"networkInterfaces": []}
        if log_stream:
            details["logStreamName"] = log_stream
        if self.exit_code is not None:
            details["exitCode"] = self.exit_code
        if self.reason:
            details["reason"] = self.reason
        return {
            "container": details,
            "startedAt": int(started_at.timestamp() * 1000),
            "stoppedAt": int(time.time() * 1000),
            "statusReason": self.status_reason,
        }
