"""The Agent API: the calls of ``buildkite-agent`` and its sub-commands, under ``/v3``."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from modelbuild_local.buildkite import agents
from modelbuild_local.buildkite.api import oidc
from modelbuild_local.buildkite.api.access import Access
from modelbuild_local.buildkite.api.web import iso, json_body, same, token_of
from modelbuild_local.buildkite.engine import Engine, steps_of
from modelbuild_local.buildkite.environment import job_environment
from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.identity import new_id
from modelbuild_local.buildkite.notes import annotate, annotation_options, set_meta_data
from modelbuild_local.buildkite.pipeline.definition import CommandStep
from modelbuild_local.buildkite.scheduling.scheduler import outcome
from modelbuild_local.buildkite.state import Build

HEARTBEAT_SECONDS = 60
MAX_CHUNK_BYTES = 100 * 1024
MAX_LOG_BYTES = 1024 * 1024 * 1024


class AgentApi:
    """The handlers; ``url`` is the server's own address."""

    def __init__(self, engine: Engine, token: str, url: str, web_identity_key: str) -> None:
        self._engine = engine
        self._access = Access(engine)
        self._token = token
        self._web_identity_key = web_identity_key
        self._url = url

    def routes(self) -> list[Route]:
        """The routes, with their full paths."""
        table: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
            ("POST", "/register", self._register),
            ("POST", "/connect", self._connect),
            ("POST", "/stop", self._stop),
            ("POST", "/disconnect", self._disconnect),
            ("GET", "/ping", self._ping),
            ("POST", "/heartbeat", self._heartbeat),
            ("PUT", "/jobs/{job}/accept", self._accept),
            ("PUT", "/jobs/{job}/start", self._start),
            ("PUT", "/jobs/{job}/finish", self._finish),
            ("GET", "/jobs/{job}", self._job_state),
            ("POST", "/jobs/{job}/chunks", self._chunk),
            ("POST", "/jobs/{job}/header_times", self._header_times),
            ("POST", "/jobs/{job}/oidc/tokens", self._oidc_token),
            ("POST", "/{owner}/{id}/data/{action}", self._meta_data),
            ("POST", "/jobs/{job}/annotations", self._annotate),
            ("DELETE", "/jobs/{job}/annotations/{context:path}", self._remove_annotation),
            ("POST", "/jobs/{job}/pipelines", self._upload_pipeline),
            ("GET", "/jobs/{job}/pipelines/{upload}", self._pipeline_state),
            ("POST", "/steps/{step:path}/export", self._export_step),
            ("POST", "/steps/{step:path}/cancel", self._cancel_step),
            ("PUT", "/steps/{step:path}", self._update_step),
            ("POST", "/builds/{build}/cancel", self._cancel_build),
        ]
        return [Route(f"/v3{path}", handler, methods=[method]) for method, path, handler in table]

    # The agent

    async def _register(self, request: Request) -> Response:
        if not same(token_of(request, "Token"), self._token):
            raise Refused(401, "Invalid agent token")
        body = await json_body(request)
        agent = agents.register(
            self._engine,
            name=str(body.get("name") or "agent"),
            hostname=str(body.get("hostname") or ""),
            version=str(body.get("version") or ""),
            tags=[str(tag) for tag in body.get("meta_data") or []],
            priority=int(body.get("priority") or 0),
        )
        return JSONResponse(
            {
                "id": agent.id,
                "name": agent.name,
                "access_token": agent.token,
                "endpoint": None,
                "ping_interval": 1,
                "job_status_interval": 1,
                "heartbeat_interval": HEARTBEAT_SECONDS,
                "meta_data": list(agent.tags),
            }
        )

    async def _connect(self, request: Request) -> Response:
        self._access.caller(request).agent.connection_state = "connected"
        return JSONResponse({})

    async def _stop(self, request: Request) -> Response:
        self._access.caller(request).agent.connection_state = "stopping"
        return JSONResponse({})

    async def _disconnect(self, request: Request) -> Response:
        agents.disconnect(self._engine, self._access.caller(request).agent)
        return JSONResponse({})

    async def _ping(self, request: Request) -> Response:
        job = agents.ping(self._engine, self._access.caller(request).agent)
        return JSONResponse({} if job is None else {"job": {"id": job.id, "state": job.state}})

    async def _heartbeat(self, request: Request) -> Response:
        self._access.caller(request)
        body = await json_body(request)
        return JSONResponse({**body, "received_at": iso(self._engine.clock.now())})

    # The life of a job

    async def _accept(self, request: Request) -> Response:
        job = self._access.job(request)
        agent = self._access.caller(request).agent
        agents.accept(agent, job)
        definition = job.step.definition
        assert isinstance(definition, CommandStep)
        organization, slug = self._engine.organization, job.build.pipeline.slug
        url = f"{self._url}/{organization}/{slug}/builds/{job.build.number}"
        return JSONResponse(
            {
                "id": job.id,
                "state": job.state,
                "env": job_environment(job, definition, agent, organization, url),
                "token": job.token,
                "chunks_max_size_bytes": MAX_CHUNK_BYTES,
                "chunks_interval_seconds": 1,
                "log_max_size_bytes": MAX_LOG_BYTES,
            }
        )

    async def _start(self, request: Request) -> Response:
        job = self._access.job(request)
        agents.start(self._engine, job)
        return JSONResponse({"id": job.id, "state": job.state})

    async def _job_state(self, request: Request) -> Response:
        job = self._access.job(request)
        return JSONResponse({"id": job.id, "state": job.state})

    async def _oidc_token(self, request: Request) -> Response:
        job = self._access.job(request)
        made = oidc.token(job, self._engine.organization, await json_body(request), self._web_identity_key)
        return JSONResponse({"token": made})

    async def _finish(self, request: Request) -> Response:
        job = self._access.job(request)
        body = await json_body(request)
        try:
            exit_status = int(str(body.get("exit_status") or "0"))
        except ValueError:
            exit_status = -1
        agents.finish(
            self._engine,
            job,
            exit_status,
            str(body.get("signal") or ""),
            str(body.get("signal_reason") or ""),
        )
        return JSONResponse({"id": job.id, "state": job.state})

    async def _chunk(self, request: Request) -> Response:
        job = self._access.job(request)
        data = await request.body()
        try:
            if request.headers.get("content-encoding") == "gzip":
                data = gzip.decompress(data)
            offset = int(request.query_params["offset"])
        except (KeyError, ValueError, OSError, EOFError, zlib.error):
            raise Refused(400, "The chunk needs a numeric 'offset' and a gzip or plain body") from None
        job.log.add(offset, data)
        return JSONResponse({}, status_code=201)

    async def _header_times(self, request: Request) -> Response:
        self._access.job(request)
        return JSONResponse({})

    # Meta-data

    async def _meta_data(self, request: Request) -> Response:
        owner, action = request.path_params["owner"], request.path_params["action"]
        if owner == "jobs":
            build = self._access.job(request, "id").build
        elif owner == "builds":
            build = self._access.build(request, request.path_params["id"])
        else:
            raise Refused(404, "Not Found")
        body = await json_body(request)
        key = str(body.get("key") or "")
        if action == "get":
            if key not in build.meta_data:
                raise Refused(404, f"No meta-data with the key '{key}'")
            return JSONResponse({"key": key, "value": build.meta_data[key]})
        if action == "exists":
            return JSONResponse({"exists": key in build.meta_data})
        if action == "keys":
            return JSONResponse(list(build.meta_data))
        if action in ("set", "set-batch") and owner == "jobs":
            items = [body] if action == "set" else body.get("items") or []
            values = {str(item.get("key") or ""): str(item.get("value") or "") for item in items}
            set_meta_data(build, values)
            return JSONResponse({})
        raise Refused(404, "Not Found")

    # Annotations

    async def _annotate(self, request: Request) -> Response:
        job = self._access.job(request)
        body = await json_body(request)
        scope = str(body.get("scope") or "build")
        if scope not in ("build", "job"):
            raise Refused(422, "Validation failed: 'scope' must be build or job")
        note = annotate(
            job.build,
            self._engine.clock.now(),
            job_id=job.id,
            options=annotation_options(body),
            body=None if body.get("body") is None else str(body["body"]),
            append=bool(body.get("append")),
            scope=scope,
        )
        return JSONResponse({"id": note.id}, status_code=201)

    async def _remove_annotation(self, request: Request) -> Response:
        job = self._access.job(request)
        scope = job.id if request.query_params.get("scope") == "job" else ""
        job.build.annotations.pop((request.path_params["context"], scope), None)
        return JSONResponse({})

    # Pipelines, steps, builds

    async def _upload_pipeline(self, request: Request) -> Response:
        job = self._access.job(request)
        body = await json_body(request)
        if body.get("replace"):
            raise Refused(
                422, "Replacing the pipeline is not supported on the laptop: upload without --replace"
            )
        upload = str(body.get("uuid") or new_id())
        self._engine.upload(job, upload, body.get("pipeline"))
        return JSONResponse({"id": upload, "state": "applied"}, status_code=201)

    async def _pipeline_state(self, request: Request) -> Response:
        job = self._access.job(request)
        if request.path_params["upload"] not in job.uploads:
            raise Refused(404, "No such upload")
        return JSONResponse({"state": "applied", "message": ""})

    async def _step(self, request: Request, body: dict[str, Any]) -> tuple[Build, str]:
        caller = self._access.caller(request)
        build = self._engine.builds.get(str(body.get("build_id") or ""))
        build = build or (caller.job.build if caller.job else None)
        if build is None:
            raise Refused(404, "The step needs a 'build_id'")
        return build, request.path_params["step"]

    async def _export_step(self, request: Request) -> Response:
        body = await json_body(request)
        build, name = await self._step(request, body)
        steps = steps_of(build, name)
        step, job, definition = steps[0], steps[0].job, steps[0].definition
        values: dict[str, str] = {
            "id": step.id,
            "key": step.key or "",
            "label": definition.label,
            "type": definition.type,
            "state": job.state,
            "outcome": outcome([step.job for step in steps]),
            "command": definition.command if isinstance(definition, CommandStep) else "",
        }
        attribute = str(body.get("attribute") or "")
        if attribute not in values:
            raise Refused(422, f"The step has no attribute '{attribute}': it has {', '.join(values)}")
        return JSONResponse({"output": values[attribute]})

    async def _update_step(self, request: Request) -> Response:
        body = await json_body(request)
        build, name = await self._step(request, body)
        if body.get("attribute") != "label":
            raise Refused(422, f"The attribute '{body.get('attribute')}' cannot be updated: only 'label' can")
        for step in steps_of(build, name):
            value = str(body.get("value") or "")
            step.definition.label = step.definition.label + value if body.get("append") else value
        return JSONResponse({})

    async def _cancel_step(self, request: Request) -> Response:
        build, name = await self._step(request, await json_body(request))
        steps = steps_of(build, name)
        for step in steps:
            self._engine.cancel_job(step.job)
        return JSONResponse({"uuid": steps[0].id})

    async def _cancel_build(self, request: Request) -> Response:
        build = self._access.build(request, request.path_params["build"])
        self._engine.cancel_build(build)
        return JSONResponse({"uuid": build.id})
