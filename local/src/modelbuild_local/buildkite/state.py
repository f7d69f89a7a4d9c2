"""The data of the server, which ``engine`` changes; objects are compared by identity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from modelbuild.formats.pipeline_rules import StepPosition
from modelbuild_local.buildkite.identity import User, new_id, new_token
from modelbuild_local.buildkite.logs import JobLog
from modelbuild_local.buildkite.pipeline.definition import (
    CommandStep,
    InputField,
    ManualStep,
    Pipeline,
    WaitStep,
)

JobType = Literal["script", "manual", "waiter"]
JobState = Literal[
    "waiting",  # for the steps it depends on
    "waiting_failed",  # a step it depends on failed; a retry of that step makes this job run
    "broken",  # the same, and the build is over; or the step does not belong to the build
    "scheduled",
    "assigned",
    "accepted",
    "running",
    "canceling",
    "canceled",
    "timing_out",
    "timed_out",
    "blocked",
    "unblocked",
    "finished",
]
BuildState = Literal[
    "scheduled", "running", "failing", "passed", "failed", "canceling", "canceled", "not_run"
]

Source = Literal["api", "ui"]
"""The source of a build."""

WITH_AGENT: frozenset[JobState] = frozenset(["assigned", "accepted", "running", "canceling", "timing_out"])
ENDED: frozenset[JobState] = frozenset(["canceled", "timed_out", "unblocked", "finished"])
ASLEEP: frozenset[JobState] = frozenset(["waiting", "waiting_failed", "broken"])


@dataclass(eq=False)
class Agent:
    """A connected agent; ``seen`` is the monotonic second of its last request."""

    name: str
    hostname: str
    version: str
    tags: tuple[str, ...]
    priority: int
    created_at: datetime
    seen: float
    id: str = field(default_factory=new_id)
    token: str = field(default_factory=new_token)
    connection_state: Literal["connected", "stopping", "disconnected", "lost"] = "connected"
    job: Job | None = None

    @property
    def queue(self) -> str:
        """The queue the agent takes jobs from."""
        return next((tag.partition("=")[2] for tag in self.tags if tag.startswith("queue=")), "default")


@dataclass(eq=False)
class Edge:
    """A dependency on ``step``. ``allow_failure``: the step may fail. ``uploads``: the dependency includes
    all steps that it uploads.
    """

    step: Step | Group
    allow_failure: bool = False
    uploads: bool = True

    @property
    def targets(self) -> list[Step]:
        """The steps of this dependency that are known so far."""
        steps = self.step.members if isinstance(self.step, Group) else [self.step]
        return [found for step in steps for found in step.with_uploads()] if self.uploads else steps


@dataclass(eq=False)
class Group:
    """A group of steps, on which other steps can depend."""

    label: str
    key: str | None
    id: str = field(default_factory=new_id)
    members: list[Step] = field(default_factory=list)


@dataclass(eq=False)
class Step:
    """A step of a build, with one job for each attempt.

    A step with a matrix or parallelism stands as several of these, with one id and one key.

    A barrier (see ``position``) waits for all steps before it, also for those that are uploaded later, but
    not for the steps with an id in ``exempt``: these wait for steps of the barrier's own upload. ``edges``
    holds every other dependency. ``omitted`` is the reason why the step does not run.
    """

    definition: CommandStep | WaitStep | ManualStep
    edges: list[Edge]
    position: StepPosition
    group: Group | None
    omitted: str = ""
    matrix: dict[str, str] | None = None
    parallel: tuple[int, int] | None = None
    exempt: frozenset[str] = frozenset()
    id: str = field(default_factory=new_id)
    jobs: list[Job] = field(default_factory=list)
    uploads: list[Step] = field(default_factory=list)

    def with_uploads(self) -> Iterator[Step]:
        """The step, the steps that it uploaded, those that these uploaded, and so on."""
        left = [self]
        while left:
            step = left.pop()
            yield step
            left += step.uploads

    @property
    def job(self) -> Job:
        """The newest job, whose state is that of the step."""
        return self.jobs[-1]

    @property
    def key(self) -> str | None:
        """The key from the pipeline."""
        return self.definition.key


@dataclass(eq=False)
class Job:
    """One attempt at a step.

    ``retries`` is the job that it repeats, ``retry_rule`` the number of the rule that retried it.
    ``behind_cancel``: it does not run because a job that it depends on was canceled. ``limited``: its
    concurrency group has no place for it yet.
    """

    step: Step
    build: Build
    type: JobType
    created_at: datetime
    id: str = field(default_factory=new_id)
    token: str = field(default_factory=new_token)
    state: JobState = "waiting"
    agent: Agent | None = None
    runnable_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    started: float | None = None
    exit_status: int | None = None
    signal: str = ""
    signal_reason: str = ""
    soft_failed: bool = False
    retries: Job | None = None
    retried_in: Job | None = None
    retry_type: Literal["automatic", "manual"] | None = None
    retry_rule: int | None = None
    behind_cancel: bool = False
    limited: bool = False
    unblocked_by: User | None = None
    unblocked_at: datetime | None = None
    uploads: set[str] = field(default_factory=set)
    log: JobLog = field(default_factory=JobLog)

    @property
    def passed(self) -> bool:
        """Whether steps that depend on this one may run."""
        if self.step.omitted:
            return True
        if self.state == "finished":
            return self.exit_status == 0 or self.soft_failed
        return self.state == "unblocked"

    @property
    def failed(self) -> bool:
        """Whether it ended, and steps that depend on it may not run."""
        return self.state in ENDED and not self.passed

    @property
    def allowed_teams(self) -> list[str]:
        """The teams whose members may unblock it; empty for everyone."""
        return self.step.definition.allowed_teams if isinstance(self.step.definition, ManualStep) else []

    @property
    def fields(self) -> list[InputField]:
        """The fields that a person fills in to unblock it."""
        return self.step.definition.fields if isinstance(self.step.definition, ManualStep) else []


@dataclass(eq=False)
class Annotation:
    """A message on a build, or on a job if ``scope`` is ``job``."""

    context: str
    body: str
    style: str
    priority: int
    scope: str
    job_id: str
    created_at: datetime
    updated_at: datetime
    id: str = field(default_factory=new_id)


@dataclass(eq=False)
class Artifact:
    """A file a job uploaded; ``secret`` makes its download address unguessable."""

    job: Job
    path: str
    absolute_path: str
    glob_path: str
    file_size: int
    sha1sum: str
    sha256sum: str
    content_type: str
    upload: str
    created_at: datetime
    id: str = field(default_factory=new_id)
    secret: str = field(default_factory=new_token)
    state: str = "new"


@dataclass(frozen=True)
class PullRequest:
    """The pull request that a build is of: its number, its target, and the repository it comes from."""

    id: str
    base_branch: str
    repository: str
    labels: tuple[str, ...]


@dataclass(eq=False)
class Build:
    """A build of a pipeline; ``env`` comes from its creator, ``uploaded_env`` from uploaded pipelines."""

    pipeline: PipelineSettings
    number: int
    commit: str
    branch: str
    message: str
    env: dict[str, str]
    meta_data: dict[str, str]
    creator: User
    created_at: datetime
    source: Source = "api"
    rebuilt_from: Build | None = None
    clean_checkout: bool = False
    pull_request: PullRequest | None = None
    uploaded_env: dict[str, str] = field(default_factory=dict)
    id: str = field(default_factory=new_id)
    state: BuildState = "scheduled"
    blocked: bool = False
    canceled: bool = False
    steps: list[Step] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    annotations: dict[tuple[str, str], Annotation] = field(default_factory=dict)
    artifacts: list[Artifact] = field(default_factory=list)
    started_at: datetime | None = None
    failing_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def jobs(self) -> list[Job]:
        """All jobs in the order of their steps; a retried job comes before its replacement."""
        return [job for step in self.steps for job in step.jobs]

    def find(self, key_or_id: str) -> Step | Group | None:
        """The step or group with this key or id."""
        everything: list[Step | Group] = [*self.steps, *self.groups]
        return next((step for step in everything if key_or_id in (step.id, step.key)), None)

    def find_all(self, key_or_id: str) -> list[Step]:
        """The step with this key or id, with all of its jobs, or the steps of the group."""
        found = self.find(key_or_id)
        if isinstance(found, Group):
            return found.members
        return [] if found is None else [step for step in self.steps if step.id == found.id]


@dataclass(eq=False)
class PipelineSettings:
    """A pipeline: its repository, and the initial steps of each build."""

    slug: str
    name: str
    repository: str
    default_branch: str
    configuration: str
    start: Pipeline
    env: dict[str, str]
    created_at: datetime
    id: str = field(default_factory=new_id)
    builds: list[Build] = field(default_factory=list)
