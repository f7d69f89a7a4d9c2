"""The pages, at the paths of the AWS console.

Some of the console's addresses name their resource after a ``#``, which a browser does not send. A script on
these pages redirects to a page with its own path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from modelbuild.contract import LOG_GROUP
from modelbuild_local.console.reader import LOG_EVENTS, Absent, Reader
from modelbuild_local.service import pages
from modelbuild_local.service.guard import Guard, GuardMiddleware
from modelbuild_local.service.session import PageSession

P = ParamSpec("P")
T = TypeVar("T")

_BODY_BYTES = 1 << 16
_POLICY = "script-src 'nonce-{nonce}'; connect-src 'self'; form-action 'none'"


def create_app(reader: Reader, url: str, page_key: str) -> Starlette:
    """The application.

    Args:
        reader: reads the data of the pages.
        url: the address under which people reach the server, without a slash at the end.
        page_key: the key that opens the pages in a browser.
    """
    return Starlette(
        routes=_Pages(reader, PageSession(page_key)).routes(),
        middleware=[Middleware(GuardMiddleware, Guard(url, lambda _method, _path: _BODY_BYTES))],
    )


class _Pages:
    def __init__(self, reader: Reader, session: PageSession) -> None:
        self._reader = reader
        self._session = session
        self._templates = pages.templates("modelbuild_local.console")
        self._templates.filters["part"] = lambda text: quote(str(text), safe="")

    def routes(self) -> list[Route]:
        handlers = {
            "/": self._home_page,
            "/batch/home": self._redirect_page,
            "/cloudwatch/home": self._redirect_page,
            "/sagemaker/home": self._redirect_page,
            "/batch/jobs/{id}": self._job,
            "/cloudwatch/log": self._log,
            "/cloudwatch/streams": self._streams,
            "/s3/object/{bucket}": self._object,
            "/s3/download/{bucket}": self._download,
            "/sagemaker/endpoints/{name}": self._endpoint,
        }
        admitted = self._session.required
        return [Route(path, admitted(handler), methods=["GET"]) for path, handler in handlers.items()]

    async def _home_page(self, _: Request) -> Response:
        return self._html("home.html", jobs=await run_in_threadpool(self._reader.jobs))

    async def _redirect_page(self, _: Request) -> Response:
        return self._html("redirect.html")

    async def _job(self, request: Request) -> Response:
        job = await self._found(self._reader.job, request.path_params["id"])
        lines = await self._found(self._reader.log, job.log_group, job.log_stream) if job.log_stream else []
        return self._html("job.html", job=job, lines=lines, most=LOG_EVENTS)

    async def _log(self, request: Request) -> Response:
        group, stream = request.query_params.get("group", LOG_GROUP), request.query_params.get("stream", "")
        lines = await self._found(self._reader.log, group, stream)
        return self._html("log.html", group=group, stream=stream, lines=lines, most=LOG_EVENTS)

    async def _streams(self, request: Request) -> Response:
        group, prefix = request.query_params.get("group", LOG_GROUP), request.query_params.get("prefix", "")
        streams = await self._found(self._reader.streams, group, prefix)
        return self._html("streams.html", group=group, prefix=prefix, streams=streams)

    async def _object(self, request: Request) -> Response:
        bucket, key = request.path_params["bucket"], request.query_params.get("prefix", "")
        return self._html("object.html", object=await self._found(self._reader.stored_object, bucket, key))

    async def _download(self, request: Request) -> Response:
        bucket, key = request.path_params["bucket"], request.query_params.get("prefix", "")
        chunks = await self._found(self._reader.content, bucket, key)
        name = quote(key.rpartition("/")[2], safe="")
        return StreamingResponse(
            chunks,
            media_type="application/octet-stream",
            headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"},
        )

    async def _endpoint(self, request: Request) -> Response:
        name = request.path_params["name"]
        values = await self._found(self._reader.endpoint, name)
        return self._html("endpoint.html", name=name, values=values)

    async def _found(self, read: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        try:
            return await run_in_threadpool(read, *arguments, **named)
        except Absent as absent:
            raise HTTPException(404, str(absent)) from None

    def _html(self, template: str, **values: object) -> Response:
        return pages.answer(self._templates, template, _POLICY, values)
