"""Builds of pull requests from another repository, whose authors may be unknown.

A training runs the commit's code with the role of the job, and the commit's model of the parameters on the
agent.
"""

from __future__ import annotations

import re

from modelbuild.buildkite.job import PullRequest
from modelbuild.errors import ConfigurationError

_SCP = re.compile(r"(?:[^@/]+@)?(?P<host>[^:/]+):(?!//)(?P<path>.*)")
_URL = re.compile(r"[a-z+]+://(?:[^@/]*@)?(?P<host>[^:/]*)(?::[0-9]+)?/(?P<path>.*)", re.IGNORECASE)


def origin(build: PullRequest) -> str:
    """The repository of this build's pull request, if it is another repository; else empty.

    Buildkite writes one repository in several ways: ``git@host:path.git``, ``git://host/path``.
    """
    theirs = build.pull_request_repository
    if build.pull_request == "false" or not theirs:
        return ""
    same = _identity(theirs) == _identity(build.repository)
    return "" if same else theirs


def require_none(allowed: bool, build: PullRequest) -> None:
    """Refuse a build of a fork.

    Args:
        allowed: option ``allow-forks``.
        build: the build of this job.

    Raises:
        ConfigurationError: the build is of a fork, and forks are not allowed.
    """
    repository = "" if allowed else origin(build)
    if repository:
        raise ConfigurationError(
            f"this build is of a pull request from {repository}, whose code would run with the role of your "
            "trainings: push its branch to your repository, or set option allow-forks if anyone may do that"
        )


def _identity(repository: str) -> tuple[str, str]:
    """Host and path of a repository, from any form of its address."""
    text = repository.strip()
    match = _URL.fullmatch(text) or _SCP.fullmatch(text)
    host, path = (match["host"], match["path"]) if match else ("", text)
    path = re.sub(r"/+", "/", path).strip("/")
    return host.lower(), path.lower().removesuffix(".git")
