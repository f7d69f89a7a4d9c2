from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import samples
from modelbuild.buildkite import fork
from modelbuild.buildkite.job import JobEnvironment, PullRequest
from modelbuild.errors import ConfigurationError
from modelbuild.settings.train import TrainSettings
from modelbuild.train.submit.request import build_request

OURS = "git@github.com:acme/comments.git"


def job(theirs: str, ours: str = OURS, pull_request: str = "7") -> JobEnvironment:
    """The variables of a build of a pull request."""
    return samples.job_environment(
        BUILDKITE_REPO=ours, BUILDKITE_PULL_REQUEST=pull_request, BUILDKITE_PULL_REQUEST_REPO=theirs
    )


@pytest.mark.parametrize(
    "theirs",
    [
        "git://github.com/mallory/comments.git",
        "https://github.com/mallory/comments",
        "git@gitlab.com:acme/comments.git",
        "https://github.com.evil.example/acme/comments.git",
        "https://github.com/acme/comments/../../mallory/x.git",
        "https://github.com@evil.example/acme/comments.git",
        "/srv/mallory.git",
    ],
)
def test_build_of_a_fork_is_refused_before_its_code_runs(theirs: str, tmp_path: Path) -> None:
    """A pull request of a fork would run code as the agent and with the role of the job."""
    assert fork.origin(job(theirs)) == theirs
    (tmp_path / "parameters.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    options: Any = {
        "flow": "flow.py",
        "artifacts": "s3://bucket/models",
        "unblock": "training_finished",
        "image": {"default": "d", "train-gpu": "t", "serve": "s"},
    }
    with pytest.raises(ConfigurationError, match=r"pull request from .* set option allow-forks"):
        build_request(TrainSettings.model_validate(options), job(theirs), {}, tmp_path)
    assert not (tmp_path / "ran").exists()
    fork.require_none(True, job(theirs))


@pytest.mark.parametrize(
    "theirs",
    [
        OURS,
        "git://github.com/acme/comments.git",
        "https://github.com/Acme/Comments",
        "https://token@GitHub.com/acme/comments.git/",
        "ssh://git@github.com:22/acme/comments.git",
    ],
)
def test_pull_request_of_the_same_repository_is_not_of_a_fork(theirs: str) -> None:
    """Buildkite writes the two addresses in different ways."""
    assert fork.origin(job(theirs)) == ""
    fork.require_none(False, job(theirs))


@pytest.mark.parametrize(
    "build", [PullRequest(), job("", OURS), job("git://github.com/a/b.git", pull_request="false")]
)
def test_build_of_a_branch_is_no_pull_request(build: PullRequest) -> None:
    """Without a pull request there is no other repository."""
    assert fork.origin(build) == ""
