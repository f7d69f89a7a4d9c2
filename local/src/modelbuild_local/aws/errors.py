"""Errors in the form that the clients of each AWS service read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any
from xml.sax.saxutils import escape

Start = Callable[..., Any]

_XML = ("autoscaling", "cloudformation", "ec2", "iam", "sns", "sts")


def refuse(
    environ: Mapping[str, Any],
    start_response: Start,
    service: str,
    status: int,
    code: str,
    message: str,
    headers: Mapping[str, str] | None = None,
) -> Iterable[bytes]:
    """Answer a WSGI request with an error of ``service``.

    Args:
        environ: the request.
        start_response: WSGI's.
        service: its signing name, for example ``s3``.
        status: HTTP status.
        code: AWS's error code.
        message: for people.
        headers: further headers.
    """
    drain(environ)
    detail = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
    if service == "s3":
        kind, body = "application/xml", f"<Error>{detail}</Error>"
    elif service in _XML:
        kind, body = "text/xml", f"<ErrorResponse><Error><Type>Sender</Type>{detail}</Error></ErrorResponse>"
    else:
        kind, body = "application/x-amz-json-1.1", json.dumps({"__type": code, "message": message})
    sent = {
        "Content-Type": kind,
        "Content-Length": str(len(body.encode())),
        "x-amzn-ErrorType": code,
        **(headers or {}),
    }
    start_response(f"{status} {HTTPStatus(status).phrase}", [*sent.items()])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body.encode()]


def drain(environ: Mapping[str, Any]) -> bytes:
    """Read the request's body: the server would take an unread rest for the connection's next request."""
    stream = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated"):
        return bytes(stream.read())
    return bytes(stream.read(int(environ.get("CONTENT_LENGTH") or 0)))
