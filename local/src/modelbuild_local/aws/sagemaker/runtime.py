"""InvokeEndpoint: passes the calls of an endpoint to the process of one of its variants."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import unquote

from moto.sagemaker.models import sagemaker_backends

from modelbuild_local.aws.sagemaker.endpoint import Endpoint, NoSuchVariant
from modelbuild_local.aws.sagemaker.server import INVOKE_SECONDS, Answer, Server, log_group

LARGEST_BODY = 6_291_456

_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
# Other headers of a call are not passed on, as on AWS.
_HANDED_ON = (
    "Content-Type",
    "Accept",
    _ATTRIBUTES,
    "X-Amzn-SageMaker-Inference-Id",
    "X-Amzn-SageMaker-Target-Model",
)
_LONGEST = {_ATTRIBUTES: 1024, "X-Amzn-SageMaker-Inference-Id": 64}

Response = tuple[int, dict[str, Any], bytes]


def invoke_endpoint(self: Any) -> Response:
    """Handle InvokeEndpoint: returns the container's answer, or AWS's error if it did not answer."""
    name = unquote(self.path.split("/")[2])
    body: bytes = self.raw_body or b""
    refusal = _refusal(body, self.headers)
    if refusal:
        return _error(400, "ValidationError", {"Message": refusal})
    endpoint = sagemaker_backends[self.current_account][self.region].endpoints.get(name)
    missing = {"Message": f"Endpoint {name} of account {self.current_account} not found."}
    if not isinstance(endpoint, Endpoint):
        return _error(400, "ValidationError", missing)
    headers = {key: self.headers[key] for key in _HANDED_ON if self.headers.get(key)}
    try:
        with endpoint.serving(self.headers.get("X-Amzn-SageMaker-Target-Variant")) as found:
            if found is None:
                return _error(400, "ValidationError", missing)
            variant, server = found
            return _answer(variant, server, body, headers)
    except NoSuchVariant as error:
        message = f"Variant {error} is not found in endpoint {name}."
        return _error(400, "ValidationError", {"Message": message})


def _refusal(body: bytes, headers: Any) -> str | None:
    if len(body) > LARGEST_BODY:
        return _violated("body", f"Member must have length less than or equal to {LARGEST_BODY}")
    for key, longest in _LONGEST.items():
        value = headers.get(key) or ""
        if len(value) > longest:
            field = "customAttributes" if key == _ATTRIBUTES else "inferenceId"
            return _violated(field, f"Member must have length less than or equal to {longest}")
    return None


def _violated(field: str, constraint: str) -> str:
    return f"1 validation error detected: Value at '{field}' failed to satisfy constraint: {constraint}"


def _answer(variant: str, server: Server, body: bytes, headers: dict[str, str]) -> Response:
    try:
        answer = server.call("POST", "/invocations", body, headers, INVOKE_SECONDS)
    except TimeoutError:
        return _model_error(
            server, 0, "Your invocation timed out while waiting for a response from container primary"
        )
    except (OSError, http.client.HTTPException) as error:
        return _model_error(server, 0, f"The container did not answer: {error or type(error).__name__}")
    if not 200 <= answer.status < 300:
        return _model_error(server, answer.status, answer.body.decode(errors="replace"))
    if len(answer.body) > LARGEST_BODY:
        return _model_error(server, answer.status, f"The answer is larger than {LARGEST_BODY} bytes")
    return 200, _with_variant_header(variant, answer), answer.body


def _with_variant_header(variant: str, answer: Answer) -> dict[str, Any]:
    lowered = {key.lower(): value for key, value in answer.headers.items()}
    headers: dict[str, Any] = {"status": 200, "x-Amzn-Invoked-Production-Variant": variant}
    headers["Content-Type"] = lowered.get("content-type", "application/octet-stream")
    if _ATTRIBUTES.lower() in lowered:
        headers[_ATTRIBUTES] = lowered[_ATTRIBUTES.lower()]
    return headers


def _model_error(server: Server, status: int, message: str) -> Response:
    plan = server.plan
    group = log_group(plan.endpoint)
    kind = "client" if 400 <= status < 500 else "server"
    return _error(
        424,
        "ModelError",
        {
            "Message": (
                f'Received {kind} error ({status}) from primary with message "{message}". See '
                f"https://{plan.region}.console.aws.amazon.com/cloudwatch/home?region={plan.region}"
                f"#logEventViewer:group={group} in account {plan.account} for more information."
            ),
            "OriginalStatusCode": status,
            "OriginalMessage": message,
            "LogStreamArn": f"arn:aws:logs:{plan.region}:{plan.account}:log-group:{group}",
        },
    )


def _error(status: int, kind: str, members: dict[str, Any]) -> Response:
    headers = {"status": status, "Content-Type": "application/json", "x-amzn-ErrorType": kind}
    return status, headers, json.dumps(members).encode()
