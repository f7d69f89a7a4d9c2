"""A train step that runs again: it attaches, refuses, or submits the next attempt."""

from __future__ import annotations

import json
import time
from typing import Any

import boto3
import pytest

from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.settings import AwsSettings
from train_step import Build, jobs, put_result, read_object


def test_retried_step_attaches(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    """Running the step again shows the training under way, and starts none."""
    build.train()
    capsys.readouterr()
    build.train()
    assert len(jobs(build)) == 1
    assert f"attached to job {jobs(build)[0]['jobId']}" in capsys.readouterr().out


def test_unrecorded_job_is_found(build: Build) -> None:
    """A step that ended between submitting and recording finds its job by name."""
    build.train()
    uri = f"{build.artifacts.removeprefix('s3://')}/job.json"
    bucket, key = uri.split("/", 1)
    before = read_object(build, "job.json")
    boto3.client("s3").delete_object(Bucket=bucket, Key=key)
    build.train()
    assert len(jobs(build)) == 1
    assert read_object(build, "job.json") == before


def test_damaged_record_is_a_sentence(build: Build) -> None:
    """A job.json that names no job stops a retried step with what to do; it starts no second training."""
    build.train()
    Storage(session(AwsSettings())).write(f"{build.artifacts}/job.json", b"{}")
    with pytest.raises(VerificationFailed, match=r"job\.json is not a job record of this version"):
        build.train()
    assert len(jobs(build)) == 1


def test_retried_step_cannot_ask_for_another_training(build: Build) -> None:
    """Other parameters under the same number are refused with what differs."""
    build.train()
    with pytest.raises(
        ConfigurationError, match=r"another training .*\(origins, parameters, parameters_sha256\)"
    ):
        build.train(params={"act": 2})
    assert len(jobs(build)) == 1


def test_retried_step_after_success_says_so(
    build: Build, agent: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The step says that the training succeeded and is green, and notify's annotation stays."""
    build.train(environment={})
    build.end_head("SUCCEEDED")
    put_result(build, "result.json", "succeeded")
    capsys.readouterr()
    build.train(environment={})
    assert "has been trained" in capsys.readouterr().out
    assert len(jobs(build)) == 1
    assert len(agent.annotations) == 1


def attempts(build: Build) -> list[str]:
    """The number of the attempt that each job is."""
    return sorted(
        entry["value"]
        for job in jobs(build)
        for entry in job["container"]["environment"]
        if entry["name"] == "ATTEMPT"
    )


def test_retried_step_goes_on_after_failure(
    build: Build, agent: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A training that has failed is attempted again by a retried step, once, under the same model id."""
    build.train(environment={"ACT": "fail"})
    build.end_head("FAILED")
    put_result(build, "result.json", "failed")
    agent.meta_data |= {"training/status": "failed"}
    build.train()
    assert attempts(build) == ["1", "2"]
    assert json.loads(read_object(build, "job.json"))["attempt"] == 2
    assert agent.meta_data["train/attempt"] == "2"
    output = capsys.readouterr().out
    assert "Attempt    2, which goes on from the last good step" in output
    assert "was unblocked by an earlier attempt: retry the steps behind it" in output
    assert "An earlier attempt unblocked step <code>training_finished</code>" in agent.annotations[-1].body
    assert "retry the step behind it" in agent.annotations[-1].body
    build.train()
    assert attempts(build) == ["1", "2"]


def test_page_of_the_last_attempt_is_not_beside_that_of_the_next(build: Build, agent: Any) -> None:
    """Where notify has a context of its own, its page would say that the training failed, beside the one that
    says that it is being trained.
    """
    build.train(environment={"ACT": "fail"})
    build.end_head("FAILED")
    put_result(build, "result.json", "failed")
    removed = ["annotation", "remove", "--context", "decision"]
    agent.meta_data |= {"training/status": "failed", "notify/context": "decision"}
    build.train()
    assert [arguments for arguments, _ in agent.calls if arguments[0] == "annotation"] == [removed]


def test_undelivered_model_is_delivered_by_a_retry(
    build: Build, agent: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A training that ended when its build was over: a retried step does not leave the block waiting."""
    build.train(environment={})
    build.end_head("SUCCEEDED")
    put_result(build, "result.json", "succeeded")
    put_result(build, "delivered.json", "succeeded")
    build.train()
    assert attempts(build) == ["1", "2"]
    assert agent.meta_data["train/attempt"] == "2"
    output = capsys.readouterr().out
    assert "attempt 1 made the model when its build was over: the next attempt delivers it" in output
    assert "step 'training_finished' is unblocked" in output


def test_record_says_with_what_an_attempt_was_submitted(build: Build) -> None:
    """Options of the job may differ between attempts: each is written down with its own."""
    build.train(timeout=120, environment={"ACT": "fail"}, resources={"train": {"memory": 9000}})
    build.end_head("FAILED")
    build.train(tags={"team": "comments"})
    first, second = (
        json.loads(read_object(build, f"attempts/{number}.json"))["options"] for number in (1, 2)
    )
    assert first["environment"] == {"ACT": "fail"}
    assert first["resources"] == {"train": {"memory": 9000}}
    assert (first["timeout"], second["timeout"]) == (120, 86400)
    assert (second["queue"], second["tags"]) == ("modelbuild-head", {"team": "comments"})


def test_head_that_died_after_success_is_not_replaced(build: Build) -> None:
    """What counts is the result: a model that was published is not trained again because its head broke."""
    build.train(environment={"ACT": "fail"})
    build.end_head("FAILED")
    put_result(build, "result.json", "succeeded")
    build.train()
    assert attempts(build) == ["1"]


def test_refused_submission_releases_the_attempt(build: Build) -> None:
    """A step whose submission Batch refused can be retried at once."""
    with pytest.raises(ConfigurationError, match="variables of the job take"):
        build.train(environment={"A": "x" * 9000})
    before = time.monotonic()
    build.train()
    assert attempts(build) == ["2"]
    assert time.monotonic() - before < 20
