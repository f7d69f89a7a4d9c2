from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

import standins
from compiled_reports import World
from github_api import GitHub, github_api
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.contract import Manifest, TrainingResult
from modelbuild.settings import AwsSettings

MODEL = Path(__file__).parents[1] / "data" / "model-12"


@pytest.fixture
def world() -> World:
    """Two accounts without a model."""
    return World()


@pytest.fixture
def environ() -> dict[str, str]:
    """The variables of a job of build 12 of the pipeline "comments"."""
    return {
        "BUILDKITE_ORGANIZATION_SLUG": "acme",
        "BUILDKITE_BUILD_NUMBER": "12",
        "BUILDKITE_BUILD_ID": "0198",
        "BUILDKITE_BRANCH": "more-tweets",
        "BUILDKITE_MESSAGE": "Train on tweets as well\n\nThey are <short> & many.",
        "BUILDKITE_BUILD_CREATOR": "Ada Lovelace",
        "BUILDKITE_PIPELINE_SLUG": "comments",
        "BUILDKITE_BUILD_URL": "https://buildkite.example/acme/comments/builds/12",
        "BUILDKITE_COMMIT": "c" * 40,
        "BUILDKITE_REPO": "git@github.com:acme/comments.git",
    }


@pytest.fixture
def manifest() -> Manifest:
    """Model 12, better than the majority and worse than VADER, with one weak source."""
    return Manifest.model_validate_json((MODEL / "manifest.json").read_bytes())


@pytest.fixture
def result() -> TrainingResult:
    """What the training of ``manifest`` said in the end."""
    return TrainingResult.model_validate_json((MODEL / "result.json").read_bytes())


@pytest.fixture
def storage(on_stand_in: str) -> Storage:
    """The data lake's S3 as the product sees it, with nothing of the pipeline "comments" in it."""
    assert on_stand_in
    boto3.resource("s3").Bucket(standins.BUCKET).objects.filter(Prefix="models/comments/").delete()
    return Storage(session(AwsSettings()))


@pytest.fixture
def github() -> Iterator[GitHub]:
    """A GitHub whose pull request has no comment of ours."""
    with github_api() as found:
        yield found
