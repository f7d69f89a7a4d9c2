"""The build page: what a person at this machine sees and clicks.

Other users of the machine reach its port, so a browser needs the key that ``modelbuild local up`` prints.
The page does nothing that was not clicked on a page of its own.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qsl, urlsplit

from jinja2 import Environment, PackageLoader
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from modelbuild.local.buildkite.definition import CommandStep, ManualStep
from modelbuild.local.buildkite.engine import Engine
from modelbuild.local.buildkite.logs import LogGroup, group_lines
from modelbuild.local.buildkite.markdown import to_html
from modelbuild.local.buildkite.refusal import Refused
from modelbuild.local.buildkite.retries import may_retry
from modelbuild.local.buildkite.state import Build, Group, Job, PipelineSettings, Step
from modelbuild.local.buildkite.views import Views, job_state
from modelbuild.local.session import PageSession

MAX_LINES = 2000
"""Lines of a log on the page; the whole of it is one click away."""


@dataclass(frozen=True)
class JobRow:
    """A job as the page shows it."""

    job: Job
    title: str
    kind: str
    state: str
    duration: str
    after: str
    log: list[LogGroup]
    cut: bool
    can_retry: bool


class Page:
    """The handlers; ``session`` knows who is let in."""

    def __init__(self, engine: Engine, views: Views, session: PageSession) -> None:
        self._engine = engine
        self._views = views
        self._session = session
        self._templates = Environment(loader=PackageLoader("modelbuild.local.buildkite"), autoescape=True)

    def routes(self) -> list[Route]:
        """The routes, with their full paths."""
        pipeline = f"/{self._engine.organization}/{{pipeline}}"
        build = f"{pipeline}/builds/{{number:int}}"
        admitted = self._session.required
        return [
            Route("/", admitted(self._index), methods=["GET"]),
            Route(f"/{self._engine.organization}", admitted(self._index), methods=["GET"]),
            Route(pipeline, admitted(self._index), methods=["GET"]),
            Route(build, admitted(self._show), methods=["GET"]),
            Route(f"{build}/cancel", admitted(self._cancel), methods=["POST"]),
            Route(f"{build}/jobs/{{job}}/log", admitted(self._log), methods=["GET"]),
            Route(f"{build}/jobs/{{job}}/unblock", admitted(self._unblock), methods=["POST"]),
            Route(f"{build}/jobs/{{job}}/retry", admitted(self._retry), methods=["POST"]),
        ]

    # Who may

    def _check_click(self, request: Request) -> None:
        # The guard in front of the server has refused other sites; a click names its own.
        if request.headers.get("origin") != f"http://{request.headers.get('host')}":
            raise Refused(403, "Only a click on the build page itself can do this")

    # What a path names

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

    # What is shown

    async def _index(self, request: Request) -> Response:
        only = self._pipeline(request) if "pipeline" in request.path_params else None
        builds = [build for build in self._engine.builds.values() if only in (None, build.pipeline)]
        rows = [(build, self._views.page(build), state(build)) for build in reversed(builds)]
        return self._html("index.html", rows=rows)

    async def _show(self, request: Request) -> Response:
        build, now = self._build(request), self._engine.clock.now()
        files = {artifact.path: self._views.file(artifact) for artifact in build.artifacts}
        notes = sorted(build.annotations.values(), key=lambda note: -note.priority)
        return self._html(
            "build.html",
            build=build,
            state=state(build),
            duration=duration(build.started_at, build.finished_at, now),
            rows=[job_row(job, now) for job in build.jobs if job.type != "waiter"],
            notes=[(note, to_html(note.body, files)) for note in notes],
            artifacts=[(artifact, self._views.file(artifact)) for artifact in build.artifacts],
            index=f"/{self._engine.organization}/{build.pipeline.slug}",
            page=f"/{self._engine.organization}/{build.pipeline.slug}/builds/{build.number}",
            over=build.finished_at is not None and not build.blocked,
        )

    async def _log(self, request: Request) -> Response:
        return PlainTextResponse(self._job(request).log.text())

    def _html(self, template: str, **values: object) -> Response:
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self';"
            " img-src 'self' https: http:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        text = self._templates.get_template(template).render(nonce=nonce, **values)
        return HTMLResponse(text, headers={"Content-Security-Policy": policy, "Cache-Control": "no-store"})

    # What is clicked

    async def _unblock(self, request: Request) -> Response:
        self._check_click(request)
        job = self._job(request)
        given = form_values((await request.body()).decode())
        fields: dict[str, object] = {
            field.key: given.get(field.key, []) if field.multiple else (given.get(field.key) or [""])[0]
            for field in job.fields
        }
        self._engine.unblock(job, fields, self._engine.user)
        return self._back(job.build)

    async def _retry(self, request: Request) -> Response:
        self._check_click(request)
        job = self._job(request)
        self._engine.retry(job)
        return self._back(job.build)

    async def _cancel(self, request: Request) -> Response:
        self._check_click(request)
        build = self._build(request)
        self._engine.cancel_build(build)
        return self._back(build)

    def _back(self, build: Build) -> Response:
        return RedirectResponse(urlsplit(self._views.page(build)).path, status_code=303)


def form_values(body: str) -> dict[str, list[str]]:
    """The values of a form by their names, empty ones too; lines end as they do elsewhere."""
    values: dict[str, list[str]] = {}
    for name, value in parse_qsl(body, keep_blank_values=True):
        values.setdefault(name, []).append(value.replace("\r\n", "\n"))
    return values


def state(build: Build) -> str:
    """The state in one word for people: a build that waits for somebody is blocked, unless it failed."""
    return "blocked" if build.blocked and build.state in ("passed", "running") else build.state


def duration(start: datetime | None, end: datetime | None, now: datetime) -> str:
    """The time between, or until now, as ``1 m 05 s``; empty for what has not started."""
    if start is None:
        return ""
    seconds = max(0, int(((end or now) - start).total_seconds()))
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} m {seconds % 60:02d} s"


def title(text: str) -> str:
    """A label without Buildkite's emoji names, of which no font here has all."""
    return re.sub(r":[a-z0-9_+-]+:", "", text).strip() or text


def job_row(job: Job, now: datetime) -> JobRow:
    """What the page says about a job."""
    definition = job.step.definition
    end = job.unblocked_at if job.type == "manual" else job.finished_at
    start = job.runnable_at if job.type == "manual" else job.started_at
    groups = group_lines(job.log.text())
    return JobRow(
        job=job,
        title=_step_title(job.step),
        kind=definition.type,
        state=_state(job),
        duration=duration(start, end, now),
        after=", ".join(dict.fromkeys(_names(job.step))),
        log=_tail(groups),
        cut=sum(len(group.lines) for group in groups) > MAX_LINES,
        can_retry=may_retry(job),
    )


def _state(job: Job) -> str:
    """The state of a job in the words of the page; that of a training's block is how the training ended."""
    if job.soft_failed:
        return "soft failed"
    ended = {"failed": "failed", "cancelled": "canceled"}
    return ended.get(job.training) or job_state(job).replace("_", " ")


def _names(step: Step) -> list[str]:
    """What a step waits for by its own ``depends_on``, by their titles."""
    if not isinstance(step.definition, (CommandStep, ManualStep)) or not step.definition.depends_on:
        return []
    wanted = {rule.step for rule in step.definition.depends_on}
    targets = [edge.step for edge in step.edges if {edge.step.id, edge.step.key} & wanted]
    return [title(target.label) if isinstance(target, Group) else _step_title(target) for target in targets]


def _step_title(step: Step) -> str:
    definition = step.definition
    text = definition.label or (
        definition.command if isinstance(definition, CommandStep) else definition.type
    )
    return title(text.split("\n")[0])


def _tail(groups: list[LogGroup]) -> list[LogGroup]:
    """The last lines of a log, in their groups."""
    left = MAX_LINES
    kept: list[LogGroup] = []
    for group in reversed(groups):
        if left <= 0:
            break
        kept.insert(0, LogGroup(title(group.title), group.open, group.lines[-left:]))
        left -= len(group.lines)
    return kept
