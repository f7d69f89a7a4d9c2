"""The variables of a build for the ``if`` and ``branches`` of steps."""

from __future__ import annotations

from collections.abc import Mapping

from modelbuild_local.buildkite.environment import pull_request_environment
from modelbuild_local.buildkite.identity import organization_id
from modelbuild_local.buildkite.pipeline.attributes.condition_values import Missing, OneOf, Variables
from modelbuild_local.buildkite.pipeline.expansion import Context
from modelbuild_local.buildkite.state import Build

# Laptop mode has no builds of merge queues, tags or webhooks.
_MISSING = {
    "build.merge_queue.base_branch": Missing(str),
    "build.merge_queue.base_commit": Missing(str),
    "build.pull_request.draft": Missing(bool),
    "build.pull_request.label": Missing(str),
    "build.source_action": Missing(str),
    "build.source_event": Missing(str),
    "build.tag": Missing(str),
}
_SOURCES = ("api", "ui", "webhook", "trigger_job", "schedule", "pipeline_trigger")


def build_context(build: Build, organization: str, env: Mapping[str, str]) -> Context:
    """The context of the steps of a build.

    Args:
        build: the build.
        organization: the organization's slug.
        env: the variables that users have set on the pipeline and the build.
    """
    pipeline = build.pipeline
    rebuilt_from = build.rebuilt_from
    own = {
        "BUILDKITE_BRANCH": build.branch,
        "BUILDKITE_TAG": "",
        "BUILDKITE_MESSAGE": build.message,
        "BUILDKITE_COMMIT": build.commit,
        "BUILDKITE_PIPELINE_SLUG": pipeline.slug,
        "BUILDKITE_PIPELINE_NAME": pipeline.name,
        "BUILDKITE_PIPELINE_ID": pipeline.id,
        "BUILDKITE_ORGANIZATION_SLUG": organization,
        "BUILDKITE_REBUILT_FROM_BUILD_ID": rebuilt_from.id if rebuilt_from else "",
        "BUILDKITE_REBUILT_FROM_BUILD_NUMBER": str(rebuilt_from.number) if rebuilt_from else "",
        "BUILDKITE_REPO": pipeline.repository,
        **pull_request_environment(build),
    }
    variables: Variables = {
        **_MISSING,
        "build.author.email": build.creator.email,
        "build.author.id": build.creator.id,
        "build.author.name": build.creator.name,
        "build.author.teams": (),
        "build.branch": build.branch,
        "build.commit": build.commit,
        "build.creator.email": build.creator.email,
        "build.creator.id": build.creator.id,
        "build.creator.name": build.creator.name,
        "build.creator.teams": (),
        "build.id": build.id,
        "build.message": build.message or Missing(str),
        "build.number": build.number,
        **_pull_request(build),
        "build.source": OneOf(build.source, _SOURCES),
        "organization.id": organization_id(organization),
        "organization.slug": organization,
        "pipeline.default_branch": pipeline.default_branch,
        "pipeline.id": pipeline.id,
        "pipeline.repository": pipeline.repository,
        "pipeline.slug": pipeline.slug,
    }
    return Context(build.branch, variables, {**env, **own})


def _pull_request(build: Build) -> Variables:
    pull_request = build.pull_request
    if pull_request is None:
        return {
            "build.pull_request.base_branch": Missing(str),
            "build.pull_request.id": Missing(str),
            "build.pull_request.labels": (),
            "build.pull_request.repository": Missing(str),
            "build.pull_request.repository.fork": Missing(bool),
        }
    repository = pull_request.repository or None
    return {
        "build.pull_request.base_branch": pull_request.base_branch or Missing(str),
        "build.pull_request.id": pull_request.id,
        "build.pull_request.labels": pull_request.labels,
        "build.pull_request.repository": repository or Missing(str),
        "build.pull_request.repository.fork": repository not in (None, build.pipeline.repository),
    }
