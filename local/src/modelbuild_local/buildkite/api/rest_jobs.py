"""The part of the REST API about jobs and their logs, annotations and artifacts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from modelbuild_local.buildkite import artifacts
from modelbuild_local.buildkite.api.listing import answer_page, cursor_page, flag
from modelbuild_local.buildkite.api.resources import Resources
from modelbuild_local.buildkite.api.views import Views, in_states
from modelbuild_local.buildkite.api.web import Endpoint, json_body
from modelbuild_local.buildkite.engine import Engine, require_allowed
from modelbuild_local.buildkite.environment import job_environment
from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.identity import User
from modelbuild_local.buildkite.notes import annotate, annotation_options
from modelbuild_local.buildkite.pipeline.definition import CommandStep
from modelbuild_local.buildkite.state import Agent, Artifact, Build, Job

JOB_STATES = frozenset(
    [
        *("pending", "waiting", "waiting_failed", "blocked", "blocked_failed", "unblocked"),
        *("unblocked_failed", "scheduled", "assigned", "accepted", "running", "passed", "failed"),
        *("timed_out", "timing_out", "canceled", "canceling", "skipped", "broken", "expired", "limited"),
    ]
)
ARTIFACT_STATES = ("new", "error", "finished", "deleted", "expired")


class JobApi:
    """The handlers."""

    def __init__(self, engine: Engine, views: Views) -> None:
        self._engine = engine
        self._views = views
        self._find = Resources(engine)

    def endpoints(self) -> list[Endpoint]:
        """Methods, full paths and handlers; the path of a job may omit its build."""
        build = "/v2/organizations/{org}/pipelines/{pipeline}/builds/{number:int}"
        table: list[Endpoint] = [
            ("GET", f"{build}/jobs", self._jobs),
            ("GET", f"{build}/annotations", self._annotations),
            ("POST", f"{build}/annotations", self._annotate),
            ("DELETE", f"{build}/annotations/{{annotation}}", self._remove_annotation),
            ("GET", f"{build}/artifacts", self._artifacts),
        ]
        for job in (f"{build}/jobs/{{job}}", "/v2/organizations/{org}/jobs/{job}"):
            table += [
                ("GET", job, self._get_job),
                ("GET", f"{job}/log", self._log),
                ("GET", f"{job}/log.txt", self._log_text),
                ("GET", f"{job}/env", self._env),
                ("GET", f"{job}/env.txt", self._env),
                ("GET", f"{job}/annotations", self._annotations),
                ("POST", f"{job}/annotations", self._annotate),
                ("DELETE", f"{job}/annotations/{{annotation}}", self._remove_annotation),
                ("GET", f"{job}/artifacts", self._artifacts),
                ("GET", f"{job}/artifacts/{{artifact}}", self._get_artifact),
                ("GET", f"{job}/artifacts/{{artifact}}/download", self._download),
                ("PUT", f"{job}/unblock", self._unblock),
                ("PUT", f"{job}/retry", self._retry),
                ("PUT", f"{job}/cancel", self._cancel),
            ]
        return table

    def _owner(self, request: Request) -> tuple[Build, Job | None]:
        """The build of the path, and its job if the path names one."""
        if "job" not in request.path_params:
            return self._find.build(request), None
        job = self._find.job(request)
        return job.build, job

    # Jobs

    async def _jobs(self, request: Request) -> Response:
        query = request.query_params
        states = [*query.getlist("state[]"), *query.getlist("state")]
        if unknown := sorted(set(states) - JOB_STATES):
            raise Refused(400, f"'{unknown[0]}' is not a state of a job")
        key, group = query.get("step_key"), query.get("group_key")
        found = [
            job
            for job in self._find.build(request).jobs
            if in_states(job, states)
            and (job.retried_in is None or flag(request, "include_retried_jobs", "true"))
            and (key is None or job.step.key == key)
            and (group is None or (job.step.group is not None and job.step.group.key == group))
        ]
        items, links = cursor_page(request, found)
        return JSONResponse({"items": [self._views.job(job) for job in items], "links": links})

    async def _get_job(self, request: Request) -> Response:
        return JSONResponse(self._views.job(self._find.job(request)))

    async def _log(self, request: Request) -> Response:
        if _wants_text(request) or request.method == "HEAD":
            return await self._log_text(request)
        if "range" in request.headers:
            raise Refused(400, "A range of a log needs the header Accept: text/plain")
        return JSONResponse(self._views.log(self._find.job(request)))

    async def _log_text(self, request: Request) -> Response:
        content = self._find.job(request).log.text().encode()
        wanted = request.headers.get("range")
        if wanted is None:
            return PlainTextResponse(content, headers={"Accept-Ranges": "bytes"})
        last = re.fullmatch(r"bytes=-0*([1-9]\d{0,17})", wanted, re.ASCII)
        if last is None:
            raise Refused(400, "The only range of a log is that of its last bytes: bytes=-N")
        if not content:
            raise Refused(416, "The log is empty")
        first = max(0, len(content) - int(last[1]))
        place = f"bytes {first}-{len(content) - 1}/{len(content)}"
        headers = {"Accept-Ranges": "bytes", "Content-Range": place}
        return PlainTextResponse(content[first:], 206, headers)

    async def _env(self, request: Request) -> Response:
        job = self._find.job(request)
        if not isinstance(job.step.definition, CommandStep) or not isinstance(job.agent, Agent):
            raise Refused(404, "The job has no environment yet: no agent runs it")
        page = self._views.page(job.build)
        environment = job_environment(job, job.step.definition, job.agent, self._engine.organization, page)
        if _wants_text(request) or request.url.path.endswith(".txt"):
            return PlainTextResponse(_as_lines(environment))
        return JSONResponse({"env": environment})

    async def _unblock(self, request: Request) -> Response:
        job = self._find.job(request)
        body = await json_body(request)
        fields = body.get("fields") or {}
        if not isinstance(fields, dict):
            raise Refused(422, "'fields' must be a map of field keys to values")
        creators = (build.creator for build in self._engine.builds.values())
        people = {user.id: user for user in [*creators, self._engine.user, self._engine.bot]}
        # Buildkite does not document whether the caller or the named user needs the team: here both do.
        require_allowed(job, caller(request))
        unblocker = str(body.get("unblocker") or caller(request).id)
        if unblocker not in people:
            raise Refused(422, "Unblocker is not a valid user id for this organization")
        self._engine.unblock(job, fields, people[unblocker])
        return JSONResponse(self._views.job(job))

    async def _retry(self, request: Request) -> Response:
        return JSONResponse(self._views.job(self._engine.retry(self._find.job(request))))

    async def _cancel(self, request: Request) -> Response:
        job = self._find.job(request)
        self._engine.cancel_job(job)
        return JSONResponse(self._views.job(job))

    # Annotations

    async def _annotations(self, request: Request) -> Response:
        build, job = self._owner(request)
        scope = "job" if job is not None else request.query_params.get("scope", "build")
        notes = [
            note
            for note in sorted(build.annotations.values(), key=lambda note: -note.priority)
            if scope in (note.scope, "all") and (job is None or note.job_id == job.id)
        ]
        with_body = not flag(request, "omit_body")
        return answer_page(
            request, notes, lambda note: self._views.annotation(note, build.artifacts, body=with_body)
        )

    async def _annotate(self, request: Request) -> Response:
        build, job = self._owner(request)
        body = await json_body(request)
        text = str(body.get("body") or "")
        if not text:
            raise Refused(422, "Validation failed: 'body' can't be blank")
        note = annotate(
            build,
            self._engine.clock.now(),
            job_id=job.id if job is not None else "",
            options=annotation_options(body),
            body=text,
            append=body.get("append") is True,
            scope="build" if job is None else "job",
        )
        return JSONResponse(self._views.annotation(note, build.artifacts), status_code=201)

    async def _remove_annotation(self, request: Request) -> Response:
        build, job = self._owner(request)
        for key, note in build.annotations.items():
            in_scope = note.scope == "build" if job is None else key[1] == job.id
            if note.id == request.path_params["annotation"] and in_scope:
                del build.annotations[key]
                return Response(status_code=204)
        raise Refused(404, "No annotation found")

    # Artifacts

    async def _artifacts(self, request: Request) -> Response:
        build, job = self._owner(request)
        state, path = request.query_params.get("state"), request.query_params.get("path")
        if state is not None and state not in ARTIFACT_STATES:
            raise Refused(422, f"'state' must be one of {', '.join(ARTIFACT_STATES)}")
        found: list[Artifact] = [
            artifact
            for artifact in build.artifacts
            if job in (None, artifact.job)
            and state in (None, artifact.state)
            and (path is None or artifacts.matches(path, artifact.path))
        ]
        return answer_page(request, found, self._views.artifact)

    async def _get_artifact(self, request: Request) -> Response:
        return JSONResponse(self._views.artifact(self._find.artifact(request)))

    async def _download(self, request: Request) -> Response:
        artifact = self._find.artifact(request)
        if not artifacts.file_of(self._engine.artifact_files, artifact).exists():
            raise Refused(404, "No artifact found")
        url = self._views.file(artifact)
        return JSONResponse({"url": url}, 302, {"Location": url})


def _wants_text(request: Request) -> bool:
    return request.headers.get("accept", "").partition(";")[0].strip() == "text/plain"


def _as_lines(environment: Mapping[str, str]) -> str:
    """An environment in the form of dotenv files: a value is in quotes where it must be."""
    plain = re.compile(r"[\w./:@%+,=-]*", re.ASCII)
    lines = [
        f"{name}={value if plain.fullmatch(value) else json.dumps(value, ensure_ascii=False)}\n"
        for name, value in environment.items()
    ]
    return "".join(lines)


def caller(request: Request) -> User:
    """The user whose token a request carries."""
    user: User = request.state.caller
    return user
