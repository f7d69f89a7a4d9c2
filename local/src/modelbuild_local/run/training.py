"""Shows a running training: the steps of its flow and their output, from the head job's log."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from modelbuild import text
from modelbuild.contract import LOG_GROUP
from modelbuild.log import metaflow_lines
from modelbuild_local.laptop import State
from modelbuild_local.up.seed import data_lake

_POLL_SECONDS = 1.0


class Training:
    """Follows the log of one head job at the AWS stand-in."""

    def __init__(self, state: State, job_id: str) -> None:
        lake: Any = data_lake(state.aws_key_id, state.aws_secret)
        self._batch = lake.client("batch", endpoint_url=state.aws_url)
        self._logs = lake.client("logs", endpoint_url=state.aws_url)
        self._job_id = job_id
        self._stream = ""
        self._token: dict[str, str] = {}
        self._next = 0.0
        self._messages: list[str] = []

    def log(self) -> str:
        """The log so far in the form of ``readable``, read at most once a second.

        No program depends on it, so if reading fails, this returns the previous log.
        """
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _POLL_SECONDS
            with contextlib.suppress(BotoCoreError, ClientError):
                self._read()
        return readable(self._messages)

    def _read(self) -> None:
        if not self._stream:
            found = self._batch.describe_jobs(jobs=[self._job_id])["jobs"]
            self._stream = found[0]["container"].get("logStreamName", "") if found else ""
            if not self._stream:
                return
        answer = self._logs.get_log_events(
            logGroupName=LOG_GROUP, logStreamName=self._stream, startFromHead=True, **self._token
        )
        self._messages += [event["message"] for event in answer["events"]]
        self._token = {"nextToken": answer["nextForwardToken"]}


def readable(messages: list[str]) -> str:
    """The output of a flow's steps, in a group for each step, without Metaflow's progress lines.

    No line of a step can begin a group.
    """
    lines: list[str] = []
    group = ""
    for message in messages:
        task = metaflow_lines.parse_task_line(message)
        if task is None:
            continue
        if task.step != group:
            group = task.step
            lines.append(f"--- {group}")
        # Only the last state of a progress bar is shown.
        shown = text.one_line(task.text.rpartition("\r")[2])
        if shown and not metaflow_lines.is_progress(shown):
            lines.append(shown)
    return "".join(f"{line}\n" for line in lines)
