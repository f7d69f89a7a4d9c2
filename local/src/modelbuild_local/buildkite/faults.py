"""Faults of ``modelbuild_local.service.faults`` in front of the server."""

from __future__ import annotations

import asyncio
import json

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelbuild_local.buildkite.api.web import same, token_of
from modelbuild_local.service.faults import PATH, Faults


class Outages:
    """Wraps the application and applies the configured faults."""

    def __init__(self, app: ASGIApp, api_token: str) -> None:
        self._app = app
        self._api_token = api_token
        self._faults = Faults()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or apply a fault to it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] == PATH:
            request = Request(scope, receive)
            if not same(token_of(request, "Bearer"), self._api_token):
                refusal = '{"message": "Send the API token: Authorization: Bearer $BUILDKITE_API_TOKEN"}'
                await Response(refusal, 401, media_type="application/json")(scope, receive, send)
                return
            content_type = request.headers.get("Content-Type", "")
            status, shown = self._faults.administer(request.method, content_type, await request.body())
            await Response(shown, status, media_type="application/json")(scope, receive, send)
            return
        query = scope["query_string"].decode("ascii", "replace")
        fault = self._faults.strike(f"{scope['method']} {scope['path']}{'?' if query else ''}{query}")
        if fault is None:
            await self._app(scope, receive, send)
            return
        if fault.lost:
            await self._app(scope, receive, _discard)
        await asyncio.sleep(fault.silence)
        if fault.status is None:
            # The server closes a connection whose answer is not complete.
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
            return
        body = json.dumps({"message": fault.code or "A fault that was asked for."})
        answer = Response(body, fault.status, fault.headers, "application/json")
        await answer(scope, receive, send)


async def _discard(message: Message) -> None:
    """Lose an answer."""
    del message
