"""The lines that Metaflow prints while a flow runs: only this module knows their format and phrases. Metaflow
puts run, step, task and, for a Batch job, the job's id before each line that a task prints. So a task
controls the text of its lines, but not the prefix.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# 2026-01-31 12:00:00.123 [<run>/<step>/<task> (pid 42)] [<Batch job>] text
_TASK_LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ "
    r"\[[^/\]]+/(?P<step>\w+)/(?P<task_id>[^/\]\s]+)(?: \(pid \d+\))?\] ?"
    r"(?:\[(?P<job_id>[0-9a-f-]{36})\] ?)?(?P<text>.*)",
    re.DOTALL,
)
_FAILED_TASK = re.compile(r"\s*Step (?P<step>\w+) \(task-id (?P<task_id>[^/()\s]+)\) failed\b")

_START = re.compile(
    r"Task is starting(?: \(retry\))?\.|Task is starting \(status (?P<status>\w+)\)\.\.\..*", re.DOTALL
)
_PROGRESS = re.compile(
    rf"{_START.pattern}"
    r"|Task fallback is starting to handle the failure\."
    r"|Setting up task environment\."
    r"|Downloading code package\.\.\."
    r"|Code package downloaded\."
    r"|Foreach yields \d+ child steps\."
    r"|Task finished (?:successfully|with exit code \w+)\."
    r"|\[save_logs\] upload_.*"
)
_FAILURE = re.compile(r"Task failed\.|Internal error|<flow \w+(?: step \w+(?:\[.*)?)?> failed:")
_EXPLANATION = re.compile(
    r"(?:AWS Batch error|AWS Batch job error|AWS Batch task killed|Data store error|Step failure):"
)


@dataclass(frozen=True)
class TaskLine:
    """A line that a task printed, or that Metaflow printed about a task.

    Attributes:
        step: the name of the task's step.
        task_id: the id of the task in its run.
        job_id: the task's Batch job; empty if the line is not of a job.
        text: the line without Metaflow's prefix.
    """

    step: str
    task_id: str
    job_id: str
    text: str

    @property
    def starts(self) -> bool:
        """Whether this line of Metaflow reports that the task begins, or that its Batch job waits or runs."""
        return _START.fullmatch(self.text.strip()) is not None

    @property
    def waits(self) -> bool:
        """Whether this line of Metaflow reports that the task's Batch job has no machine yet."""
        match = _START.fullmatch(self.text.strip())
        return match is not None and match["status"] in ("SUBMITTED", "PENDING", "RUNNABLE")

    @property
    def starts_job(self) -> bool:
        """Whether this line of Metaflow reports that the task's Batch job is submitted, waits or runs."""
        return self.job_id != "" and self.text.startswith("Task is starting")


@dataclass(frozen=True)
class FailedTask:
    """The failed task that ended the run."""

    step: str
    task_id: str


def parse_task_line(line: str) -> TaskLine | None:
    """Parse a line without its line end as a line of a task; None if it has no task's prefix."""
    match = _TASK_LINE.fullmatch(line)
    if match is None:
        return None
    return TaskLine(match["step"], match["task_id"], match["job_id"] or "", match["text"])


def parse_failed_task(line: str) -> FailedTask | None:
    """The failed task, if this line names one."""
    match = _FAILED_TASK.match(line)
    return None if match is None else FailedTask(match["step"], match["task_id"])


def is_progress(text: str) -> bool:
    """Whether the text of a task's line is Metaflow's own and reports its progress."""
    return _PROGRESS.fullmatch(text.strip()) is not None


def is_failure(text: str) -> bool:
    """Whether the text of a task's line is Metaflow's own and only reports that the task failed."""
    return _FAILURE.fullmatch(text.strip()) is not None


def is_explanation(text: str) -> bool:
    """Whether the text of a task's line begins Metaflow's own explanation of the failure."""
    return _EXPLANATION.fullmatch(text.strip()) is not None
