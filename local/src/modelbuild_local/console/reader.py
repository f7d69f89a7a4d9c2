"""Reads the data of the pages from AWS's API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from botocore.exceptions import ClientError

from modelbuild_local.up.seed import data_lake, production

LOG_EVENTS = 2000
"""How many of the last lines of a log a page shows."""

# Batch's own log group, for definitions that name none.
_DEFAULT_GROUP = "/aws/batch/job"
_LISTED = 50
_SHOWN_BYTES = 64 * 1024
_CHUNK_BYTES = 1 << 20


class Absent(Exception):
    """The resource of a page does not exist."""


@dataclass(frozen=True)
class Job:
    """A Batch job; times are in UTC, and None before they are reached."""

    id: str
    name: str
    status: str
    reason: str
    exit_code: int | None
    created: datetime | None
    started: datetime | None
    stopped: datetime | None
    log_group: str
    log_stream: str

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.status in ("SUCCEEDED", "FAILED")


@dataclass(frozen=True)
class StoredObject:
    """An object in S3; ``text`` is its content if that is a short text."""

    bucket: str
    key: str
    size: int
    modified: datetime
    metadata: Mapping[str, str]
    text: str


class Reader:
    """Clients of the AWS stand-in at ``url``, with the data lake's identity and a role in production."""

    def __init__(self, url: str, key_id: str, secret: str) -> None:
        self._url = url
        self._lake = data_lake(key_id, secret)
        self._batch, self._logs, self._s3 = (self._client(name) for name in ("batch", "logs", "s3"))

    def _client(self, service: str) -> Any:
        lake: Any = self._lake
        return lake.client(service, endpoint_url=self._url)

    def jobs(self) -> list[Job]:
        """The newest jobs of all queues, the newest first."""
        queues = self._batch.describe_job_queues()["jobQueues"]
        everything = {"name": "AFTER_CREATED_AT", "values": ["0"]}
        ids = [
            (found["createdAt"], found["jobId"])
            for queue in queues
            for found in self._batch.list_jobs(jobQueue=queue["jobQueueName"], filters=[everything])[
                "jobSummaryList"
            ]
        ]
        newest = [id for _, id in sorted(ids, reverse=True)[:_LISTED]]
        if not newest:
            return []
        found = {job["jobId"]: _job(job) for job in self._batch.describe_jobs(jobs=newest)["jobs"]}
        return [found[id] for id in newest if id in found]

    def job(self, id: str) -> Job:
        """A job. Raises ``Absent``."""
        found = self._batch.describe_jobs(jobs=[id])["jobs"]
        if not found:
            raise Absent(f"No Batch job '{id}'")
        return _job(found[0])

    def log(self, group: str, stream: str) -> list[str]:
        """The last lines of a log stream. Raises ``Absent``."""
        try:
            answer = self._logs.get_log_events(
                logGroupName=group, logStreamName=stream, startFromHead=False, limit=LOG_EVENTS
            )
        except self._logs.exceptions.ResourceNotFoundException:
            raise Absent(f"No log stream '{stream}' in group '{group}'") from None
        return [event["message"] for event in answer["events"]]

    def streams(self, group: str, prefix: str) -> list[str]:
        """The names of the newest streams of a log group that begin with ``prefix``. Raises ``Absent``."""
        named = {"logStreamNamePrefix": prefix} if prefix else {}
        try:
            pages = self._logs.get_paginator("describe_log_streams").paginate(logGroupName=group, **named)
            found = [stream for page in pages for stream in page["logStreams"]]
        except self._logs.exceptions.ResourceNotFoundException:
            raise Absent(f"No log group '{group}'") from None
        newest = sorted(found, key=lambda stream: stream.get("creationTime", 0), reverse=True)
        return [stream["logStreamName"] for stream in newest[:_LISTED]]

    def stored_object(self, bucket: str, key: str) -> StoredObject:
        """An object. Raises ``Absent``."""
        answer = self._get(bucket, key)
        size = answer["ContentLength"]
        content = answer["Body"].read() if size <= _SHOWN_BYTES else b""
        answer["Body"].close()
        return StoredObject(
            bucket, key, size, answer["LastModified"], answer.get("Metadata", {}), _text(content)
        )

    def content(self, bucket: str, key: str) -> Iterator[bytes]:
        """The bytes of an object. Raises ``Absent``."""
        body = self._get(bucket, key)["Body"]
        return iter(body.iter_chunks(_CHUNK_BYTES))

    def _get(self, bucket: str, key: str) -> Any:
        try:
            return self._s3.get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            raise Absent(f"s3://{bucket}/{key}: {error.response['Error'].get('Message', error)}") from None

    def endpoint(self, name: str) -> Mapping[str, object]:
        """The properties of a SageMaker endpoint of the production account. Raises ``Absent``."""
        client: Any = production(self._url, self._lake).client("sagemaker", endpoint_url=self._url)
        try:
            found = client.describe_endpoint(EndpointName=name)
        except ClientError as error:
            raise Absent(f"Endpoint '{name}': {error.response['Error'].get('Message', error)}") from None
        variants = ", ".join(
            f"{variant['VariantName']} with {variant.get('CurrentInstanceCount', '?')} instances"
            for variant in found.get("ProductionVariants", [])
        )
        return {
            "Status": found["EndpointStatus"],
            "Reason": found.get("FailureReason", ""),
            "Configuration": found["EndpointConfigName"],
            "Variants": variants,
            "Created": f"{found['CreationTime']:%Y-%m-%d %H:%M:%S}",
            "Changed": f"{found['LastModifiedTime']:%Y-%m-%d %H:%M:%S}",
        }


def _job(description: Mapping[str, Any]) -> Job:
    container = description.get("container", {})
    log = container.get("logConfiguration", {})
    attempts = [attempt.get("container", {}).get("reason", "") for attempt in description.get("attempts", [])]
    reasons = [description.get("statusReason", ""), container.get("reason", ""), *attempts[-1:]]
    return Job(
        id=description["jobId"],
        name=description["jobName"],
        status=description["status"],
        reason="; ".join(dict.fromkeys(reason for reason in reasons if reason)),
        exit_code=container.get("exitCode"),
        created=_time(description.get("createdAt")),
        started=_time(description.get("startedAt")),
        stopped=_time(description.get("stoppedAt")),
        log_group=log.get("options", {}).get("awslogs-group", _DEFAULT_GROUP),
        log_stream=container.get("logStreamName", ""),
    )


def _time(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc) if milliseconds else None


def _text(content: bytes) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return ""
    return "" if "\0" in text else text
