"""Addresses of pages in the AWS console, which people open from the build page.

``MODELBUILD_CONSOLE_URL`` names another console, such as ``https://console.amazonaws.cn`` or one behind a
company's sign-in portal. Its paths, queries and fragments must be the same.
"""

from __future__ import annotations

import os
from urllib.parse import quote, urlsplit

from modelbuild.contract import LOG_GROUP, split_s3_uri

CONSOLE_URL = "MODELBUILD_CONSOLE_URL"
"""The variable with the address of the console."""


def inherited() -> dict[str, str]:
    """The variables of this process that a job needs, so that its links lead to the same console."""
    return {CONSOLE_URL: named} if (named := os.environ.get(CONSOLE_URL, "")) else {}


def job_url(region: str, job_id: str) -> str:
    """The page of a Batch job."""
    return f"{_console(region)}/batch/home?region={region}#jobs/detail/{job_id}"


def logs_url(region: str, log_stream: str, definition: str) -> str:
    """The log of a Batch job, or the logs of its definition before the job has one."""

    def encode(text: str) -> str:
        return quote(quote(text, safe=""), safe="").replace("%", "$")

    name = definition.rsplit("/", 1)[-1].split(":", 1)[0]
    end = f"/log-events/{encode(log_stream)}" if log_stream else f"$3FlogStreamNameFilter$3D{encode(name)}"
    page = f"{_console(region)}/cloudwatch/home?region={region}"
    return f"{page}#logsV2:log-groups/log-group/{encode(LOG_GROUP)}{end}"


def object_url(uri: str) -> str:
    """The page of an object in S3."""
    bucket, key = split_s3_uri(uri)
    return f"{_console()}/s3/object/{bucket}?prefix={quote(key, safe='')}"


def endpoint_url(region: str, name: str) -> str:
    """The page of a SageMaker endpoint."""
    return f"{_console(region)}/sagemaker/home?region={region}#/endpoints/{quote(name, safe='')}"


def _console(region: str = "") -> str:
    """The address of the console, without a slash at the end."""
    named = os.environ.get(CONSOLE_URL, "").strip().rstrip("/")
    try:
        scheme = urlsplit(named).scheme
    except ValueError:
        scheme = ""
    if scheme in ("http", "https"):
        return named
    return f"https://{region}{'.' if region else ''}console.aws.amazon.com"
