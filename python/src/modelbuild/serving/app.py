"""The two addresses that SageMaker calls, ``GET /ping`` and ``POST /invocations``, as an ASGI application.

It uses no web framework: for a short text a framework takes longer than the prediction.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from modelbuild.contract import (
    CUSTOM_ATTRIBUTES_HEADER,
    MODEL_ID_HEADER,
    ServingEnvironment,
    custom_attributes,
)
from modelbuild.serving.body import BadBody, parse_instances
from modelbuild.serving.limits import MAX_BODY_BYTES, SMALL_BODY_BYTES
from modelbuild.serving.model import Answer, Model
from modelbuild.serving.queues import Batch, LargeBodySemaphore, Overloaded

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

# The body was not read, so the connection cannot carry another request.
_CLOSE_CONNECTION = {"connection": "close"}
_ROUTES = {"/ping": ("GET", "HEAD"), "/invocations": ("POST",)}


class Refusal(Exception):
    """The server refuses a request and answers ``{"error": message}``.

    Attributes:
        status: the HTTP status.
        headers: further headers of the answer.
    """

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None):
        super().__init__(sentence)
        self.status = status
        self.headers = dict(headers or {})


class Disconnected(Exception):
    """The client closed the connection before it had sent the whole body."""


class Service:
    """The application; ``model`` is None until it is loaded and verified."""

    def __init__(self, environment: ServingEnvironment):
        self.model: Model | None = None
        self._model = {"model": environment.model, "model_id": environment.model_id}
        self._pipeline = environment.pipeline
        self._headers = {
            MODEL_ID_HEADER: environment.model_id,
            CUSTOM_ATTRIBUTES_HEADER: custom_attributes(
                environment.model_id, environment.model, environment.pipeline
            ),
        }
        self._batch = Batch()
        self._large_bodies = LargeBodySemaphore()
        # One thread: Python computes one large body at a time anyway, and two would need twice the memory.
        self._thread = ThreadPoolExecutor(1)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        try:
            body = await self._answer(scope, receive)
        except Refusal as refusal:
            error = json.dumps({"error": str(refusal)}).encode()
            await _respond(send, refusal.status, error, refusal.headers)
        except Disconnected:
            return
        else:
            await _respond(send, 200, body, self._headers)

    async def _answer(self, scope: Any, receive: Receive) -> bytes:
        path, method = scope["path"], scope["method"]
        allowed = _ROUTES.get(path)
        if allowed is None:
            message = f"No route {path[:100]!r}; the routes are GET /ping and POST /invocations."
            raise Refusal(404, message, _CLOSE_CONNECTION)
        if method not in allowed:
            headers = {**_CLOSE_CONNECTION, "allow": ", ".join(allowed)}
            raise Refusal(405, f"{path} takes {' and '.join(allowed)}.", headers)
        if self.model is None:
            raise Refusal(503, "The model is not loaded yet.", _CLOSE_CONNECTION)
        if path == "/ping":
            return json.dumps(self._model).encode()
        _require_json(scope["headers"])
        body = bytearray()
        more = await _read(receive, body, SMALL_BODY_BYTES)
        if not more and len(body) <= SMALL_BODY_BYTES:
            return await self._predict(self.model, body)
        try:
            async with self._large_bodies:
                if more:
                    await _read(receive, body, MAX_BODY_BYTES)
                if len(body) > MAX_BODY_BYTES:
                    sentence = f"The body is larger than {MAX_BODY_BYTES:,} bytes; send fewer texts."
                    raise Refusal(413, sentence, _CLOSE_CONNECTION)
                return await self._predict_large(self.model, body)
        except Overloaded as error:
            raise Refusal(503, str(error), {**_CLOSE_CONNECTION, "retry-after": "1"}) from error

    async def _predict(self, model: Model, body: bytearray) -> bytes:
        try:
            return self._to_json(await self._batch.predict(model, parse_instances(body)))
        except BadBody as error:
            raise Refusal(400, str(error)) from error

    async def _predict_large(self, model: Model, body: bytearray) -> bytes:
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._compute, model, body)
        except BadBody as error:
            raise Refusal(400, str(error)) from error

    def _compute(self, model: Model, body: bytearray) -> bytes:
        texts = parse_instances(body)
        body.clear()
        return self._to_json(model.predict(texts))

    def _to_json(self, answers: Sequence[Answer]) -> bytes:
        """The JSON of :class:`modelbuild.contract.Predictions`, without the time that pydantic would take."""
        predictions = [{"label": label, "scores": scores, **self._model} for label, scores in answers]
        return json.dumps({**self._model, "pipeline": self._pipeline, "predictions": predictions}).encode()


def _require_json(headers: list[tuple[bytes, bytes]]) -> None:
    values = dict(headers)
    content_type = values.get(b"content-type", b"").decode("latin-1").split(";")[0].strip().lower()
    if content_type != "application/json":
        raise Refusal(415, f"Content-Type is {content_type!r}; send application/json.", _CLOSE_CONNECTION)


async def _read(receive: Receive, body: bytearray, limit: int) -> bool:
    """Append to the body until it is complete or larger than ``limit`` bytes.

    Returns:
        Whether the client has more to send.
    """
    while len(body) <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        body += message["body"]
        if not message["more_body"]:
            return False
    return True


async def _respond(send: Send, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    raw = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    raw += [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
