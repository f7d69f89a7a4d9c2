"""What a training says while it runs: the steps of its flow and their output, from the head job's log."""

from __future__ import annotations

import contextlib
import re
import time
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from modelbuild.contract import LOG_GROUP
from modelbuild_local.places import State
from modelbuild_local.up.seed import data_lake

_POLL_SECONDS = 1.0
_TASK = re.compile(
    r"\S+ \S+ \[[^]/]+/(?P<step>\w+)/\d+[^]]*\] (?:\[[0-9a-f-]{36}\] ?)?(?P<said>.*)", re.DOTALL
)
"""A line of a step in what Metaflow prints: time, run, step, task, and the Batch job where there is one."""
_ABOUT_ITSELF = re.compile(
    r"Task is starting|Task finished|Setting up task environment|Downloading code package|Code package"
)


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
        """The log so far, as ``readable`` gives it; asked for at most once a second.

        It is for the eye alone: while it cannot be had, it is what it was.
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
    """What the steps of a flow print, a group to each step, without what Metaflow says about itself."""
    lines: list[str] = []
    group = ""
    for message in messages:
        match = _TASK.fullmatch(message)
        if match is None:
            continue
        if match["step"] != group:
            group = match["step"]
            lines.append(f"--- {group}")
        if match["said"].strip() and not _ABOUT_ITSELF.match(match["said"]):
            lines.append(match["said"])
    return "".join(f"{line}\n" for line in lines)
