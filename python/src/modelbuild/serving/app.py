"""``GET /ping`` and ``POST /invocations``, which SageMaker calls, and ``GET /``, as an ASGI application.

It uses no web framework: for a short text a framework takes longer than the prediction.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from modelbuild import log
from modelbuild.contract import (
    CUSTOM_ATTRIBUTES_HEADER,
    MODEL_ID_HEADER,
    ServingEnvironment,
    custom_attributes,
)
from modelbuild.errors import ModelbuildError
from modelbuild.serving.answers import AnswerWriter, NotFinite, answer_type
from modelbuild.serving.body import JSON, MEDIA_TYPES, BadBody, accepted_types, parse_instances
from modelbuild.serving.limits import (
    FAST_SECONDS,
    LARGE_ANSWERS,
    MAX_ANSWER_BYTES,
    MAX_BODY_BYTES,
    SMALL_ANSWER_BYTES,
    SMALL_BODY_BYTES,
)
from modelbuild.serving.model import Model
from modelbuild.serving.queues import (
    Batches,
    Caller,
    Disconnected,
    LargeBodySemaphore,
    LoopBatches,
    Overloaded,
    Speed,
    ThreadBatches,
)

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

IS_LOST = "modelbuild.is_lost"
"""The extension of the scope with which the server says whether the connection of a request is lost."""

# The rest of the body is of no use, so the connection carries no other request.
_CLOSE_CONNECTION = ((b"connection", b"close"),)
_ROUTES = {"/": ("GET", "HEAD"), "/ping": ("GET", "HEAD"), "/invocations": ("POST",)}


class Refusal(Exception):
    """The server refuses a request and answers ``{"error": message}``.

    Attributes:
        status: the HTTP status.
        headers: further headers of the answer.
    """

    def __init__(self, status: int, sentence: str, headers: Headers = ()):
        super().__init__(sentence)
        self.status = status
        self.headers = headers


class Upload:
    """The body of a request, as the client sends it."""

    def __init__(self, receive: Receive):
        self._receive = receive
        self.is_complete = False

    async def read(self, body: bytearray, limit: int) -> None:
        """Append to ``body`` until it is complete, or larger than ``limit`` bytes.

        Raises:
            Disconnected: the client closed the connection.
        """
        while not self.is_complete and len(body) <= limit:
            body += await self._next()

    async def discard(self) -> None:
        """Read the rest, and keep nothing of it.

        Raises:
            Disconnected: the client closed the connection.
        """
        while not self.is_complete:
            await self._next()

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        self.is_complete = not message["more_body"]
        return bytes(message["body"])


class Service:
    """The application; it answers /ping with 503 until :meth:`serve` is called."""

    def __init__(self, environment: ServingEnvironment):
        self._ping = json.dumps({"model": environment.model, "model_id": environment.model_id}).encode()
        attributes = custom_attributes(environment.model_id, environment.model, environment.pipeline)
        self._headers = (
            (MODEL_ID_HEADER.lower().encode(), environment.model_id.encode()),
            (CUSTOM_ATTRIBUTES_HEADER.lower().encode(), attributes.encode()),
        )
        self._writer = AnswerWriter(environment)
        self._batches: Batches | None = None
        self._accepted: tuple[str, ...] = ()
        self._description = b""
        self._large_bodies = LargeBodySemaphore()
        self._large_answers = asyncio.Semaphore(LARGE_ANSWERS)
        # One thread: Python computes one large body at a time anyway, and two would need twice the memory.
        self._thread = ThreadPoolExecutor(1)
        # One thread, too: several that write would keep Python from the event loop for longer.
        self._writing = ThreadPoolExecutor(1)

    def serve(self, model: Model) -> None:
        """Answer requests with a model."""
        self._accepted = accepted_types(model.description.input)
        self._description = self._writer.describe(model.description)
        speed = Speed(model)
        thread = ThreadBatches(model, speed, ThreadPoolExecutor(1))
        self._batches = LoopBatches(model, speed, thread) if model.seconds < FAST_SECONDS else thread

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        upload = Upload(receive)
        try:
            try:
                media_type, body = await self._answer(scope, upload)
            except Refusal as refusal:
                error = json.dumps({"error": str(refusal)}).encode()
                await _respond(send, refusal.status, JSON, error, refusal.headers, upload)
            else:
                await _respond(send, 200, media_type, body, self._headers)
        except Disconnected:
            return

    async def _answer(self, scope: Any, upload: Upload) -> tuple[str, bytes]:
        path, method = scope["path"], scope["method"]
        allowed = _ROUTES.get(path)
        if allowed is None:
            message = f"No route {path[:100]!r}; the routes are GET /, GET /ping and POST /invocations."
            raise Refusal(404, message, _CLOSE_CONNECTION)
        if method not in allowed:
            headers = (*_CLOSE_CONNECTION, (b"allow", ", ".join(allowed).encode()))
            raise Refusal(405, f"{path} takes {' and '.join(allowed)}.", headers)
        if self._batches is None:
            raise Refusal(503, "The model is not loaded yet.", _CLOSE_CONNECTION)
        if path == "/ping":
            return JSON, self._ping
        if path == "/":
            return JSON, self._description
        received = dict(scope["headers"])
        media_type = _media_type(received, self._accepted)
        answer = answer_type(received, media_type)
        caller = Caller(scope.get("extensions", {}).get(IS_LOST, _never_lost))
        return answer, await self._invoke(self._batches, upload, caller, media_type, answer)

    async def _invoke(
        self, batches: Batches, upload: Upload, caller: Caller, media_type: str, answer: str
    ) -> bytes:
        loop = asyncio.get_running_loop()
        try:
            body = bytearray()
            await upload.read(body, SMALL_BODY_BYTES)
            if upload.is_complete and len(body) <= SMALL_BODY_BYTES:
                instances = _parse(batches.model, body, media_type)
                if len(instances) * batches.model.description.output.json_bytes <= SMALL_ANSWER_BYTES:
                    return self._writer.write(await batches.predict(instances, caller), answer)
                async with self._large_answers:
                    answers = await batches.predict(instances, caller)
                    return await loop.run_in_executor(self._writing, self._writer.write, answers, answer)
            async with self._large_bodies:
                await upload.read(body, MAX_BODY_BYTES)
                if len(body) > MAX_BODY_BYTES:
                    message = f"The body is larger than {MAX_BODY_BYTES:,} bytes; send fewer instances."
                    raise Refusal(413, message, _CLOSE_CONNECTION)
                return await loop.run_in_executor(
                    self._thread, self._predict_large, batches.model, body, caller, media_type, answer
                )
        except BadBody as error:
            raise Refusal(400, str(error)) from error
        except Overloaded as error:
            raise Refusal(503, str(error), (*_CLOSE_CONNECTION, (b"retry-after", b"1"))) from error
        except NotFinite as error:
            raise Refusal(500, "The model's answer holds a number that is infinite or NaN.") from error
        except (Disconnected, Refusal):
            raise
        except Exception as error:
            # The text of an unknown error may hold instances, which are private.
            reason = str(error) if isinstance(error, ModelbuildError) else type(error).__name__
            log.warn(f"The model cannot answer: {reason} (at {_place(error)}).")
            raise Refusal(500, f"The model cannot answer: {reason}.") from error

    def _predict_large(
        self, model: Model, body: bytearray, caller: Caller, media_type: str, answer: str
    ) -> bytes:
        if problem := caller.problem():
            raise problem
        instances = _parse(model, body, media_type)
        return self._writer.write(model.predict(instances), answer)


def _parse(model: Model, body: bytearray, media_type: str) -> list[Any]:
    """The instances of a body, whose answer is not too large."""
    instances = parse_instances(body, media_type, model.description.input)
    most = max(1, MAX_ANSWER_BYTES // model.description.output.json_bytes)
    if len(instances) > most:
        raise BadBody(
            f"The answer to {len(instances):,} instances is larger than {MAX_ANSWER_BYTES:,} bytes; send at "
            f"most {most:,} in a request."
        )
    return instances


def _place(error: Exception) -> str:
    """The file and the line that raised an error."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno}"


def _never_lost() -> bool:
    """Whether the connection is lost, for a server that does not tell."""
    return False


def _media_type(headers: Mapping[bytes, bytes], accepted: Sequence[str]) -> str:
    content_type = headers.get(b"content-type", b"").decode("latin-1").split(";")[0].strip().lower()
    media_type = MEDIA_TYPES.get(content_type)
    if media_type is None or media_type not in accepted:
        message = f"Content-Type is {content_type[:100]!r}; send {' or '.join(accepted)}."
        raise Refusal(415, message, _CLOSE_CONNECTION)
    return media_type


async def _respond(
    send: Send, status: int, media_type: str, body: bytes, headers: Headers, upload: Upload | None = None
) -> None:
    """Answer, and then read the rest of an upload: the client would lose the answer if the connection were
    closed while it still sends.
    """
    content = ((b"content-type", media_type.encode()), (b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": (*content, *headers)})
    if upload is not None and not upload.is_complete:
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await upload.discard()
        body = b""
    await send({"type": "http.response.body", "body": body})
