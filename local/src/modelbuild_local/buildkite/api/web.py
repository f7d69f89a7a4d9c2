"""Helpers of the HTTP modules: JSON, tokens, times."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from modelbuild_local.buildkite.errors import Refused

Handler = Callable[[Request], Awaitable[Response]]
Endpoint = tuple[str, str, Handler]
"""A method, a path and its handler."""


async def json_body(request: Request) -> dict[str, Any]:
    """The body, a JSON object; an empty body counts as an empty one. Refused (400): anything else."""
    raw = await request.body()
    if not raw.strip():
        return {}
    try:
        value = json.loads(raw)
        # JSON can escape half of a surrogate pair, which no answer could hold.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Refused(400, "The body is not JSON") from None
    if not isinstance(value, dict):
        raise Refused(400, "The body must be a JSON object")
    return value


def text_map(body: Mapping[str, Any], name: str) -> dict[str, str]:
    """The map of text under ``name``. Refused (422): it is no map."""
    value = body.get(name) or {}
    if not isinstance(value, dict):
        raise Refused(422, f"'{name}' must be a map")
    return {str(key): _text(item) for key, item in value.items()}


def _text(value: object) -> str:
    """A value as text; other values than text as JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value)


def token_of(request: Request, scheme: str) -> str:
    """The token of the Authorization header, or an empty text."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == scheme.lower() else ""


def same(one: str, other: str) -> bool:
    """Whether two secrets are equal, compared in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def iso(time: datetime | None) -> str | None:
    """A time in Buildkite's format: UTC with milliseconds."""
    return None if time is None else time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"


async def on_refused(_: Request, error: Exception) -> Response:
    """The answer to a refused request."""
    assert isinstance(error, Refused)
    return JSONResponse({"message": error.message}, status_code=error.status)


async def on_not_found(_: Request, __: Exception) -> Response:
    """The answer to a path that does not exist."""
    return JSONResponse({"message": "Not Found"}, status_code=404)
