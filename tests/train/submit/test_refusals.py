"""What a train step refuses before it submits anything."""

from __future__ import annotations

import json
from typing import Any

import pytest

import samples
from memory import MemoryObjects
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.errors import AwsError, ConfigurationError
from modelbuild.settings import AwsSettings
from modelbuild.store.model import ModelStore
from modelbuild.train.submit import submission
from train_step import BUCKET, Build, jobs, read_object


def test_what_the_head_could_not_read_is_not_submitted(build: Build, repository: Any) -> None:
    """Parameters that are nested too often to be read back are refused before anything is stored."""
    repository.commit({"flows/params.yaml": "act: []\n"})
    build.options["params"] = {"act": json.loads("[" * 230 + "]" * 230)}
    build.environ["BUILDKITE_COMMIT"] = repository.git("rev-parse", "HEAD")
    with pytest.raises(ConfigurationError, match=r"request\.json could not be read again .*recursion limit"):
        build.train()
    assert jobs(build) == []
    with pytest.raises(AwsError):
        read_object(build, "source.tar.gz")


def test_second_training_of_a_build_submits_nothing(build: Build, agent: Any) -> None:
    """Another step that trains, in the same build, is refused before anything of it is stored or submitted,
    and the first one can be retried.
    """
    build.train()
    # The address of the log has the name of the log from when the job has begun.
    own = {key for key in agent.meta_data if not key.startswith("train/claim/") and key != "train/logs/url"}
    meta_data = {key: agent.meta_data[key] for key in own}
    with pytest.raises(ConfigurationError, match=r"another step of this build trains model flows too"):
        build.train(artifacts=f"{BUCKET}/others")
    build.environ["BUILDKITE_PARALLEL_JOB_COUNT"] = "2"
    with pytest.raises(ConfigurationError, match="parallelism 2"):
        build.train()
    del build.environ["BUILDKITE_PARALLEL_JOB_COUNT"]
    build.train()
    assert len(jobs(build)) == 1
    assert {key: agent.meta_data[key] for key in meta_data} == meta_data
    assert not Storage(session(AwsSettings())).exists(
        f"{build.artifacts.replace('/models/', '/others/')}/request.json"
    )


@pytest.mark.parametrize(
    ("variables", "meta_data", "message"),
    [
        (
            {"PARAM_TRAINING__RATES": "1"},
            {},
            "PARAM_TRAINING__RATES is 1, .* did you mean training.rate, which",
        ),
        ({"PARAM_TRAINING__RATE": "fast"}, {}, r'"fast" \(PARAM_TRAINING__RATE\): it must be a number'),
        (
            {},
            {"params/training.epochs": "1.5"},
            r"1.5 \(meta-data params/training.epochs\): it must be a whole",
        ),
        ({}, {"params/epochs": "1"}, "meta-data params/epochs is 1, but .* did you mean training.epochs"),
        ({}, {"params/act": "[1"}, "meta-data params/act, line 1, cannot be read as YAML"),
    ],
)
def test_wrong_parameter_of_a_build_submits_nothing(
    build: Build, agent: Any, variables: dict[str, str], meta_data: dict[str, str], message: str
) -> None:
    """Nothing is stored or submitted for a parameter that is unknown or of another type."""
    build.environ |= variables
    for key, value in meta_data.items():
        agent.meta_data |= {key: value}
    with pytest.raises(ConfigurationError, match=message):
        build.train()
    assert jobs(build) == []
    assert Storage(session(AwsSettings())).list(build.artifacts) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flow": "flows/absent.py"}, "option flow is flows/absent.py, but commit .* has no such file"),
        (
            {"params": {"training.epoch": 1}},
            r"training.epoch is 1, .* did you mean training.epochs, which is a whole number\?",
        ),
        ({"queue": "no-such-queue"}, "no active Batch job definition no-such-queue in us-east-1"),
        ({"environment": {"A": "x" * 9000}}, "the variables of the job take [0-9]+ bytes"),
        (
            {"environment": {"A": "x" * 4000}},
            "take 9[0-9]+ bytes with 5000 for Metaflow, and Batch takes 8192",
        ),
    ],
)
def test_users_mistake_submits_nothing(build: Build, options: dict[str, Any], message: str) -> None:
    """A wrong option is one sentence, before anything is submitted."""
    with pytest.raises((ConfigurationError, AwsError), match=message):
        build.train(**options)
    assert jobs(build) == []


def test_used_number_is_not_overwritten(build: Build) -> None:
    """A source that lies there from something else stops the step."""
    Storage(session(AwsSettings())).write(f"{build.artifacts}/source.tar.gz", b"something else")
    with pytest.raises(ConfigurationError, match="has other bytes than this commit's files"):
        build.train()
    assert jobs(build) == []


def test_outside_a_build_it_says_what_is_missing(build: Build) -> None:
    """Without the agent's variables the step names the first that is missing, or not one of Buildkite's."""
    del build.environ["BUILDKITE_BUILD_URL"]
    with pytest.raises(ConfigurationError, match="BUILDKITE_BUILD_URL is not set"):
        build.train()
    build.environ |= {"BUILDKITE_BUILD_URL": "http://buildkite.example", "BUILDKITE_BUILD_NUMBER": "first"}
    with pytest.raises(ConfigurationError, match="the build's number is 'first', which Buildkite never sets"):
        build.train()


def test_number_of_a_pipeline_that_was_made_again_is_not_reused() -> None:
    """A build of a new pipeline with an old slug collides with each build of the old one: the sentence says
    what to do about all of them.
    """
    prefix = "s3://bucket/models/demo/sentiment/7"
    store = ModelStore(MemoryObjects(), prefix)
    submission.store_request(store, samples.request_for(prefix), b"the source")
    new = samples.request_for(prefix, build=samples.build(7, id="0190-of-the-new-pipeline"))
    for archive in (b"the source", b"another source"):
        with pytest.raises(ConfigurationError, match="not repeat under option artifacts, so name another"):
            submission.store_request(store, new, archive)
    assert store.request().build.id == "0190-7"
