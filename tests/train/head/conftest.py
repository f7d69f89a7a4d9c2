"""A head, and archives of commits that it runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import flow_files
from heads import Head
from modelbuild.buildkite import rate_limiter
from modelbuild.train.commit import source


@pytest.fixture
def head(
    aws: Any,
    buildkite: Any,
    request_for: Any,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Head:
    """A head for a place in S3 of its own, that talks to a build that waits."""
    monkeypatch.setattr(rate_limiter, "SLICE_SECONDS", 0.05)
    prefix = f"s3://modelbuild-123456789012/models/{request.node.name}/demo/sentiment/7"
    prefix = prefix.replace("[", "-").replace("]", "")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        **aws.environ(),
        "ARTIFACTS": prefix,
        "MODEL_ID": "7",
        "UNBLOCK_STEP": "training_finished",
        "METAFLOW_USER": "modelbuild",
        "METAFLOW_DEFAULT_DATASTORE": "local",
        "METAFLOW_DEFAULT_METADATA": "local",
        "BUILDKITE_API_URL": buildkite.url,
        "BUILDKITE_API_TOKEN": "the-rest-token",
    }
    return Head(prefix, environ, request_for)


@pytest.fixture
def archived(repository: Any) -> bytes:
    """The archive of a commit with the flow that does what its parameter says."""
    commit = repository.commit(flow_files.files("demo"))
    return source.archive(repository.folder, commit, flow="flows/flow.py").content
