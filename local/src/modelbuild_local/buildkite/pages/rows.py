"""The rows of the build page: a build and its jobs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from modelbuild_local.buildkite.api.views import job_state
from modelbuild_local.buildkite.logs import LogGroup, group_lines
from modelbuild_local.buildkite.pages.training import training_status, training_value, waits_for_training
from modelbuild_local.buildkite.pipeline.definition import CommandStep, ManualStep
from modelbuild_local.buildkite.scheduling import scheduler
from modelbuild_local.buildkite.scheduling.retries import may_retry
from modelbuild_local.buildkite.state import Agent, Build, Group, Job, Step

_JOB_URL = "train/job/url"
"""Meta-data in which the train plugin names the page of the training's job."""

MAX_LINES = 2000
"""The number of lines of a log on the page, which links to the whole log."""


@dataclass(frozen=True)
class JobRow:
    """A job on the page.

    Attributes:
        job: the job.
        title: the step's label.
        state: one or two words.
        note: a reason of the state.
        duration: how long it ran or waited.
        after: the titles of the steps that it waits for.
        by: the user who unblocked it.
        log: the last lines of its log.
        cut: whether the log has more lines.
        can_retry: whether a person may retry it.
        for_training: whether a training unblocks it, not a person.
        job_url: the page of that training's job; empty before it is known.
        opened: whether its details are open at first.
    """

    job: Job
    title: str
    state: str
    note: str
    duration: str
    after: str
    by: str
    log: list[LogGroup]
    cut: bool
    can_retry: bool
    for_training: bool
    job_url: str
    opened: bool

    @property
    def tone(self) -> str:
        """The CSS class with the colour of the state."""
        return self.state.replace(" ", "-")


def build_state(build: Build) -> str:
    """The state in one word for people.

    The word is ``blocked`` only if the ``blocked_state`` is ``passed``: Buildkite shows ``running`` or
    ``failed`` if an open block has that ``blocked_state``.
    """
    return "blocked" if build.blocked and build.state == "passed" else build.state


def duration(start: datetime | None, end: datetime | None, now: datetime) -> str:
    """The time from start to end, or until now, as ``1 m 05 s``; empty before the start."""
    if start is None:
        return ""
    seconds = max(0, int(((end or now) - start).total_seconds()))
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} m {seconds % 60:02d} s"


def title(text: str) -> str:
    """A label without the names of Buildkite's emoji, which no font contains completely."""
    return re.sub(r":[a-z0-9_+-]+:", "", text).strip() or text


def job_row(job: Job, now: datetime) -> JobRow:
    """The row of a job."""
    for_training = waits_for_training(job)
    end = job.unblocked_at if job.type == "manual" else job.finished_at
    start = job.runnable_at if job.type == "manual" else job.started_at
    groups = group_lines(job.log.text())
    state = _training_state(job) if for_training else _state(job)
    person = job.unblocked_by.name if job.unblocked_by else ""
    return JobRow(
        job=job,
        title=_step_title(job.step),
        state=state,
        note=training_value(job, "training/reason") if training_status(job) else "",
        job_url=_web_address(training_value(job, _JOB_URL)),
        duration=duration(start, end, now),
        after=", ".join(dict.fromkeys(_names(job.step))),
        by=person,
        log=_tail(groups),
        cut=sum(len(group.lines) for group in groups) > MAX_LINES,
        can_retry=may_retry(job),
        for_training=for_training,
        opened=state in ("running", "failed", "timed out", "blocked", "in training"),
    )


def agent_hint(build: Build, agents: Iterable[Agent]) -> str:
    """The reason why no agent can run the jobs of a build; empty if an agent can."""
    connected = [agent for agent in agents if agent.connection_state == "connected"]
    if not connected:
        # A build that is over gets no hint, until one of its jobs is retried.
        return "" if scheduler.is_over(build) else "No agent is connected."
    waiting = [step for step in build.steps if step.job.state == "scheduled"]
    for step in waiting:
        definition = step.definition
        if isinstance(definition, CommandStep) and not any(
            scheduler.can_run(agent, definition) for agent in connected
        ):
            tags = ", ".join(f"{name}={value}" for name, value in definition.agents.items())
            return f"“{_step_title(step)}” waits for an agent with the tags {tags}."
    return ""


def _state(job: Job) -> str:
    return "soft failed" if job.soft_failed else job_state(job).replace("_", " ")


def _training_state(job: Job) -> str:
    """The state of a block that a training unblocks: the training's own state, if it is known."""
    if job.state == "blocked":
        return "in training"
    states = {"succeeded": "succeeded", "failed": "failed", "cancelled": "canceled"}
    return states.get(training_status(job), _state(job))


def _names(step: Step) -> list[str]:
    """The titles of the steps in a step's own ``depends_on``."""
    if not isinstance(step.definition, (CommandStep, ManualStep)) or not step.definition.depends_on:
        return []
    dependencies = {rule.step for rule in step.definition.depends_on}
    targets = [edge.step for edge in step.edges if {edge.step.id, edge.step.key} & dependencies]
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


def _web_address(text: str) -> str:
    """The text if it is the address of a web page, else an empty text."""
    return text if urlsplit(text).scheme in ("http", "https") else ""
