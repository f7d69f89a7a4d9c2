"""The build page for the user of this machine.

Other users of the machine can reach its port, so a browser needs the key that ``modelbuild local up`` prints.
The page accepts only clicks on its own pages.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from modelbuild_local.buildkite.api.views import Views
from modelbuild_local.buildkite.engine import Engine
from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.pages.forms import form_values, variables
from modelbuild_local.buildkite.pages.markdown import to_html
from modelbuild_local.buildkite.pages.rows import agent_hint, build_state, duration, job_row
from modelbuild_local.buildkite.pages.training import waits_for_training
from modelbuild_local.buildkite.state import Build, Job, PipelineSettings
from modelbuild_local.service import pages
from modelbuild_local.service.session import PageSession

MANUAL_UNBLOCK = ":by-hand"
"""The checkbox to unblock a training's step by hand; no field can have this key."""

_POLICY = "script-src 'nonce-{nonce}'; connect-src 'self'; img-src 'self' https: http:; form-action 'self'"


class Page:
    """The handlers; ``session`` admits browsers with the key."""

    def __init__(self, engine: Engine, views: Views, session: PageSession) -> None:
        self._engine = engine
        self._views = views
        self._session = session
        self._templates = pages.templates("modelbuild_local.buildkite.pages")

    def routes(self) -> list[Route]:
        """The routes, with their full paths."""
        pipeline = f"/{self._engine.organization}/{{pipeline}}"
        build = f"{pipeline}/builds/{{number:int}}"
        admitted = self._session.required
        return [
            Route("/", admitted(self._index), methods=["GET"]),
            Route(f"/{self._engine.organization}", admitted(self._index), methods=["GET"]),
            Route(pipeline, admitted(self._index), methods=["GET"]),
            Route(f"{pipeline}/new", admitted(self._new), methods=["GET"]),
            Route(f"{pipeline}/builds", admitted(self._create), methods=["POST"]),
            Route(build, admitted(self._show), methods=["GET"]),
            Route(f"{build}/cancel", admitted(self._cancel), methods=["POST"]),
            Route(f"{build}/rebuild", admitted(self._rebuild), methods=["POST"]),
            Route(f"{build}/jobs/{{job}}/log", admitted(self._log), methods=["GET"]),
            Route(f"{build}/jobs/{{job}}/unblock", admitted(self._unblock), methods=["POST"]),
            Route(f"{build}/jobs/{{job}}/retry", admitted(self._retry), methods=["POST"]),
        ]

    # Who may

    def _check_click(self, request: Request) -> None:
        # The guard has refused other sites; a click on a page names this server as its origin.
        if request.headers.get("origin") != f"http://{request.headers.get('host')}":
            raise Refused(403, "Only a click on the build page itself can do this")

    # Resources of a path

    def _pipeline(self, request: Request) -> PipelineSettings:
        found = self._engine.pipelines.get(request.path_params["pipeline"])
        if found is None:
            raise Refused(404, f"No pipeline '{request.path_params['pipeline']}'")
        return found

    def _build(self, request: Request) -> Build:
        builds, number = self._pipeline(request).builds, int(request.path_params["number"])
        if not 1 <= number <= len(builds):
            raise Refused(404, f"No build {number}")
        return builds[number - 1]

    def _job(self, request: Request) -> Job:
        job = self._engine.jobs.get(request.path_params["job"])
        if job is None or job.build is not self._build(request):
            raise Refused(404, "No such job in this build")
        return job

    # Pages

    async def _index(self, request: Request) -> Response:
        only = self._pipeline(request) if "pipeline" in request.path_params else None
        builds = [build for build in self._engine.builds.values() if only in (None, build.pipeline)]
        pipelines = [only] if only else list(self._engine.pipelines.values())
        return self._html(
            "index.html",
            title=only.name if only else "Builds",
            pipelines=[(pipeline, self._path(pipeline)) for pipeline in pipelines],
            rows=[(build, self._views.page(build), build_state(build)) for build in reversed(builds)],
        )

    async def _show(self, request: Request) -> Response:
        return self._build_page(self._build(request))

    def _build_page(self, build: Build, refused: Refused | None = None) -> Response:
        """The page of a build; with the reason if a click on it was refused."""
        now = self._engine.clock.now()
        files = {artifact.path: self._views.file(artifact) for artifact in build.artifacts}
        notes = sorted(build.annotations.values(), key=lambda note: -note.priority)
        return self._html(
            "build.html",
            status=200 if refused is None else refused.status,
            error="" if refused is None else refused.message.removesuffix("."),
            build=build,
            state=build_state(build),
            duration=duration(build.started_at, build.finished_at, now),
            rows=[job_row(job, now) for job in build.jobs if job.type != "waiter"],
            hint=agent_hint(build, self._engine.agents.values()),
            notes=[(note, to_html(note.body, files)) for note in notes],
            artifacts=[(artifact, self._views.file(artifact)) for artifact in build.artifacts],
            index=self._path(build.pipeline),
            page=f"{self._path(build.pipeline)}/builds/{build.number}",
            over=build.finished_at is not None and not build.blocked,
            manual_unblock=MANUAL_UNBLOCK,
        )

    async def _new(self, request: Request) -> Response:
        pipeline = self._pipeline(request)
        like = next(
            (build for build in pipeline.builds if str(build.number) == request.query_params.get("like")),
            None,
        )
        env = like.env if like else {}
        submitted = {
            "branch": like.branch if like else pipeline.default_branch,
            "commit": "HEAD",
            # The form has one line for each variable, so it cannot contain a value of several lines.
            "env": "\n".join(f"{name}={value}" for name, value in env.items() if "\n" not in value),
        }
        return self._form(pipeline, submitted)

    def _form(self, pipeline: PipelineSettings, submitted: dict[str, str], error: str = "") -> Response:
        """The form of a new build with the submitted values, and the error if they were refused."""
        return self._html(
            "new.html",
            status=422 if error else 200,
            pipeline=pipeline,
            index=self._path(pipeline),
            submitted=submitted,
            error=error,
        )

    async def _log(self, request: Request) -> Response:
        return PlainTextResponse(self._job(request).log.text())

    def _html(self, template: str, *, status: int = 200, **values: object) -> Response:
        return pages.answer(self._templates, template, _POLICY, values, status=status)

    def _path(self, pipeline: PipelineSettings) -> str:
        return f"/{self._engine.organization}/{pipeline.slug}"

    # Actions

    async def _unblock(self, request: Request) -> Response:
        self._check_click(request)
        job = self._job(request)
        submitted = await _form_values(request)
        return self._after(job.build, lambda: self._open(job, submitted))

    def _open(self, job: Job, submitted: dict[str, list[str]]) -> None:
        if waits_for_training(job) and MANUAL_UNBLOCK not in submitted:
            raise Refused(422, "The training unblocks this step: tick the box to unblock it by hand")
        fields: dict[str, object] = {
            field.key: submitted.get(field.key, [])
            if field.multiple
            else (submitted.get(field.key) or [""])[0]
            for field in job.fields
        }
        self._engine.unblock(job, fields, self._engine.user)

    async def _retry(self, request: Request) -> Response:
        self._check_click(request)
        job = self._job(request)
        return self._after(job.build, lambda: self._engine.retry(job))

    async def _cancel(self, request: Request) -> Response:
        self._check_click(request)
        build = self._build(request)
        return self._after(build, lambda: self._engine.cancel_build(build))

    def _after(self, build: Build, change: Callable[[], object]) -> Response:
        """Change a build, and go back to its page, which shows why if the change is refused."""
        try:
            change()
        except Refused as refused:
            return self._build_page(build, refused)
        return self._back(build)

    async def _rebuild(self, request: Request) -> Response:
        self._check_click(request)
        return self._back(self._engine.rebuild(self._build(request), source="ui"))

    async def _create(self, request: Request) -> Response:
        self._check_click(request)
        pipeline = self._pipeline(request)
        values = await _form_values(request)
        submitted = {name: values.get(name, [""])[0] for name in ("branch", "commit", "message", "env")}
        try:
            for name in ("branch", "commit"):
                if not submitted[name].strip():
                    raise Refused(422, f"A build needs a {name}")
            build = self._engine.create_build(
                pipeline,
                commit=submitted["commit"].strip(),
                branch=submitted["branch"].strip(),
                message=submitted["message"],
                env=variables(submitted["env"]),
                source="ui",
            )
        except Refused as refused:
            return self._form(pipeline, submitted, refused.message)
        return self._back(build)

    def _back(self, build: Build) -> Response:
        return RedirectResponse(urlsplit(self._views.page(build)).path, status_code=303)


async def _form_values(request: Request) -> dict[str, list[str]]:
    try:
        return form_values((await request.body()).decode())
    except UnicodeDecodeError:
        raise Refused(400, "The form is not UTF-8") from None
