"""AWS Lambda that runs its functions: moto's records of them, and a process for each invocation.

As on AWS, the image's command runs and asks the runtime API for the event. Functions of a zip have no
command of their own, and do not run here.
"""

from __future__ import annotations

import json
import logging
import subprocess
import threading
import time
import uuid
from typing import Any

from moto.awslambda.models import ImageConfig, LambdaBackend, LambdaFunction, lambda_backends
from moto.sqs.models import sqs_backends

from modelbuild_local.aws import images, process
from modelbuild_local.aws.access import control
from modelbuild_local.aws.batch.job import Job
from modelbuild_local.aws.functions.runtime_api import RuntimeApi
from modelbuild_local.aws.logs import LogStream
from modelbuild_local.aws.patching import replace

log = logging.getLogger(__name__)

# On AWS a failed invocation is repeated after one minute and after two.
RETRY_SECONDS = (1.0, 2.0)

_LOOK_AGAIN_SECONDS = 0.05
_LAST_LINES_SECONDS = 5.0

_create = LambdaFunction.create_from_cloudformation_json
_update = LambdaFunction.update_from_cloudformation_json


def install() -> None:
    """Replace moto's containers by processes; call this once, before the server answers.

    They run in the folders of Batch's machines and end with Batch's jobs.
    """
    replace(LambdaFunction, "_invoke_lambda", _invoke)
    replace(LambdaBackend, "invoke", _answer)
    replace(LambdaFunction, "create_from_cloudformation_json", classmethod(_create_of_image))
    replace(LambdaFunction, "update_from_cloudformation_json", classmethod(_update_of_image))


def invoke_later(function_arn: str, event: dict[str, Any]) -> None:
    """Invoke a function asynchronously: two retries, then the event goes to its dead-letter queue."""
    _, _, _, region, account, _, name = function_arn.split(":")[:7]
    function = lambda_backends[account][region].get_function(name)
    threading.Thread(target=_attempts, args=(function, event), daemon=True).start()


def _attempts(function: LambdaFunction, event: dict[str, Any]) -> None:
    request_id = str(uuid.uuid4())
    for wait in (0.0, *RETRY_SECONDS):
        time.sleep(wait)
        try:
            _, failed, _ = _run(function, event, request_id)
        except Exception:
            log.exception("Function %s failed inside the stand-in.", function.function_name)
            return
        if not failed:
            return
    queue = getattr(function, "dead_letter", None)
    if queue:
        _, _, _, region, account, name = queue.split(":")
        sqs_backends[account][region].send_message(name, json.dumps(event))


def _answer(
    self: LambdaBackend,
    function_name: str,
    qualifier: str | None,
    body: Any,
    headers: Any,
    response_headers: Any,
) -> str | bytes:
    """Invoke a function synchronously or asynchronously, as the request says."""
    function = self.get_function(function_name, qualifier)
    if headers.get("X-Amz-Invocation-Type") == "Event":
        invoke_later(function.function_arn, json.loads(body or "{}"))
        return ""
    payload: str | bytes = function.invoke(body, headers, response_headers)
    response_headers["Content-Length"] = str(len(payload))
    return payload


def _invoke(self: LambdaFunction, event: Any = None) -> tuple[str, bool, str]:
    return _run(self, event, str(uuid.uuid4()))


def _run(function: LambdaFunction, event: Any, request_id: str) -> tuple[str, bool, str]:
    """Run one invocation: the answer or a description of the failure, whether it failed, and no log."""
    settings = Job.machines.settings
    uri = function.code.get("ImageUri")
    if not uri:
        return _failure("Runtime.NotSupported", "only functions of an image run on this machine")
    try:
        image = images.resolve(uri, settings)
    except images.CannotPull as error:
        return _failure("CodeArtifactUserFailedException", str(error))
    seconds = float(function.timeout)
    deadline = time.time() + seconds
    body = json.dumps(event).encode()
    with (
        RuntimeApi(request_id, body, function.function_arn, deadline) as api,
        Job.machines.folder() as folder,
    ):
        entrypoint = function.image_config.entry_point or image.entrypoint
        environment = {
            **process.host_environment(settings),
            "HOME": str(folder),
            "TMPDIR": str(folder),
            **image.environment,
            **function.environment_vars,
            "AWS_LAMBDA_RUNTIME_API": api.host,
            "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
            "AWS_REGION": function.region,
            "AWS_DEFAULT_REGION": function.region,
            "AWS_ENDPOINT_URL": settings.url,
            "AWS_EC2_METADATA_DISABLED": "true",
            **control.for_function(function.role, function.function_name, function.region),
        }
        try:
            command = process.program([*entrypoint, *function.image_config.cmd], settings)
            running = process.start(command, folder / "work", environment, settings.scratch)
        except OSError as error:
            return _failure("Runtime.InvalidEntrypoint", str(error))
        try:
            return _watch(function, running, api, deadline, seconds)
        finally:
            process.sweep(running)


def _watch(
    function: LambdaFunction,
    running: subprocess.Popen[bytes],
    api: RuntimeApi,
    deadline: float,
    seconds: float,
) -> tuple[str, bool, str]:
    assert running.stdout is not None
    name = f"{time.strftime('%Y/%m/%d')}/[$LATEST]{uuid.uuid4().hex}"
    stream = LogStream(function.logs_backend, function.logs_group_name, name)
    reader = threading.Thread(target=stream.copy_from, args=(running.stdout.fileno(),), daemon=True)
    reader.start()
    while not api.answered.wait(_LOOK_AGAIN_SECONDS):
        if running.poll() is not None or time.time() > deadline:
            break
    # Lambda reuses a process for the next event; here each event has its own process.
    code = running.poll()
    process.sweep(running)
    reader.join(_LAST_LINES_SECONDS)
    if api.answered.is_set():
        return api.answer.decode(), api.failed, ""
    if code is None:
        return _failure("Sandbox.Timedout", f"Task timed out after {seconds:.2f} seconds")
    return _failure("Runtime.ExitError", f"Runtime exited with error: exit status {code}")


def _failure(kind: str, message: str) -> tuple[str, bool, str]:
    log.warning("Lambda: %s: %s", kind, message)
    return json.dumps({"errorType": kind, "errorMessage": message}), True, ""


def _create_of_image(cls: Any, *args: Any, **options: Any) -> LambdaFunction:  # noqa: ARG001
    function = _create(*args, **options)
    _complete(function, args[1] if len(args) > 1 else options["cloudformation_json"])
    return function


def _update_of_image(cls: Any, *args: Any, **options: Any) -> LambdaFunction:  # noqa: ARG001
    function = _update(*args, **options)
    _complete(function, args[2] if len(args) > 2 else options["cloudformation_json"])
    return function


def _complete(function: Any, template: dict[str, Any]) -> None:
    """Set the properties of a template that moto ignores."""
    properties = template["Properties"]
    function.package_type = properties.get("PackageType", "Zip")
    function.image_config = ImageConfig(properties.get("ImageConfig", {}))
    function.dead_letter = (properties.get("DeadLetterConfig") or {}).get("TargetArn")
    # A template's numbers are text.
    function.timeout, function.memory_size = int(function.timeout), int(function.memory_size)
