"""The runtime of a Lambda function in an image: takes events from Lambda and answers them one by one.

Lambda starts the image's command once and speaks HTTP with it under ``AWS_LAMBDA_RUNTIME_API``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import urllib3

from modelbuild import log
from modelbuild.errors import ConfigurationError, describe

_VERSION = "2018-06-01"


@dataclass(frozen=True)
class Context:
    """What a handler knows about its invocation.

    Attributes:
        aws_request_id: the invocation's id; the same in each attempt at one event.
        deadline: when Lambda ends the invocation, in seconds since 1970.
    """

    aws_request_id: str
    deadline: float

    def get_remaining_time_in_millis(self) -> int:
        """The remaining milliseconds; the name is that of Lambda's own runtimes."""
        return max(0, int((self.deadline - time.time()) * 1000))


Handler = Callable[[Any, Context], Any]


def serve(handler: Handler, environ: Mapping[str, str] = os.environ) -> None:
    """Answer invocations for as long as Lambda lets this process live.

    If the handler raises an exception, the runtime reports it to Lambda with the text of
    :func:`modelbuild.errors.describe`, and Lambda retries the invocation.

    Raises:
        ConfigurationError: this is no Lambda function.
    """
    host = environ.get("AWS_LAMBDA_RUNTIME_API")
    if not host:
        raise ConfigurationError(
            "AWS_LAMBDA_RUNTIME_API is not set: this command runs inside the function of infra/training.yaml"
        )
    invocations = f"http://{host}/{_VERSION}/runtime/invocation"
    # Lambda answers when there is an event, perhaps after hours.
    http = urllib3.PoolManager(timeout=None, retries=False)
    while True:
        invocation = http.request("GET", f"{invocations}/next")
        if invocation.status != 200:
            return
        context = Context(
            invocation.headers["Lambda-Runtime-Aws-Request-Id"],
            int(invocation.headers["Lambda-Runtime-Deadline-Ms"]) / 1000,
        )
        own = f"{invocations}/{context.aws_request_id}"
        try:
            answer = handler(json.loads(invocation.data), context)
        except Exception as error:  # noqa: BLE001 - Lambda must get every error
            log.fail(error)
            message = log.redact(describe(error))
            failure = {"errorMessage": message, "errorType": type(error).__name__, "stackTrace": []}
            http.request("POST", f"{own}/error", body=json.dumps(failure).encode())
        else:
            http.request("POST", f"{own}/response", body=json.dumps(answer).encode())
