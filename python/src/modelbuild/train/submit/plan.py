"""The plan of ``modelbuild train``, made with calls that only read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from modelbuild import git, log
from modelbuild.aws.batch.jobs import OVERRIDES_LIMIT, Batch, overrides_bytes, require_fitting
from modelbuild.aws.identity import caller, session
from modelbuild.aws.storage import Storage
from modelbuild.buildkite import agent, job
from modelbuild.contract import TrainingRequest
from modelbuild.settings.train import TrainSettings
from modelbuild.store.model import ModelStore
from modelbuild.train.submit import claim, submission
from modelbuild.train.submit.estimate import SweepPlan, plan_sweep
from modelbuild.train.submit.request import build_request

_NUMBER = "BUILDKITE_BUILD_NUMBER"
_NO_BUILD_ID = "00000000-0000-0000-0000-000000000000"


class Job(BaseModel):
    """The head's job as it would be submitted."""

    name: str
    queue: str
    definition: str
    definition_exists: bool
    image: str
    command: list[str]
    resources: dict[str, str]
    environment: dict[str, str]
    timeout_seconds: int
    tags: dict[str, str]


class Roles(BaseModel):
    """The roles: of the agent, of the job, and of the execution of the job."""

    caller: str
    job: str
    execution: str


class Sizes(BaseModel):
    """The sizes in bytes of what would be stored and submitted, and Batch's limit of the overrides."""

    source: int
    request: int
    overrides: int
    overrides_limit: int = OVERRIDES_LIMIT


class Plan(BaseModel):
    """The plan; ``stored`` is true if this build has stored its request before."""

    stored: bool
    request: TrainingRequest
    job: Job
    roles: Roles
    bytes: Sizes
    sweep: SweepPlan | None
    """None for one training."""


def environment(environ: Mapping[str, str], checkout: Path) -> dict[str, str]:
    """The job's environment; outside of a job, with the variables of an invented build.

    Raises:
        ConfigurationError: outside of a job, the folder has no commit.
    """
    if _NUMBER in environ:
        return dict(environ)
    commit = git.commit_of(checkout, "HEAD")
    pipeline = re.sub(r"[^a-z0-9]+", "-", checkout.resolve().name.lower()).strip("-") or "pipeline"
    return {
        "BUILDKITE_ORGANIZATION_SLUG": "organization",
        "BUILDKITE_PIPELINE_SLUG": pipeline,
        _NUMBER: "1",
        "BUILDKITE_BUILD_ID": _NO_BUILD_ID,
        "BUILDKITE_BUILD_URL": f"https://buildkite.com/organization/{pipeline}/builds/1",
        "BUILDKITE_COMMIT": commit,
        "BUILDKITE_BRANCH": "main",
        **environ,
    }


def plan(settings: TrainSettings, environ: Mapping[str, str], checkout: Path) -> Plan:
    """Plan a run of the step, without changing anything on this machine or elsewhere.

    Args:
        settings: the step's options.
        environ: the job's environment, or the result of :func:`environment`.
        checkout: the folder with the commit.

    Raises:
        ConfigurationError: an option does not fit the commit, the build or the account.
        AwsError: S3, Batch or STS refused.
        BuildkiteError: the agent's command line failed.
    """
    here = job.read(environ)
    real = here.build_id != _NO_BUILD_ID
    keys = agent.meta_data_keys() if real else []
    claim.require_free(settings, here, keys)
    request, archived = build_request(settings, here, environ, checkout, meta_data_keys=lambda: keys)
    made = session(settings.aws, agent.oidc_token)
    definition = Batch(made).definitions.derived(settings.queue, request.images.default)
    container = definition.content["containerProperties"]
    variables = submission.variables(request, settings)
    storage = Storage(made)
    return Plan(
        stored=real and ModelStore(storage, request.artifacts).has_request(),
        request=request,
        job=Job(
            name=submission.job_name(request),
            queue=settings.queue,
            definition=definition.name,
            definition_exists=bool(definition.arn),
            image=request.images.default,
            command=list(submission.COMMAND),
            resources={need["type"]: need["value"] for need in container.get("resourceRequirements", [])},
            environment=variables,
            timeout_seconds=settings.timeout,
            tags=submission.tags(request, settings),
        ),
        roles=Roles(
            caller=caller(made),
            job=container.get("jobRoleArn", ""),
            execution=container.get("executionRoleArn", ""),
        ),
        bytes=Sizes(
            source=len(archived),
            request=len(request.to_json().encode()),
            overrides=overrides_bytes(submission.COMMAND, variables),
        ),
        sweep=plan_sweep(request, storage),
    )


def show(settings: TrainSettings, environ: Mapping[str, str] = os.environ) -> None:
    """Print the plan for the checkout in the working directory as JSON.

    Outside of a job, a line on stderr says that the build is invented.

    Raises:
        ConfigurationError: an option does not fit, or Batch would refuse the plan.
        AwsError: S3, Batch or STS refused.
        BuildkiteError: the agent's command line failed.
    """
    found = plan(settings, environ, Path.cwd())
    if found.request.build.id == _NO_BUILD_ID:
        log.warn(
            f"This is no job of Buildkite, so build 1 of pipeline {found.request.build.pipeline} is "
            "invented, and has no meta-data."
        )
    print(json.dumps(found.model_dump(mode="json", by_alias=True), indent=2), flush=True)
    require_fitting(found.job.command, found.job.environment)
    submission.require_fitting_steps(settings)
