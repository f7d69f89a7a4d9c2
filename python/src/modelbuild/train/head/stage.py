"""Where the flow of a training is, from the lines that it prints."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone

from modelbuild.log import events, metaflow_lines

_LONGEST_TEXT = 500


@dataclass(frozen=True)
class Stage:
    """Where a flow is.

    Attributes:
        step: the step whose task began last.
        waits: whether its job has no machine yet.
        since: when that began, in UTC.
        measured: what the flow measured last, as a sentence; empty if nothing yet.
        sweep: how far a sweep is, as a sentence; empty for one training.
    """

    step: str = ""
    waits: bool = False
    since: str = ""
    measured: str = ""
    sweep: str = ""

    def after(self, line: str) -> Stage:
        """Where the flow is after it printed a line."""
        task = metaflow_lines.parse_task_line(line)
        if task is None:
            return self
        event = events.parse_event(task.text)
        if event is not None and event.name == events.TRAINING_PROGRESS:
            return replace(self, measured=event.text[:_LONGEST_TEXT])
        if not task.starts:
            return self
        if (self.step, self.waits) == (task.step, task.waits):
            return self
        now = datetime.now(timezone.utc).strftime("%H:%M:%S")
        return replace(self, step=task.step, waits=task.waits, since=now)
