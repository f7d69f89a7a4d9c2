"""The variables a job runs with."""

from __future__ import annotations

import json
import re

from modelbuild_local.buildkite.identity import User, organization_id
from modelbuild_local.buildkite.notes import COMMIT_KEY
from modelbuild_local.buildkite.pipeline.definition import CommandStep
from modelbuild_local.buildkite.pipeline.graph import ancestors
from modelbuild_local.buildkite.state import Agent, Build, Job


def job_environment(job: Job, step: CommandStep, agent: Agent, organization: str, url: str) -> dict[str, str]:
    """The environment of a job: ``configured_environment``, the variables of the step, and Buildkite's own.
    Each overrides those before.

    Args:
        job: the job.
        step: the definition of its step.
        agent: the agent that runs it.
        organization: the organization's slug.
        url: the web address of the build.
    """
    build = job.build
    pipeline = build.pipeline
    own = {
        "CI": "true",
        "BUILDKITE": "true",
        "BUILDKITE_AGENT_ID": agent.id,
        "BUILDKITE_AGENT_NAME": agent.name,
        **_tags(agent),
        "BUILDKITE_ARTIFACT_PATHS": ";".join(filter(None, step.artifact_paths.replace("\n", ";").split(";"))),
        "BUILDKITE_BRANCH": build.branch,
        "BUILDKITE_BUILD_AUTHOR": build.creator.name,
        "BUILDKITE_BUILD_AUTHOR_EMAIL": build.creator.email,
        "BUILDKITE_BUILD_CREATOR": build.creator.name,
        "BUILDKITE_BUILD_CREATOR_EMAIL": build.creator.email,
        "BUILDKITE_BUILD_CREATOR_TEAMS": _teams(build.creator),
        "BUILDKITE_BUILD_ID": build.id,
        "BUILDKITE_BUILD_NUMBER": str(build.number),
        "BUILDKITE_BUILD_URL": url,
        "BUILDKITE_COMMAND": step.command,
        "BUILDKITE_COMMIT": build.commit,
        "BUILDKITE_COMMIT_RESOLVED": "true" if COMMIT_KEY in build.meta_data else "false",
        "BUILDKITE_COMPUTE_TYPE": "self-hosted",
        "BUILDKITE_JOB_ID": job.id,
        "BUILDKITE_LABEL": step.label,
        "BUILDKITE_MESSAGE": build.message,
        "BUILDKITE_ORGANIZATION_ID": organization_id(organization),
        "BUILDKITE_ORGANIZATION_SLUG": organization,
        "BUILDKITE_PIPELINE_DEFAULT_BRANCH": pipeline.default_branch,
        "BUILDKITE_PIPELINE_ID": pipeline.id,
        "BUILDKITE_PIPELINE_NAME": pipeline.name,
        "BUILDKITE_PIPELINE_PROVIDER": "git",
        "BUILDKITE_PIPELINE_SLUG": pipeline.slug,
        "BUILDKITE_PIPELINE_TEAMS": "everyone",
        "BUILDKITE_REBUILT_FROM_BUILD_ID": build.rebuilt_from.id if build.rebuilt_from else "",
        "BUILDKITE_REBUILT_FROM_BUILD_NUMBER": str(build.rebuilt_from.number) if build.rebuilt_from else "",
        "BUILDKITE_REPO": pipeline.repository,
        "BUILDKITE_RETRY_COUNT": str(len(job.step.jobs) - 1),
        "BUILDKITE_SCRIPT_PATH": step.command,
        "BUILDKITE_SOURCE": build.source,
        "BUILDKITE_STEP_ID": job.step.id,
        "BUILDKITE_STEP_KEY": step.key or "",
        "BUILDKITE_TAG": "",
        "BUILDKITE_TRIGGERED_FROM_BUILD_ID": "",
        "BUILDKITE_TRIGGERED_FROM_BUILD_NUMBER": "",
        "BUILDKITE_TRIGGERED_FROM_BUILD_PIPELINE_SLUG": "",
        "BUILDKITE_TIMEOUT": "false" if step.timeout_in_minutes is None else str(step.timeout_in_minutes),
    }
    if step.plugins:
        own["BUILDKITE_PLUGINS"] = json.dumps(step.plugins)
    if build.clean_checkout:
        own["BUILDKITE_CLEAN_CHECKOUT"] = "true"
    if job.step.parallel is not None:
        number, total = job.step.parallel
        own["BUILDKITE_PARALLEL_JOB"], own["BUILDKITE_PARALLEL_JOB_COUNT"] = str(number), str(total)
    if step.image:
        own["BUILDKITE_IMAGE"] = step.image
    if job.step.group is not None:
        own["BUILDKITE_GROUP_ID"] = job.step.group.id
        own["BUILDKITE_GROUP_KEY"] = job.step.group.key or ""
        own["BUILDKITE_GROUP_LABEL"] = job.step.group.label
    configured = {**configured_environment(build), **step.env}
    return {**configured, **own, **pull_request_environment(build), **_unblocker(job)}


def configured_environment(build: Build) -> dict[str, str]:
    """The variables that users set for all jobs of a build: on the pipeline, in the ``env`` of its own steps,
    on the build, and in the ``env`` of uploaded pipelines. Each overrides those before.

    Buildkite treats the ``env`` of an uploaded pipeline like an ``env`` on each step, which overrides the
    build's.
    """
    pipeline = build.pipeline
    return {**pipeline.env, **pipeline.start.env, **build.env, **build.uploaded_env}


def pull_request_environment(build: Build) -> dict[str, str]:
    """The variables about the build's pull request; ``false`` without one."""
    pull_request = build.pull_request
    return {
        "BUILDKITE_PULL_REQUEST": pull_request.id if pull_request else "false",
        "BUILDKITE_PULL_REQUEST_BASE_BRANCH": pull_request.base_branch if pull_request else "",
        "BUILDKITE_PULL_REQUEST_REPO": pull_request.repository if pull_request else "",
        "BUILDKITE_PULL_REQUEST_LABELS": ",".join(pull_request.labels) if pull_request else "",
    }


def _unblocker(job: Job) -> dict[str, str]:
    """The user who unblocked last among the steps before this job."""
    times = [
        (step.job.unblocked_at, step.job.unblocked_by)
        for step in ancestors(job.build, job.step)
        if step.job.unblocked_at is not None and step.job.unblocked_by is not None
    ]
    if not times:
        return {}
    _, user = max(times, key=lambda pair: pair[0])
    return {
        "BUILDKITE_UNBLOCKER": user.name,
        "BUILDKITE_UNBLOCKER_EMAIL": user.email,
        "BUILDKITE_UNBLOCKER_ID": user.id,
        "BUILDKITE_UNBLOCKER_TEAMS": _teams(user),
    }


def _teams(user: User) -> str:
    return "everyone" if user.teams is None else ":".join(user.teams)


def _tags(agent: Agent) -> dict[str, str]:
    """A variable for each tag of the agent; a tag without a value has the value true."""
    pairs = (tag.partition("=") for tag in (f"queue={agent.queue}", *agent.tags))
    return {
        "BUILDKITE_AGENT_META_DATA_" + re.sub(r"[^A-Z0-9]", "_", name.upper()): value if separator else "true"
        for name, separator, value in pairs
    }
