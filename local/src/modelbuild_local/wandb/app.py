"""The server: the routes of the SDK, the files and the pages."""

from __future__ import annotations

import base64
import hmac
import json
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from modelbuild_local.service.guard import MIB, Guard, GuardMiddleware
from modelbuild_local.service.session import PageSession
from modelbuild_local.wandb.artifacts import ArtifactOperations
from modelbuild_local.wandb.errors import MALFORMED, Refused
from modelbuild_local.wandb.files import Files
from modelbuild_local.wandb.graphql import GraphQL
from modelbuild_local.wandb.page import Page
from modelbuild_local.wandb.runs import RunOperations
from modelbuild_local.wandb.state import Store

_MESSAGE_BYTES = 64 * MIB


def create_app(folder: Path, url: str, api_key: str, page_key: str) -> Starlette:
    """The application.

    Args:
        folder: the folder of uploaded files.
        url: the address under which SDKs and people reach the server, without a slash at the end.
        api_key: the only API key of SDKs.
        page_key: the key that opens the pages in a browser.
    """
    store, files = Store(), Files(folder, url)
    graphql = GraphQL(
        {**RunOperations(store, files).operations(), **ArtifactOperations(store, files).operations()}
    )

    async def query(request: Request) -> Response:
        return _json(graphql.answer(await _body(request)))

    async def stream(request: Request) -> Response:
        path = request.path_params
        run = store.runs.get((path["entity"], path["project"], path["run"]))
        if run is None:
            raise Refused(404, "No such run")
        try:
            run.receive(json.loads(await _body(request) or b"{}"))
        except MALFORMED:
            raise Refused(400, "The message of the file stream is malformed") from None
        return _json({"exitcode": None, "limits": {}})

    async def upload(request: Request) -> Response:
        await files.write(request.path_params["id"], request.stream())
        return _json({})

    async def download(request: Request) -> Response:
        path = files.path(request.path_params["id"])
        if not path.is_file():
            raise Refused(404, "No such file")
        headers = {"X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment"}
        return FileResponse(path, media_type="application/octet-stream", headers=headers)

    async def health(_: Request) -> Response:
        return _json({"unknown": sorted(graphql.unknown)})

    keyed = _require_key(api_key)
    return Starlette(
        routes=[
            Route("/graphql", keyed(query), methods=["POST"]),
            Route("/files/{entity}/{project}/{run}/file_stream", keyed(stream), methods=["POST"]),
            Route("/storage/{id}", upload, methods=["PUT"]),
            Route("/storage/{id}", download, methods=["GET"]),
            Route("/healthz", health, methods=["GET"]),
            *Page(store, files, PageSession(page_key)).routes(),
        ],
        middleware=[Middleware(GuardMiddleware, Guard(url, _largest))],
        exception_handlers={Refused: _on_refused},
    )


Handler = Callable[[Request], Awaitable[Response]]


def _largest(_method: str, path: str) -> int:
    """The largest body in bytes: files are written to disk in chunks, other bodies are kept in memory."""
    return 5 * 1024 * MIB if path.startswith("/storage/") else _MESSAGE_BYTES


def _require_key(api_key: str) -> Callable[[Handler], Handler]:
    """Wrap handlers: requests need the API key."""

    def wrap(handler: Handler) -> Handler:
        async def checked(request: Request) -> Response:
            key = _key(request.headers.get("authorization", ""))
            if not hmac.compare_digest(key, api_key.encode()):
                raise Refused(401, "The API key is missing or wrong: set WANDB_API_KEY")
            return await handler(request)

        return checked

    return wrap


def _key(header: str) -> bytes:
    """The key of an Authorization header, or an empty text."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(value, validate=True).partition(b":")[2]
    except ValueError:
        return b""


async def _body(request: Request) -> bytes:
    body = await request.body()
    if request.headers.get("content-encoding") != "gzip":
        return body
    unpacking = zlib.decompressobj(wbits=31)
    try:
        content = unpacking.decompress(body, _MESSAGE_BYTES)
    except zlib.error:
        raise Refused(400, "The body is not gzip") from None
    if unpacking.unconsumed_tail:
        raise Refused(413, f"The body is larger than {_MESSAGE_BYTES:,} bytes")
    if not unpacking.eof:
        raise Refused(400, "The body is not gzip")
    return content


def _json(value: object, status: int = 200) -> Response:
    # In ASCII, unlike Starlette's: JSON can contain half a surrogate pair, which UTF-8 cannot encode.
    return Response(json.dumps(value), status, media_type="application/json")


async def _on_refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    # The SDK shows "errors"; "error" is for people.
    content = {"error": error.message, "errors": [{"message": error.message}]}
    return _json(content, error.status)
