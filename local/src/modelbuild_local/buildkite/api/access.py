"""Authenticates callers of the Agent API: an agent by its token, or one of its jobs by the job's token."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from modelbuild_local.buildkite.api.web import same, token_of
from modelbuild_local.buildkite.engine import Engine
from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.state import WITH_AGENT, Agent, Build, Job


@dataclass
class Caller:
    """An agent; with ``job``, a process of that job."""

    agent: Agent
    job: Job | None


class Access:
    """Finds the resources that a request may use."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def caller(self, request: Request) -> Caller:
        """The agent, or the job of an agent, whose token a request has; refused (401) without a valid one."""
        token = token_of(request, "Token")
        for agent in self._engine.agents.values():
            if same(token, agent.token):
                agent.seen = self._engine.clock.seconds()
                return Caller(agent, None)
        for job in self._engine.jobs.values():
            if same(token, job.token) and job.state in WITH_AGENT and job.agent is not None:
                job.agent.seen = self._engine.clock.seconds()
                return Caller(job.agent, job)
        raise Refused(401, "Invalid access token")

    def job(self, request: Request, name: str = "job") -> Job:
        """The job of the path. Refused (401, 404): it is not the caller's."""
        caller = self.caller(request)
        job = self._engine.jobs.get(request.path_params[name])
        if job is None or job.agent is not caller.agent or (caller.job is not None and caller.job is not job):
            raise Refused(404, f"No job '{request.path_params[name]}' of this agent")
        return job

    def build(self, request: Request, id: str) -> Build:
        """The build with this id; 401 without a valid token, 404 without such a build."""
        self.caller(request)
        if id not in self._engine.builds:
            raise Refused(404, f"No build '{id}'")
        return self._engine.builds[id]
