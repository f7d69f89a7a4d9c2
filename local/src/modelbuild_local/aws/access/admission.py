"""The guard of the AWS stand-in, which refuses all requests of browsers, because it has no pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wsgi import LimitedStream

from modelbuild_local.aws.access import signature
from modelbuild_local.aws.errors import Start
from modelbuild_local.service.guard import MIB, Guard, Refusal

Application = Callable[[dict[str, Any], Start], Iterable[bytes]]

# What S3 takes in one request, and more than any other service does.
_OF_S3, _OF_OTHERS = 5 * 1024 * MIB, 16 * MIB


def guarded(application: Application, url: str) -> Application:
    """The application, for requests that are meant for ``url`` and come from no page in a browser."""

    def answer(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        signed = signature.read(environ)
        limit = _OF_S3 if signed is not None and signed.service == "s3" else _OF_OTHERS
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").lower(): str(value)
            for name, value in environ.items()
            if name.startswith("HTTP_") or (name == "CONTENT_LENGTH" and value)
        }
        refusal = Guard(url, lambda _method, _path: limit).refusal(environ["REQUEST_METHOD"], "", headers)
        if "origin" in headers:
            refusal = Refusal(403, "Requests of browsers are refused.")
        if refusal is None:
            # For bodies that come in chunks, whose length is known at their end.
            environ["wsgi.input"] = LimitedStream(environ["wsgi.input"], limit, is_max=True)
            try:
                return application(environ, start_response)
            except RequestEntityTooLarge:
                refusal = Refusal(413, f"The body is larger than {limit:,} bytes.")
        body = json.dumps({"message": refusal.message}).encode()
        kept = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        # What is left of the body is not read.
        start_response(
            f"{refusal.status} {HTTPStatus(refusal.status).phrase}", [*kept, ("Connection", "close")]
        )
        return [body]

    return answer
