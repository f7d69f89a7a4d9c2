"""The runtime of our function, against Lambda's runtime API as the stand-in has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time

import pytest

from modelbuild.aws import function
from modelbuild.errors import ConfigurationError
from modelbuild_local.aws.functions.runtime_api import RuntimeApi

_PROGRAM = """
from modelbuild.aws import function
from modelbuild.errors import AwsError

def handler(event, context):
    if event == "refuse":
        raise AwsError("S3 is away")
    if event == "break":
        raise RuntimeError("with hunter2")
    return {"event": event, "id": context.aws_request_id, "left": context.get_remaining_time_in_millis()}

function.serve(handler)
"""


def answered(event: str) -> tuple[bool, bytes]:
    """Whether the invocation failed, and what was answered; nothing where the process ended instead."""
    with RuntimeApi("r-1", json.dumps(event).encode(), "arn", time.time() + 600) as api:
        environ = {**os.environ, "AWS_LAMBDA_RUNTIME_API": api.host}
        command = [sys.executable, "-c", textwrap.dedent(_PROGRAM)]
        with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as process:
            while not api.answered.wait(0.05) and process.poll() is None:
                pass
            process.kill()
        return api.failed or not api.answered.is_set(), api.answer


def test_answer_is_the_handlers_and_the_context_has_the_time_left() -> None:
    """The handler gets the event, the invocation's id and how long it may take."""
    failed, answer = answered("hello")
    message = json.loads(answer)
    assert not failed
    assert (message["event"], message["id"]) == ("hello", "r-1")
    assert 500_000 < message["left"] <= 600_000


@pytest.mark.parametrize(
    ("event", "answer"), [("refuse", "S3 is away"), ("break", "a defect of modelbuild: RuntimeError at ")]
)
def test_failure_of_the_handler_fails_the_invocation(event: str, answer: str) -> None:
    """Lambda must try again: after an error with its reason, and after a defect, whose text is not shown."""
    failed, message = answered(event)
    assert failed
    assert json.loads(message)["errorMessage"].startswith(answer)
    assert "hunter2" not in message.decode()


def test_outside_of_lambda_is_a_sentence() -> None:
    """``modelbuild ended`` outside of Lambda says why it does nothing."""
    with pytest.raises(ConfigurationError, match="AWS_LAMBDA_RUNTIME_API is not set"):
        function.serve(lambda event, context: (event, context), {})
