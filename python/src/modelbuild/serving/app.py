"""The two addresses that SageMaker calls: ``GET /ping`` and ``POST /invocations``."""

from __future__ import annotations

import json
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from modelbuild.contract import (
    CUSTOM_ATTRIBUTES_HEADER,
    MODEL_ID_HEADER,
    Prediction,
    Predictions,
    ServingEnvironment,
    custom_attributes,
)
from modelbuild.serving.model import Model

MAX_BODY_BYTES = 6_291_456
"""What SageMaker forwards at most."""
MAX_INSTANCES = 1_000
MAX_CHARACTERS = 10_000

# Below this an answer takes less time than handing it to a thread; above, it must not hold up /ping.
_INLINE_BYTES = 65_536


class Service:
    """What the server answers from; ``model`` is None until it is loaded and verified."""

    def __init__(self, environment: ServingEnvironment):
        self.model: Model | None = None
        self._id = environment.model_id
        self._pipeline = environment.pipeline
        self._headers = {
            MODEL_ID_HEADER: self._id,
            CUSTOM_ATTRIBUTES_HEADER: custom_attributes(self._id, self._pipeline),
        }

    async def ping(self, _request: Request) -> Response:
        """200 when predictions can be had, 503 before."""
        if self.model is None:
            raise HTTPException(503, "The model is not loaded yet.")
        return JSONResponse({"model_id": self._id}, headers=self._headers)

    async def invocations(self, request: Request) -> Response:
        """The predictions for ``{"instances": ["text", …]}``, in order."""
        model = self.model
        if model is None:
            raise HTTPException(503, "The model is not loaded yet.")
        content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if content_type != "application/json":
            raise HTTPException(415, f"Content-Type is {content_type!r}; send application/json.")
        body = await _read_body(request)
        if len(body) <= _INLINE_BYTES:
            return self._answer(model, body)
        return await run_in_threadpool(self._answer, model, body)

    def _answer(self, model: Model, body: bytes) -> Response:
        predictions = Predictions(
            model_id=self._id,
            pipeline=self._pipeline,
            predictions=tuple(
                Prediction(label=label, scores=scores, model_id=self._id)
                for label, scores in model.predict(parse_instances(body))
            ),
        )
        return Response(predictions.model_dump_json(), 200, self._headers, "application/json")


def create_app(service: Service) -> Starlette:
    """The ASGI application that answers from ``service``; every error is ``{"error": one sentence}``."""
    return Starlette(
        routes=[
            Route("/ping", service.ping, methods=["GET"]),
            Route("/invocations", service.invocations, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _error, ClientDisconnect: _disconnected},
    )


def parse_instances(body: bytes) -> list[str]:
    """The texts of a request body.

    Raises:
        HTTPException: 400 with a sentence: the body is not JSON, or not texts within the limits.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "it cannot be decoded"
        raise HTTPException(400, f"The body is not JSON ({reason}).") from error
    if not isinstance(document, dict) or set(document) != {"instances"}:
        raise HTTPException(400, 'The body must be an object with the one key "instances".')
    instances = document["instances"]
    if not isinstance(instances, list) or not 1 <= len(instances) <= MAX_INSTANCES:
        found = f"a list of {len(instances):,}" if isinstance(instances, list) else _type_name(instances)
        raise HTTPException(400, f"instances must be a list of 1 to {MAX_INSTANCES:,} texts, not {found}.")
    for index, text in enumerate(instances):
        if not isinstance(text, str):
            raise HTTPException(400, f"instances[{index}] must be a text, not {_type_name(text)}.")
        if not text or text.isspace():
            raise HTTPException(400, f"instances[{index}] is empty; send a text with at least one word.")
        if len(text) > MAX_CHARACTERS:
            raise HTTPException(
                400, f"instances[{index}] has {len(text):,} characters; send at most {MAX_CHARACTERS:,}."
            )
    return instances


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"The body is larger than {MAX_BODY_BYTES:,} bytes; send fewer texts.")
    return bytes(body)


def _type_name(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


async def _error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _disconnected(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": "The client went away before its body was complete."}, 400)
