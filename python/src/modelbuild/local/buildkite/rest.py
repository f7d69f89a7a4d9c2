"""The REST API, under ``/v2``: what people's programs call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from modelbuild.local.buildkite import artifacts
from modelbuild.local.buildkite.definition import CommandStep
from modelbuild.local.buildkite.engine import UPLOAD_STEP, Engine, user_id
from modelbuild.local.buildkite.environment import job_environment
from modelbuild.local.buildkite.refusal import Refused
from modelbuild.local.buildkite.state import Agent, Build, Job, PipelineSettings, User
from modelbuild.local.buildkite.views import Views, job_state
from modelbuild.local.buildkite.web import json_body, same, text_map, token_of

Handler = Callable[[Request], Awaitable[Response]]

# What the one token there is may do: everything that is served here.
SCOPES = ["read_artifacts", "read_builds", "write_builds", "read_pipelines", "write_pipelines", "read_user"]
UNLIMITED = 1_000_000
WINDOW_SECONDS = 60.0


class RateLimit:
    """Requests per minute of the one user there is; 0 means no limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit or UNLIMITED
        self._used = 0
        self._reset = 0.0

    def take(self, now: float) -> tuple[bool, dict[str, str]]:
        """Count a request at second ``now``: whether it is within the limit, and the headers that say so."""
        if now >= self._reset:
            self._used, self._reset = 0, now + WINDOW_SECONDS
        self._used += 1
        headers: dict[str, str] = {}
        for prefix in ("RateLimit", "RateLimit-User"):
            headers[f"{prefix}-Limit"] = str(self.limit)
            headers[f"{prefix}-Remaining"] = str(max(0, self.limit - self._used))
            headers[f"{prefix}-Reset"] = str(max(1, round(self._reset - now)))
        return self._used <= self.limit, headers


class Rest:
    """The handlers."""

    def __init__(self, engine: Engine, views: Views, token: str, limit: RateLimit) -> None:
        self._engine = engine
        self._views = views
        self._token = token
        self._limit = limit

    def routes(self) -> list[Route]:
        """The routes, with their full paths."""
        pipelines = "/v2/organizations/{org}/pipelines"
        builds = f"{pipelines}/{{pipeline}}/builds"
        build = f"{builds}/{{number:int}}"
        job = f"{build}/jobs/{{job}}"
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/v2/user", self._user),
            ("GET", "/v2/access-token", self._access_token),
            ("GET", pipelines, self._pipelines),
            ("POST", pipelines, self._create_pipeline),
            ("GET", f"{pipelines}/{{pipeline}}", self._get_pipeline),
            ("GET", builds, self._builds),
            ("POST", builds, self._create_build),
            ("GET", build, self._get_build),
            ("PUT", f"{build}/cancel", self._cancel_build),
            ("GET", f"{build}/jobs", self._jobs),
            ("GET", f"{build}/annotations", self._annotations),
            ("GET", f"{build}/artifacts", self._artifacts),
            ("GET", job, self._get_job),
            ("GET", f"{job}/log", self._log),
            ("GET", f"{job}/log.txt", self._log_text),
            ("GET", f"{job}/env", self._env),
            ("GET", f"{job}/artifacts", self._artifacts),
            ("GET", f"{job}/artifacts/{{artifact}}/download", self._download),
            ("PUT", f"{job}/unblock", self._unblock),
            ("PUT", f"{job}/retry", self._retry),
            ("PUT", f"{job}/cancel", self._cancel_job),
            ("GET", "/v2/organizations/{org}/jobs/{job}", self._get_job),
            ("PUT", "/v2/organizations/{org}/jobs/{job}/unblock", self._unblock),
        ]
        return [Route(path, self._guarded(handler), methods=[method]) for method, path, handler in table]

    def _guarded(self, handler: Handler) -> Handler:
        """The handler behind the token, the organization's name and the rate limit."""

        async def guarded(request: Request) -> Response:
            if not same(token_of(request, "Bearer"), self._token):
                raise Refused(401, "Authentication required. Please supply a valid API Access Token")
            if request.path_params.get("org", self._engine.organization) != self._engine.organization:
                raise Refused(404, "No organization found")
            allowed, headers = self._limit.take(self._engine.clock.seconds())
            if not allowed:
                message = "You have exceeded your API rate limit. Please wait before making more requests."
                limit, reset = self._limit.limit, int(headers["RateLimit-User-Reset"])
                body = {
                    "message": message,
                    "scope": "user",
                    "limit": limit,
                    "current": limit + 1,
                    "reset": reset,
                }
                return JSONResponse(body, status_code=429, headers=headers)
            try:
                response = await handler(request)
            except Refused as error:
                response = JSONResponse({"message": error.message}, status_code=error.status)
            response.headers.update(headers)
            return response

        return guarded

    # What a path names

    def _pipeline(self, request: Request) -> PipelineSettings:
        found = self._engine.pipelines.get(request.path_params["pipeline"])
        if found is None:
            raise Refused(404, "No pipeline found")
        return found

    def _build(self, request: Request) -> Build:
        builds = self._pipeline(request).builds
        number = int(request.path_params["number"])
        if not 1 <= number <= len(builds):
            raise Refused(404, "No build found")
        return builds[number - 1]

    def _job(self, request: Request) -> Job:
        job = self._engine.jobs.get(request.path_params["job"])
        if job is None or ("number" in request.path_params and job.build is not self._build(request)):
            raise Refused(404, "No job found")
        return job

    # Pipelines and builds

    async def _user(self, _: Request) -> Response:
        user = self._engine.user
        return JSONResponse({"id": user.id, "name": user.name, "email": user.email})

    async def _access_token(self, _: Request) -> Response:
        user = self._engine.user
        about = {"name": user.name, "email": user.email}
        return JSONResponse({"uuid": user.id, "scopes": SCOPES, "description": "The laptop's", "user": about})

    async def _pipelines(self, _: Request) -> Response:
        return JSONResponse([self._views.pipeline(pipeline) for pipeline in self._engine.pipelines.values()])

    async def _create_pipeline(self, request: Request) -> Response:
        body = await json_body(request)
        pipeline = self._engine.create_pipeline(
            name=str(body.get("name") or ""),
            repository=str(body.get("repository") or ""),
            configuration=str(body.get("configuration") or UPLOAD_STEP),
            default_branch=str(body.get("default_branch") or "main"),
            env=text_map(body, "env"),
        )
        return JSONResponse(self._views.pipeline(pipeline), status_code=201)

    async def _get_pipeline(self, request: Request) -> Response:
        return JSONResponse(self._views.pipeline(self._pipeline(request)))

    async def _builds(self, request: Request) -> Response:
        builds = reversed(self._pipeline(request).builds)
        shown = [self._views.build(build, retried=_flag(request, "include_retried_jobs")) for build in builds]
        if _flag(request, "exclude_jobs"):
            shown = [{name: value for name, value in build.items() if name != "jobs"} for build in shown]
        return JSONResponse(shown)

    async def _create_build(self, request: Request) -> Response:
        pipeline = self._pipeline(request)
        body = await json_body(request)
        for name in ("commit", "branch"):
            if not body.get(name):
                raise Refused(422, f"Validation failed: '{name}' can't be blank")
        author = text_map(body, "author")
        email = author.get("email", "")
        creator = User(user_id(email), author.get("name", ""), email) if author else self._engine.user
        build = self._engine.create_build(
            pipeline,
            commit=str(body["commit"]),
            branch=str(body["branch"]),
            message=str(body.get("message") or ""),
            env=text_map(body, "env"),
            meta_data=text_map(body, "meta_data"),
            creator=creator,
        )
        return JSONResponse(self._views.build(build), status_code=201)

    async def _get_build(self, request: Request) -> Response:
        retried = _flag(request, "include_retried_jobs")
        return JSONResponse(self._views.build(self._build(request), retried=retried))

    async def _cancel_build(self, request: Request) -> Response:
        build = self._build(request)
        self._engine.cancel_build(build)
        return JSONResponse(self._views.build(build))

    async def _annotations(self, request: Request) -> Response:
        build = self._build(request)
        notes = sorted(build.annotations.values(), key=lambda note: -note.priority)
        return JSONResponse([self._views.annotation(note, build.artifacts) for note in notes])

    # Jobs

    async def _jobs(self, request: Request) -> Response:
        query = request.query_params
        states = [*query.getlist("state[]"), *query.getlist("state")]
        key, group = query.get("step_key"), query.get("group_key")
        found = [
            job
            for job in self._build(request).jobs
            if (not states or job_state(job) in states)
            and (job.retried_in is None or _flag(request, "include_retried_jobs", "true"))
            and (key is None or job.step.key == key)
            and (group is None or (job.step.group is not None and job.step.group.key == group))
        ]
        return JSONResponse({"items": [self._views.job(job) for job in found], "links": {}})

    async def _get_job(self, request: Request) -> Response:
        return JSONResponse(self._views.job(self._job(request)))

    async def _log(self, request: Request) -> Response:
        return JSONResponse(self._views.log(self._job(request)))

    async def _log_text(self, request: Request) -> Response:
        return PlainTextResponse(self._job(request).log.text())

    async def _env(self, request: Request) -> Response:
        job = self._job(request)
        if not isinstance(job.step.definition, CommandStep) or not isinstance(job.agent, Agent):
            raise Refused(404, "The job has no environment yet: no agent runs it")
        page = self._views.page(job.build)
        environment = job_environment(job, job.step.definition, job.agent, self._engine.organization, page)
        return JSONResponse({"env": environment})

    async def _unblock(self, request: Request) -> Response:
        job = self._job(request)
        body = await json_body(request)
        fields = body.get("fields") or {}
        if not isinstance(fields, dict):
            raise Refused(422, "'fields' must be a map of field keys to values")
        people = {
            user.id: user for user in [self._engine.user, *(b.creator for b in self._engine.builds.values())]
        }
        unblocker = str(body.get("unblocker") or self._engine.user.id)
        if unblocker not in people:
            raise Refused(422, "Unblocker is not a valid user id for this organization")
        self._engine.unblock(job, fields, people[unblocker])
        return JSONResponse(self._views.job(job))

    async def _retry(self, request: Request) -> Response:
        return JSONResponse(self._views.job(self._engine.retry(self._job(request))))

    async def _cancel_job(self, request: Request) -> Response:
        job = self._job(request)
        self._engine.cancel_job(job)
        return JSONResponse(self._views.job(job))

    # Artifacts

    async def _artifacts(self, request: Request) -> Response:
        build = self._build(request)
        job = request.path_params.get("job")
        found = [artifact for artifact in build.artifacts if job in (None, artifact.job.id)]
        return JSONResponse([self._views.artifact(artifact) for artifact in found])

    async def _download(self, request: Request) -> Response:
        job = self._job(request)
        for artifact in job.build.artifacts:
            path = artifacts.file_of(self._engine.artifact_files, artifact)
            if artifact.id == request.path_params["artifact"] and artifact.job is job and path.exists():
                return RedirectResponse(self._views.file(artifact), status_code=302)
        raise Refused(404, "No artifact found")


def _flag(request: Request, name: str, default: str = "false") -> bool:
    return request.query_params.get(name, default) == "true"
