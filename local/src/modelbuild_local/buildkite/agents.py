"""What agents do: they connect, take jobs and run them."""

from __future__ import annotations

from collections.abc import Sequence

from modelbuild_local.buildkite.engine import Engine
from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.pipeline.definition import CommandStep
from modelbuild_local.buildkite.scheduling import concurrency, retries, scheduler
from modelbuild_local.buildkite.state import WITH_AGENT, Agent, Job, JobState

LOST_AFTER = 90.0
"""Seconds of silence after which an agent counts as lost; an idle agent calls each second."""


def register(
    engine: Engine, name: str, hostname: str, version: str, tags: Sequence[str], priority: int
) -> Agent:
    """A new agent."""
    agent = Agent(
        name=name,
        hostname=hostname,
        version=version,
        tags=tuple(tags),
        priority=priority,
        created_at=engine.clock.now(),
        seen=engine.clock.seconds(),
    )
    engine.agents[agent.id] = agent
    return agent


def ping(engine: Engine, agent: Agent) -> Job | None:
    """The job the agent is to accept next, if there is one."""
    if agent.connection_state == "lost":
        agent.connection_state = "connected"
    if agent.job is None and agent.connection_state == "connected":
        job = scheduler.next_job(engine.builds.values(), agent)
        if job is not None:
            job.state, job.agent, agent.job = "assigned", agent, job
            concurrency.mark_limited(engine.builds.values())
    return agent.job if agent.job is not None and agent.job.state == "assigned" else None


def accept(agent: Agent, job: Job) -> None:
    """The agent accepts its assigned job. Refused (422): the job is not assigned to it."""
    if job.agent is not agent or job.state not in ("assigned", "accepted"):
        raise Refused(422, "The job is not assigned to this agent")
    job.state = "accepted"


def start(engine: Engine, job: Job) -> None:
    """The agent begins to run the job. Refused (422): it has not accepted the job."""
    if job.state not in ("accepted", "canceling"):
        raise Refused(422, f"The job cannot be started: its state is {job.state}")
    if job.state == "accepted":
        job.state = "running"
    job.started_at, job.started = engine.clock.now(), engine.clock.seconds()
    job.build.started_at = job.build.started_at or job.started_at
    engine.advance(job.build)


def finish(engine: Engine, job: Job, exit_status: int, signal: str, signal_reason: str) -> None:
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
    job.finished_at = engine.clock.now()
    job.log.close()
    (engine.log_files / f"{job.id}.log").write_bytes(bytes(job.log.content))
    job.soft_failed = scheduler.fails_softly(job)
    job.retry_rule = retries.automatic_rule(job)
    if job.retry_rule is not None:
        engine.add_retry(job, "automatic")
    engine.advance(job.build)


def disconnect(engine: Engine, agent: Agent, *, lost: bool = False) -> None:
    """The agent has disconnected; its job fails."""
    agent.connection_state = "lost" if lost else "disconnected"
    if agent.job is not None:
        finish(engine, agent.job, -1, "", "agent_stop")


def tick(engine: Engine) -> None:
    """Called once a second: stop jobs after their timeout, and disconnect silent agents."""
    now = engine.clock.seconds()
    for agent in engine.agents.values():
        job = agent.job
        if agent.connection_state in ("connected", "stopping") and now - agent.seen > LOST_AFTER:
            disconnect(engine, agent, lost=True)
        elif job is not None and job.state == "running" and isinstance(job.step.definition, CommandStep):
            limit = job.step.definition.timeout_in_minutes
            if limit is not None and job.started is not None and now - job.started > limit * 60:
                job.state = "timing_out"
