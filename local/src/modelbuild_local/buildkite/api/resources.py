"""Finds the resources in the path of a REST request."""

from __future__ import annotations

from starlette.requests import Request

from modelbuild_local.buildkite.engine import Engine
from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.state import Agent, Artifact, Build, Job, PipelineSettings


class Resources:
    """Finds the resources of a path. Every method: Refused (404): the resource does not exist."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def pipeline(self, request: Request) -> PipelineSettings:
        """The pipeline."""
        found = self._engine.pipelines.get(request.path_params["pipeline"])
        if found is None:
            raise Refused(404, "No pipeline found")
        return found

    def build(self, request: Request) -> Build:
        """The build, by its number."""
        builds = self.pipeline(request).builds
        number = int(request.path_params["number"])
        if not 1 <= number <= len(builds):
            raise Refused(404, "No build found")
        return builds[number - 1]

    def job(self, request: Request) -> Job:
        """The job, also if the path does not name its build."""
        job = self._engine.jobs.get(request.path_params["job"])
        if job is None or ("number" in request.path_params and job.build is not self.build(request)):
            raise Refused(404, "No job found")
        return job

    def agent(self, request: Request) -> Agent:
        """The agent, by its id."""
        agent = self._engine.agents.get(request.path_params["agent"])
        if agent is None:
            raise Refused(404, "No agent found")
        return agent

    def artifact(self, request: Request) -> Artifact:
        """The artifact of the job."""
        job = self.job(request)
        for artifact in job.build.artifacts:
            if artifact.id == request.path_params["artifact"] and artifact.job is job:
                return artifact
        raise Refused(404, "No artifact found")
