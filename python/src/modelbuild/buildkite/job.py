"""The variables that Buildkite's agent sets for this job.

Source: https://buildkite.com/docs/pipelines/configure/environment-variables
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, ValidationError

from modelbuild.contract import Build, Text, Variables
from modelbuild.errors import ConfigurationError, variable_error


class PullRequest(Variables):
    """The repository of this build, and the pull request that it is for, if it is for one."""

    repository: Text = Field("", alias="BUILDKITE_REPO")
    pull_request: Text = Field("false", alias="BUILDKITE_PULL_REQUEST")
    pull_request_repository: Text = Field("", alias="BUILDKITE_PULL_REQUEST_REPO")


class JobEnvironment(PullRequest):
    """What the plugins read of the variables of their job."""

    organization: Text = Field(alias="BUILDKITE_ORGANIZATION_SLUG")
    pipeline: Text = Field(alias="BUILDKITE_PIPELINE_SLUG")
    number: Text = Field(alias="BUILDKITE_BUILD_NUMBER")
    build_id: Text = Field(alias="BUILDKITE_BUILD_ID")
    build_url: Text = Field(alias="BUILDKITE_BUILD_URL")
    commit: Text = Field(alias="BUILDKITE_COMMIT")
    """As the build was asked for: the full id, or ``HEAD`` or a branch."""
    branch: Text = Field(alias="BUILDKITE_BRANCH")
    message: Text = Field("", alias="BUILDKITE_MESSAGE")
    creator: Text = Field("", alias="BUILDKITE_BUILD_CREATOR")
    author: Text = Field("", alias="BUILDKITE_BUILD_AUTHOR")
    job_id: Text = Field("", alias="BUILDKITE_JOB_ID")
    parallel_jobs: Text = Field("", alias="BUILDKITE_PARALLEL_JOB_COUNT")
    """How many jobs the step has by ``parallelism``; Buildkite sets it for such a step only."""
    retry_count: Text = Field("", alias="BUILDKITE_RETRY_COUNT")
    """How many jobs of the step this one replaces; ``0`` for the first."""
    unblocker: Text = Field("", alias="BUILDKITE_UNBLOCKER")
    unblocker_email: Text = Field("", alias="BUILDKITE_UNBLOCKER_EMAIL")
    unblocker_id: Text = Field("", alias="BUILDKITE_UNBLOCKER_ID")

    def build(self, commit: str) -> Build:
        """The build of this job, with the full id of its commit.

        Raises:
            ConfigurationError: a variable is not what Buildkite sets.
        """
        try:
            return Build.model_validate(
                {
                    "organization": self.organization,
                    "pipeline": self.pipeline,
                    "number": self.number,
                    "id": self.build_id,
                    "url": self.build_url,
                    "commit": commit,
                    "branch": self.branch,
                    "message": self.message,
                    "creator": self.creator or self.author or "unknown",
                }
            )
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ConfigurationError(
                f"the build's {first['loc'][0]} is {first['input']!r}, which Buildkite never sets: "
                f"{first['msg']}"
            ) from error


def read(environ: Mapping[str, str]) -> JobEnvironment:
    """The variables of a job.

    Raises:
        ConfigurationError: this is no job of a Buildkite agent: a variable that each job has is not set.
    """
    try:
        return JobEnvironment.read(environ)
    except ValidationError as error:
        raise variable_error(error, "run this in a job of a Buildkite agent") from error
