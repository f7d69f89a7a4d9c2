"""CloudWatch Logs, which hold the output of jobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from modelbuild.aws.failures import NotFound, translated
from modelbuild.contract import LOG_GROUP

if TYPE_CHECKING:
    import boto3


class Logs:
    """A client of CloudWatch Logs with one identity. Reading raises ``AwsError`` when AWS refuses."""

    def __init__(self, session: boto3.Session) -> None:
        with translated("set up a client for CloudWatch Logs"):
            self._logs = session.client("logs")
        self._read_to: dict[str, str] = {}

    def new(self, stream: str) -> Iterator[str]:
        """The lines that were written to a log since the last call; none if the log does not exist yet."""
        while True:
            token = self._read_to.get(stream)
            try:
                with translated(f"read log {stream}"):
                    page = self._page(stream, token)
            except NotFound:
                return
            self._read_to[stream] = page["nextForwardToken"]
            yield from (event["message"] for event in page["events"])
            # A page in the middle may be empty; only at the end the token does not change.
            if page["nextForwardToken"] == token:
                return

    def _page(self, stream: str, token: str | None) -> Any:
        request: Any = {"logGroupName": LOG_GROUP, "logStreamName": stream, "startFromHead": True}
        if token is not None:
            request["nextToken"] = token
        return self._logs.get_log_events(**request)
