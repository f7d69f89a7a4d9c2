"""The part of the REST API about pipelines and builds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from modelbuild_local.buildkite.api.listing import answer_page, flag, select_builds
from modelbuild_local.buildkite.api.resources import Resources
from modelbuild_local.buildkite.api.views import Json, Views, in_states
from modelbuild_local.buildkite.api.web import Endpoint, json_body, text_map
from modelbuild_local.buildkite.engine import UPLOAD_STEP, Engine
from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.identity import User, user_id
from modelbuild_local.buildkite.state import Build, PullRequest

FAILURES = ("canceled", "expired", "failed", "soft_failed", "timed_out")


class BuildApi:
    """The handlers."""

    def __init__(self, engine: Engine, views: Views) -> None:
        self._engine = engine
        self._views = views
        self._find = Resources(engine)

    def endpoints(self) -> list[Endpoint]:
        """Methods, full paths and handlers."""
        pipelines = "/v2/organizations/{org}/pipelines"
        builds = f"{pipelines}/{{pipeline}}/builds"
        build = f"{builds}/{{number:int}}"
        return [
            ("GET", pipelines, self._pipelines),
            ("POST", pipelines, self._create_pipeline),
            ("GET", f"{pipelines}/{{pipeline}}", self._get_pipeline),
            ("GET", "/v2/builds", self._all_builds),
            ("GET", "/v2/organizations/{org}/builds", self._all_builds),
            ("GET", builds, self._builds),
            ("POST", builds, self._create_build),
            ("GET", build, self._get_build),
            ("PUT", f"{build}/cancel", self._cancel_build),
            ("PUT", f"{build}/rebuild", self._rebuild),
            ("PUT", f"{build}/retry_failed_jobs", self._retry_failed_jobs),
        ]

    async def _pipelines(self, request: Request) -> Response:
        name, repository = (request.query_params.get(key, "").lower() for key in ("name", "repository"))
        found = [
            pipeline
            for pipeline in self._engine.pipelines.values()
            if name in pipeline.name.lower() and repository in pipeline.repository.lower()
        ]
        return answer_page(request, found, self._views.pipeline)

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
        return JSONResponse(self._views.pipeline(self._find.pipeline(request)))

    async def _all_builds(self, request: Request) -> Response:
        return self._list(request, self._engine.builds.values())

    async def _builds(self, request: Request) -> Response:
        return self._list(request, self._find.pipeline(request).builds)

    def _list(self, request: Request, builds: Iterable[Build]) -> Response:
        found = select_builds(builds, request.query_params)
        return answer_page(request, found, lambda build: self._view(request, build))

    async def _create_build(self, request: Request) -> Response:
        pipeline = self._find.pipeline(request)
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
            clean_checkout=body.get("clean_checkout") is True,
            pull_request=_pull_request(body),
        )
        return JSONResponse(self._views.build(build), status_code=201)

    async def _get_build(self, request: Request) -> Response:
        build = self._find.build(request)
        counts = self._views.job_state_counts(build, retried=flag(request, "include_retried_jobs"))
        return JSONResponse({**self._view(request, build), "job_state_counts": counts})

    async def _cancel_build(self, request: Request) -> Response:
        build = self._find.build(request)
        self._engine.cancel_build(build)
        return JSONResponse(self._views.build(build))

    async def _rebuild(self, request: Request) -> Response:
        build = self._engine.rebuild(self._find.build(request))
        return JSONResponse(self._views.build(build))

    async def _retry_failed_jobs(self, request: Request) -> Response:
        build = self._find.build(request)
        text = str((await json_body(request)).get("states") or "")
        states = [part.strip() for part in text.split(",") if part.strip()] or list(FAILURES)
        if unknown := [state for state in states if state not in FAILURES]:
            valid = ", ".join(FAILURES)
            raise Refused(400, f"Invalid states: {', '.join(unknown)}. Valid states are {valid}.")
        jobs = self._engine.retry_failed(build, states)
        shown = {**self._views.build(build), "retried_jobs_count": len(jobs)}
        return JSONResponse(shown, status_code=202)

    def _view(self, request: Request, build: Build) -> Json:
        """The build as JSON, without the jobs and the pipeline that the query excludes."""
        states = request.query_params.getlist("job_states[]")
        jobs = [
            job
            for job in build.jobs
            if (job.retried_in is None or flag(request, "include_retried_jobs")) and in_states(job, states)
        ]
        shown = self._views.build(build, jobs)
        for name in ("jobs", "pipeline"):
            if flag(request, f"exclude_{name}"):
                del shown[name]
        return shown


def _pull_request(body: Mapping[str, Any]) -> PullRequest | None:
    """The pull request that the body of a new build names. Refused (422): its labels are no list."""
    if not body.get("pull_request_id"):
        return None
    labels = body.get("pull_request_labels") or []
    if not isinstance(labels, list):
        raise Refused(422, "'pull_request_labels' must be a list")
    return PullRequest(
        id=str(body["pull_request_id"]),
        base_branch=str(body.get("pull_request_base_branch") or ""),
        repository=str(body.get("pull_request_repository") or ""),
        labels=tuple(str(label) for label in labels),
    )
