"""What people and programs do with pipelines, builds and jobs; ``agents`` has what agents do.

``progress`` applies the consequences.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from modelbuild_local.buildkite.environment import configured_environment
from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.identity import User, slug_of, user_id
from modelbuild_local.buildkite.notes import field_value, require_size
from modelbuild_local.buildkite.pipeline import graph
from modelbuild_local.buildkite.pipeline.conditions import build_context
from modelbuild_local.buildkite.pipeline.definition import Pipeline
from modelbuild_local.buildkite.pipeline.reader import PipelineError, parse_pipeline, parse_yaml
from modelbuild_local.buildkite.scheduling import concurrency, progress, retries, scheduler
from modelbuild_local.buildkite.scheduling.clock import Clock
from modelbuild_local.buildkite.state import (
    WITH_AGENT,
    Agent,
    Build,
    Job,
    PipelineSettings,
    PullRequest,
    Source,
    Step,
)

UPLOAD_STEP = "steps:\n  - label: ':pipeline: upload'\n    command: buildkite-agent pipeline upload\n"


class Engine:
    """One organization with its pipelines, builds and agents."""

    def __init__(self, organization: str, user: User, data: Path, clock: Clock | None = None) -> None:
        """Create an empty organization; the build page and the user's API token act as ``user``."""
        self.organization = organization
        self.user = user
        self.bot = User(user_id("bot@localhost"), "Training (API)", "bot@localhost", teams=())
        self.clock = clock or Clock()
        self.artifact_files = data / "artifacts"
        self.log_files = data / "logs"
        self.artifact_files.mkdir(parents=True, exist_ok=True)
        self.log_files.mkdir(parents=True, exist_ok=True)
        self.pipelines: dict[str, PipelineSettings] = {}
        self.agents: dict[str, Agent] = {}
        self.builds: dict[str, Build] = {}
        self.jobs: dict[str, Job] = {}

    # Pipelines and builds

    def create_pipeline(
        self,
        name: str,
        repository: str,
        configuration: str = UPLOAD_STEP,
        default_branch: str = "main",
        env: Mapping[str, str] | None = None,
    ) -> PipelineSettings:
        """A new pipeline; its slug comes from its name. Refused (422): taken, or a wrong configuration."""
        slug = slug_of(name)
        if not slug or not repository:
            raise Refused(422, "A pipeline needs a name with letters or digits, and a repository")
        if slug in self.pipelines:
            raise Refused(422, f"Name has already been taken: '{name}'")
        try:
            start = parse_yaml(configuration)
        except PipelineError as error:
            raise Refused(422, str(error)) from None
        self.pipelines[slug] = PipelineSettings(
            slug=slug,
            name=name,
            repository=repository,
            default_branch=default_branch,
            configuration=configuration,
            start=start,
            env=dict(env or {}),
            created_at=self.clock.now(),
        )
        return self.pipelines[slug]

    def create_build(
        self,
        pipeline: PipelineSettings,
        *,
        commit: str,
        branch: str,
        message: str = "",
        env: Mapping[str, str] | None = None,
        meta_data: Mapping[str, str] | None = None,
        creator: User | None = None,
        source: Source = "api",
        rebuilt_from: Build | None = None,
        clean_checkout: bool = False,
        pull_request: PullRequest | None = None,
    ) -> Build:
        """A new build with the pipeline's own steps. Refused (422): these do not fit together, or the
        meta-data is too large.

        Args:
            pipeline: the pipeline.
            commit: the commit, or ``HEAD`` for the newest of the branch.
            branch: the branch.
            message: what people read as the build's title.
            env: variables for every job; they override those of the pipeline, but no ``env`` of an upload.
            meta_data: the initial meta-data of the build.
            creator: the user who creates it; by default the organization's user.
            source: ``api``, or ``ui`` for the build page.
            rebuilt_from: the build that it repeats.
            clean_checkout: whether its jobs check out into an empty folder.
            pull_request: the pull request of the build.
        """
        require_size(meta_data or {})
        build = Build(
            pipeline=pipeline,
            number=len(pipeline.builds) + 1,
            commit=commit,
            branch=branch,
            message=message,
            env=dict(env or {}),
            meta_data=dict(meta_data or {}),
            creator=creator or self.user,
            created_at=self.clock.now(),
            source=source,
            rebuilt_from=rebuilt_from,
            clean_checkout=clean_checkout,
            pull_request=pull_request,
        )
        try:
            self._insert(build, pipeline.start, None)
        except PipelineError as error:
            raise Refused(422, str(error)) from None
        pipeline.builds.append(build)
        self.builds[build.id] = build
        self.advance(build)
        return build

    def upload(self, job: Job, upload_id: str, document: object) -> None:
        """Add the pipeline that ``job`` uploaded, once for each id. Refused (422): it is wrong."""
        if upload_id in job.uploads:
            return
        if job.state not in WITH_AGENT:
            raise Refused(422, "Only a running job can upload a pipeline")
        try:
            pipeline = parse_pipeline(document)
            self._insert(job.build, pipeline, job.step)
        except PipelineError as error:
            raise Refused(422, str(error)) from None
        job.uploads.add(upload_id)
        job.build.uploaded_env.update(pipeline.env)
        self.advance(job.build)

    def rebuild(self, build: Build, *, source: Source = "api") -> Build:
        """A new build of the same commit, branch, message and variables. Refused as ``create_build``."""
        return self.create_build(
            build.pipeline,
            commit=build.commit,
            branch=build.branch,
            message=build.message,
            env=build.env,
            source=source,
            rebuilt_from=build,
            clean_checkout=build.clean_checkout,
            pull_request=build.pull_request,
        )

    def cancel_build(self, build: Build) -> None:
        """Cancel everything that has not ended. Refused (422): the build is over."""
        if scheduler.is_over(build):
            raise Refused(422, "Build can't be canceled because it's already finished.")
        build.canceled = True
        for step in build.steps:
            progress.cancel(step.job, self.clock.now())
        self.advance(build)

    # Jobs

    def cancel_job(self, job: Job) -> None:
        """Cancel one job that has not ended."""
        progress.cancel(job, self.clock.now())
        self.advance(job.build)

    def retry(self, job: Job) -> Job:
        """A new job for the same step; the old one keeps its state. Refused (400, 422): not possible."""
        retries.check_manual(job)
        return self.add_retry(job, "manual")

    def retry_failed(self, build: Build, states: Collection[str]) -> list[Job]:
        """New jobs for all jobs of a build in these states that may be retried manually.

        Args:
            build: the build.
            states: ``failed``, ``soft_failed``, ``timed_out`` or ``canceled``.
        """
        found = [job for job in build.jobs if retries.failure(job) in states and retries.may_retry(job)]
        return [self.add_retry(job, "manual") for job in found]

    def unblock(self, job: Job, fields: Mapping[str, object], user: User) -> None:
        """Open a block or input step; its fields become meta-data of the build. Refused: see the messages."""
        if job.type != "manual":
            raise Refused(400, "This job type cannot be unblocked")
        if job.build.canceled:
            raise Refused(422, "Jobs from canceled builds cannot be unblocked")
        if job.state != "blocked":
            raise Refused(422, "The job's state must be blocked")
        unknown = sorted(set(fields) - {field.key for field in job.fields})
        if unknown:
            raise Refused(422, f"The step has no field with the key '{unknown[0]}'")
        require_allowed(job, user)
        job.build.meta_data.update(
            {field.key: field_value(field, fields.get(field.key)) for field in job.fields}
        )
        job.state = "unblocked"
        job.unblocked_by = user
        job.unblocked_at = job.finished_at = self.clock.now()
        self.advance(job.build)

    # Consequences of a change

    def _insert(self, build: Build, pipeline: Pipeline, uploader: Step | None) -> None:
        env = configured_environment(build)
        if uploader is not None:
            env |= pipeline.env
        context = build_context(build, self.organization, env)
        graph.insert(build, pipeline, uploader, context, self.clock.now())

    def add_retry(self, job: Job, kind: Literal["automatic", "manual"]) -> Job:
        """A new job for the same step, whether or not its rules allow one."""
        new = graph.add_job(job.build, job.step, self.clock.now())
        new.retry_type, new.retries = kind, job
        job.retried_in = new
        self.advance(job.build)
        return new

    def advance(self, build: Build) -> None:
        """Update the state of a build from its jobs, and what this means for concurrency groups."""
        for step in build.steps:
            self.jobs.setdefault(step.job.id, step.job)
        progress.settle(build, self.clock.now())
        concurrency.mark_limited(self.builds.values())


def require_allowed(job: Job, user: User) -> None:
    """Refuse (403) a user who belongs to none of the teams that may unblock a step."""
    if job.allowed_teams and not user.in_one_of(job.allowed_teams):
        raise Refused(403, "Forbidden")


def steps_of(build: Build, key_or_id: str) -> list[Step]:
    """All jobs' steps with this key or id, or the steps of this group. Refused (404): neither exists."""
    found = build.find_all(key_or_id)
    if not found:
        raise Refused(404, f"No step '{key_or_id}' in this build")
    return found
