"""The JSON of the REST API."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from modelbuild_local.buildkite.api.web import iso
from modelbuild_local.buildkite.engine import Engine
from modelbuild_local.buildkite.identity import User, organization_id
from modelbuild_local.buildkite.pages.markdown import to_html
from modelbuild_local.buildkite.pipeline.definition import CommandStep, InputField, ManualStep
from modelbuild_local.buildkite.state import (
    Agent,
    Annotation,
    Artifact,
    Build,
    Job,
    PipelineSettings,
    PullRequest,
)

Json = dict[str, object]


class Views:
    """Converts each resource to JSON; ``url`` is the server's own address."""

    def __init__(self, engine: Engine, url: str) -> None:
        self._organization = engine.organization
        self._web = f"{url}/{engine.organization}"
        self._api = f"{url}/v2/organizations/{engine.organization}"
        self._url = url
        self._created_at = engine.clock.now()

    def page(self, build: Build) -> str:
        """The web address of a build."""
        return f"{self._web}/{build.pipeline.slug}/builds/{build.number}"

    def file(self, artifact: Artifact) -> str:
        """The address of an artifact's bytes, which needs no token."""
        return f"{self._url}/artifacts/{artifact.id}/{artifact.secret}"

    def pipeline(self, pipeline: PipelineSettings) -> Json:
        """A pipeline."""
        address = f"{self._api}/pipelines/{pipeline.slug}"
        return {
            "id": pipeline.id,
            "url": address,
            "web_url": f"{self._web}/{pipeline.slug}",
            "builds_url": f"{address}/builds",
            "name": pipeline.name,
            "slug": pipeline.slug,
            "repository": pipeline.repository,
            "default_branch": pipeline.default_branch,
            "configuration": pipeline.configuration,
            "env": pipeline.env,
            "created_at": iso(pipeline.created_at),
        }

    def organization(self) -> Json:
        """The one organization."""
        return {
            "id": organization_id(self._organization),
            "url": self._api,
            "web_url": self._web,
            "name": self._organization,
            "slug": self._organization,
            "pipelines_url": f"{self._api}/pipelines",
            "agents_url": f"{self._api}/agents",
            "emojis_url": f"{self._api}/emojis",
            "created_at": iso(self._created_at),
        }

    def build(self, build: Build, jobs: list[Job] | None = None) -> Json:
        """A build with these jobs, or with the newest job of each step."""
        jobs = [job for job in build.jobs if job.retried_in is None] if jobs is None else jobs
        return {
            "id": build.id,
            "url": self._build_api(build),
            "web_url": self.page(build),
            "number": build.number,
            "state": build.state,
            "blocked": build.blocked,
            "message": build.message,
            "commit": build.commit,
            "branch": build.branch,
            "tag": None,
            "source": build.source,
            "env": build.env,
            "meta_data": build.meta_data,
            "creator": _user(build.creator),
            "created_at": iso(build.created_at),
            "scheduled_at": iso(build.created_at),
            "started_at": iso(build.started_at),
            "failing_at": iso(build.failing_at),
            "finished_at": iso(build.finished_at),
            "cancel_reason": None,
            "merge_queue": None,
            "jobs": [self.job(job) for job in jobs],
            "pull_request": _pull_request(build.pull_request),
            "rebuilt_from": self._rebuilt_from(build),
            "pipeline": self.pipeline(build.pipeline),
        }

    def _rebuilt_from(self, build: Build) -> Json | None:
        origin = build.rebuilt_from
        if origin is None:
            return None
        return {"id": origin.id, "number": origin.number, "url": self._build_api(origin)}

    def job_state_counts(self, build: Build, *, retried: bool) -> Json:
        """How many jobs are in each state; ``retried`` includes retried jobs."""
        jobs = [job for job in build.jobs if retried or job.retried_in is None]
        return {"total": len(jobs), "states": dict(Counter(job_state(job) for job in jobs))}

    def job(self, job: Job) -> Json:
        """A job of any type."""
        if job.type == "manual":
            return self._manual_job(job)
        definition = job.step.definition
        common: Json = {
            "id": job.id,
            "type": job.type,
            "step_key": job.step.key,
            "group_key": job.step.group.key if job.step.group else None,
            "state": job_state(job),
            "broken_reason": _broken_reason(job),
        }
        if not isinstance(definition, CommandStep):
            return common
        address = f"{self._build_api(job.build)}/jobs/{job.id}"
        return {
            **common,
            "name": definition.label or None,
            "step": {"id": job.step.id, "signature": None},
            "agent_query_rules": [f"{name}={value}" for name, value in definition.agents.items()],
            "priority": {"number": definition.priority or 0},
            "build_url": self._build_api(job.build),
            "web_url": f"{self.page(job.build)}#{job.id}",
            "log_url": f"{address}/log",
            "raw_log_url": f"{address}/log.txt",
            "artifacts_url": f"{address}/artifacts",
            "command": definition.command,
            "artifact_paths": definition.artifact_paths,
            "soft_failed": job.soft_failed,
            "exit_status": job.exit_status,
            "signal": job.signal or None,
            "signal_reason": job.signal_reason or None,
            "agent": self.agent(job.agent, with_job=False) if job.agent is not None else None,
            "created_at": iso(job.created_at),
            "scheduled_at": iso(job.created_at),
            "runnable_at": iso(job.runnable_at),
            "started_at": iso(job.started_at),
            "finished_at": iso(job.finished_at),
            "expired_at": None,
            "retried": job.retried_in is not None,
            "retried_in_job_id": job.retried_in.id if job.retried_in else None,
            "retries_count": job.step.jobs.index(job),
            "retry_source": _retry_source(job),
            "retry_type": job.retried_in.retry_type if job.retried_in else None,
            "parallel_group_index": job.step.parallel[0] if job.step.parallel else None,
            "parallel_group_total": job.step.parallel[1] if job.step.parallel else None,
            "matrix": job.step.matrix,
            **dict.fromkeys(("cluster_id", "cluster_url", "cluster_queue_id", "cluster_queue_url")),
        }

    def _manual_job(self, job: Job) -> Json:
        definition = job.step.definition
        assert isinstance(definition, ManualStep)
        return {
            "id": job.id,
            "type": "manual",
            "label": definition.label or None,
            "step_key": job.step.key,
            "group_key": job.step.group.key if job.step.group else None,
            "state": job_state(job),
            "broken_reason": _broken_reason(job),
            "web_url": None,
            "unblocked_by": _user(job.unblocked_by) if job.unblocked_by else None,
            "unblocked_at": iso(job.unblocked_at),
            "unblockable": job.state == "blocked",
            "unblock_url": f"{self._build_api(job.build)}/jobs/{job.id}/unblock",
            # Not in Buildkite's own answer; the terminal needs it to ask a person for the fields.
            "prompt": definition.prompt,
            "fields": [_field(field) for field in definition.fields],
        }

    def annotation(self, note: Annotation, artifacts: list[Artifact], *, body: bool = True) -> Json:
        """An annotation, with its body or without; ``artifacts`` resolves ``artifact://`` addresses in it."""
        files = {artifact.path: self.file(artifact) for artifact in artifacts}
        return {
            "id": note.id,
            "context": note.context,
            "style": note.style or None,
            "scope": note.scope,
            "job_id": note.job_id if note.scope == "job" else None,
            "priority": note.priority,
            **({"body_html": to_html(note.body, files)} if body else {}),
            "created_at": iso(note.created_at),
            "updated_at": iso(note.updated_at),
        }

    def agent(self, agent: Agent, *, with_job: bool = True) -> Json:
        """An agent, with the job it runs or without."""
        job = agent.job if with_job else None
        return {
            "id": agent.id,
            "url": f"{self._api}/agents/{agent.id}",
            "name": agent.name,
            "hostname": agent.hostname,
            "version": agent.version,
            "user_agent": f"buildkite-agent/{agent.version}",
            "connection_state": agent.connection_state,
            "queue": agent.queue,
            "priority": agent.priority,
            "meta_data": list(agent.tags),
            "created_at": iso(agent.created_at),
            **({"job": None if job is None else self.job(job)} if with_job else {}),
        }

    def artifact(self, artifact: Artifact) -> Json:
        """An artifact."""
        address = f"{self._build_api(artifact.job.build)}/jobs/{artifact.job.id}/artifacts/{artifact.id}"
        return {
            "id": artifact.id,
            "job_id": artifact.job.id,
            "url": address,
            "download_url": f"{address}/download",
            "state": artifact.state,
            "path": artifact.path,
            "dirname": artifact.path.rpartition("/")[0] or ".",
            "filename": artifact.path.rpartition("/")[2],
            "mime_type": artifact.content_type,
            "file_size": artifact.file_size,
            "sha1sum": artifact.sha1sum,
            "sha256sum": artifact.sha256sum,
        }

    def log(self, job: Job) -> Json:
        """A job's log; ``size`` counts bytes."""
        text = job.log.text()
        address = f"{self._build_api(job.build)}/jobs/{job.id}/log"
        return {"url": address, "content": text, "size": len(text.encode()), "header_times": []}

    def _build_api(self, build: Build) -> str:
        return f"{self._api}/pipelines/{build.pipeline.slug}/builds/{build.number}"


def job_state(job: Job) -> str:
    """The REST API's state of a job: a finished job has passed or failed, and one without a place in its
    concurrency group is limited.
    """
    if job.limited:
        return "limited"
    if job.state != "finished" or job.type == "waiter":
        return job.state
    return "passed" if job.exit_status == 0 else "failed"


def in_states(job: Job, states: Collection[str]) -> bool:
    """Whether a job passes a filter by states, which knows no ``finished``: a finished waiter has passed."""
    state = job_state(job)
    return not states or ("passed" if state == "finished" else state) in states


def _broken_reason(job: Job) -> str | None:
    """The reason why a job does not run, as Buildkite reports it for steps that the pipeline excludes."""
    return (job.step.omitted or None) if job.state == "broken" else None


def _retry_source(job: Job) -> Json | None:
    if job.retries is None:
        return None
    return {"job_id": job.retries.id, "retry_type": job.retry_type}


def _pull_request(pull_request: PullRequest | None) -> Json | None:
    if pull_request is None:
        return None
    return {
        "id": pull_request.id,
        "base": pull_request.base_branch or None,
        "repository": pull_request.repository or None,
        "labels": list(pull_request.labels),
    }


def _field(field: InputField) -> Json:
    return {
        "type": "select" if field.options else "text",
        "title": field.title,
        **field.model_dump(exclude_none=True),
    }


def _user(user: User) -> Json:
    return {"id": user.id, "name": user.name, "email": user.email}
