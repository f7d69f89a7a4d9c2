"""The operations that change the state; ``progress`` applies the consequences."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

from modelbuild_local.buildkite.environment import configured_environment
from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.identity import User, slug_of, user_id
from modelbuild_local.buildkite.notes import field_value, require_size
from modelbuild_local.buildkite.pipeline import graph
from modelbuild_local.buildkite.pipeline.conditions import build_context
from modelbuild_local.buildkite.pipeline.definition import CommandStep, Pipeline
from modelbuild_local.buildkite.pipeline.reader import PipelineError, parse_pipeline, parse_yaml
from modelbuild_local.buildkite.scheduling import concurrency, progress, retries, scheduler
from modelbuild_local.buildkite.scheduling.clock import Clock
from modelbuild_local.buildkite.state import (
    WITH_AGENT,
    Agent,
    Build,
    Job,
    JobState,
    PipelineSettings,
    PullRequest,
    Source,
    Step,
)

LOST_AFTER = 90.0
"""Seconds of silence after which an agent counts as lost; an idle agent calls each second."""

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
        self._advance(build)
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
        self._advance(job.build)

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
        self._advance(build)

    # Jobs, for people and programs

    def cancel_job(self, job: Job) -> None:
        """Cancel one job that has not ended."""
        progress.cancel(job, self.clock.now())
        self._advance(job.build)

    def retry(self, job: Job) -> Job:
        """A new job for the same step; the old one keeps its state. Refused (400, 422): not possible."""
        retries.check_manual(job)
        return self._retry(job, "manual")

    def retry_failed(self, build: Build, states: Collection[str]) -> list[Job]:
        """New jobs for all jobs of a build in these states that may be retried manually.

        Args:
            build: the build.
            states: ``failed``, ``soft_failed``, ``timed_out`` or ``canceled``.
        """
        found = [job for job in build.jobs if retries.failure(job) in states and retries.may_retry(job)]
        return [self._retry(job, "manual") for job in found]

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
        self._advance(job.build)

    # Agents

    def register(self, name: str, hostname: str, version: str, tags: Sequence[str], priority: int) -> Agent:
        """A new agent."""
        agent = Agent(
            name=name,
            hostname=hostname,
            version=version,
            tags=tuple(tags),
            priority=priority,
            created_at=self.clock.now(),
            seen=self.clock.seconds(),
        )
        self.agents[agent.id] = agent
        return agent

    def ping(self, agent: Agent) -> Job | None:
        """The job the agent is to accept next, if there is one."""
        if agent.connection_state == "lost":
            agent.connection_state = "connected"
        if agent.job is None and agent.connection_state == "connected":
            job = scheduler.next_job(self.builds.values(), agent)
            if job is not None:
                job.state, job.agent, agent.job = "assigned", agent, job
                concurrency.mark_limited(self.builds.values())
        return agent.job if agent.job is not None and agent.job.state == "assigned" else None

    def accept(self, agent: Agent, job: Job) -> None:
        """The agent accepts its assigned job. Refused (422): the job is not assigned to it."""
        if job.agent is not agent or job.state not in ("assigned", "accepted"):
            raise Refused(422, "The job is not assigned to this agent")
        job.state = "accepted"

    def start(self, job: Job) -> None:
        """The agent begins to run the job."""
        if job.state not in ("accepted", "canceling"):
            raise Refused(422, f"The job cannot be started: its state is {job.state}")
        if job.state == "accepted":
            job.state = "running"
        job.started_at, job.started = self.clock.now(), self.clock.seconds()
        job.build.started_at = job.build.started_at or job.started_at
        self._advance(job.build)

    def finish(self, job: Job, exit_status: int, signal: str, signal_reason: str) -> None:
        """The job has ended; it may be retried automatically. Refused (422): it had ended before."""
        if job.state not in WITH_AGENT:
            raise Refused(422, f"The job cannot be finished: its state is {job.state}")
        if job.agent is not None:
            job.agent.job = None
        ends: dict[JobState, JobState] = {"canceling": "canceled"}
        if exit_status != 0:
            # A job that exits with 0 has passed, even after its timeout.
            ends["timing_out"] = "timed_out"
        job.state = ends.get(job.state, "finished")
        job.exit_status, job.signal, job.signal_reason = exit_status, signal, signal_reason
        job.finished_at = self.clock.now()
        job.log.close()
        (self.log_files / f"{job.id}.log").write_bytes(bytes(job.log.content))
        job.soft_failed = scheduler.fails_softly(job)
        job.retry_rule = retries.automatic_rule(job)
        if job.retry_rule is not None:
            self._retry(job, "automatic")
        self._advance(job.build)

    def disconnect(self, agent: Agent, *, lost: bool = False) -> None:
        """The agent has disconnected; its job fails."""
        agent.connection_state = "lost" if lost else "disconnected"
        if agent.job is not None:
            self.finish(agent.job, -1, "", "agent_stop")

    def tick(self) -> None:
        """Called once a second: stop jobs after their timeout, and disconnect silent agents."""
        now = self.clock.seconds()
        for agent in self.agents.values():
            job = agent.job
            if agent.connection_state in ("connected", "stopping") and now - agent.seen > LOST_AFTER:
                self.disconnect(agent, lost=True)
            elif job is not None and job.state == "running" and isinstance(job.step.definition, CommandStep):
                limit = job.step.definition.timeout_in_minutes
                if limit is not None and job.started is not None and now - job.started > limit * 60:
                    job.state = "timing_out"

    # Consequences of a change

    def _insert(self, build: Build, pipeline: Pipeline, uploader: Step | None) -> None:
        env = configured_environment(build)
        if uploader is not None:
            env |= pipeline.env
        context = build_context(build, self.organization, env)
        graph.insert(build, pipeline, uploader, context, self.clock.now())

    def _retry(self, job: Job, kind: Literal["automatic", "manual"]) -> Job:
        new = graph.add_job(job.build, job.step, self.clock.now())
        new.retry_type, new.retries = kind, job
        job.retried_in = new
        self._advance(job.build)
        return new

    def _advance(self, build: Build) -> None:
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
