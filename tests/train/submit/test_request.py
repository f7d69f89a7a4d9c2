"""The request and the job that a train step leaves behind."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import pytest

from modelbuild.buildkite import job
from modelbuild.contract import TrainingRequest
from modelbuild.errors import ConfigurationError
from modelbuild.settings.train import TrainSettings
from modelbuild.train.submit import request, submission
from train_step import BUCKET, Build, build_numbers, jobs, read_object


@pytest.mark.parametrize(
    "name", ["BUILDKITE_MESSAGE", "BUILDKITE_BRANCH", "BUILDKITE_BUILD_CREATOR", "BUILDKITE_BUILD_URL"]
)
def test_bytes_of_any_variable_are_read_back(build: Build, repository: Any, name: str) -> None:
    """A message that the agent cut inside a letter, or any other bytes, make a request that reads back."""
    build.environ[name] = "x" * 65_000 + os.fsdecode("🚀".encode()[:3] + b"\xff\n+++ \x1b[2J")
    made, _ = request.build_request(
        TrainSettings.model_validate(build.options), job.read(build.environ), build.environ, repository.folder
    )
    assert TrainingRequest.model_validate_json(made.to_json()) == made
    again, _ = request.build_request(
        TrainSettings.model_validate(build.options), job.read(build.environ), build.environ, repository.folder
    )
    assert again == made


def test_one_head_with_the_requests_variables(build: Build, agent: Any) -> None:
    """The step leaves a request, one job with its variables and the stack's own, and links on the build."""
    agent.meta_data |= {"image/modelbuild/default:1": "modelbuild/default@sha256:" + "a" * 64}
    build.train(params={"training.epochs": 9}, timeout=120)
    request = TrainingRequest.model_validate_json(read_object(build, "request.json"))
    assert request.parameters == {"act": 1, "training": {"epochs": 9, "rate": 0.5}}
    assert request.images.default == "modelbuild/default@sha256:" + "a" * 64
    assert request.images.train_gpu == "modelbuild/train-gpu:1"
    assert request.build.commit == build.commit
    (job,) = jobs(build)
    container = job["container"]
    variables = {entry["name"]: entry["value"] for entry in container["environment"]}
    assert variables["MODEL_ID"] == request.model_id
    assert variables["ARTIFACTS"] == build.artifacts
    assert variables["UNBLOCK_STEP"] == "training_finished"
    assert variables["ACT"] == "sleep"
    assert variables["STEP_VARIABLES"] == "ACT"
    assert variables["GPU_JOB_QUEUE"] == "modelbuild-gpu"
    assert [secret["name"] for secret in container["secrets"]] == ["BUILDKITE_API_TOKEN"]
    assert container["image"] == request.images.default
    assert container["command"] == ["python", "-m", "modelbuild", "head"]
    assert job["timeout"] == {"attemptDurationSeconds": 120}
    assert json.loads(read_object(build, "job.json")) == {
        "job_id": job["jobId"],
        "queue": "modelbuild-head",
        "region": "us-east-1",
        "attempt": 1,
    }
    assert variables["ATTEMPT"] == agent.meta_data["train/attempt"] == "1"
    assert agent.meta_data["train/job/id"] == job["jobId"]
    assert agent.meta_data["train/artifacts"] == build.artifacts
    assert job["jobId"] in agent.meta_data["train/job/url"]
    assert len(agent.annotations) == 1


def test_new_build_with_another_value_is_a_training(build: Build, agent: Any) -> None:
    """What this build sets stands above the pipeline's options, these above the file, and request and page
    have the origin of each.
    """
    build.environ |= {"PARAM_TRAINING__RATE": "1e-3", "PARAM_TRAINING__EPOCHS": "7", "PARAM_ACT": " "}
    agent.meta_data |= {"params/training.epochs": "8"}
    build.train(params={"training.epochs": 9, "act": 5})
    request = TrainingRequest.model_validate_json(read_object(build, "request.json"))
    assert request.parameters == {"act": 5, "training": {"epochs": 8, "rate": 0.001}}
    assert request.origins == {"act": "plugin", "training.epochs": "build", "training.rate": "build"}
    ((_, _, page),) = agent.annotations
    assert (
        "<code>act</code> (option params), <code>training.epochs</code> (this build), "
        "<code>training.rate</code> (this build)"
    ) in page
    assert "<td><code>training.rate</code></td><td>this build</td>" in page


def test_parameters_of_another_file(build: Build, repository: Any) -> None:
    """Option params-file names another file beside the flow, with other names than params.yaml has; what the
    pipeline and the build set is held to that file. One that is not there is refused.
    """
    repository.commit({"flows/large.yaml": "layers: 6\ntraining: {rate: 0.1}\n"})
    build.environ["BUILDKITE_COMMIT"] = repository.git("rev-parse", "HEAD")
    with pytest.raises(ConfigurationError, match=r"no flows/small\.yaml: .* option params-file"):
        build.train(**{"params-file": "small.yaml"})
    with pytest.raises(ConfigurationError, match=r"flows/large\.yaml has no such parameter"):
        build.train(**{"params-file": "large.yaml", "params": {"act": 5}})
    build.environ["PARAM_LAYERS"] = "12"
    build.train(**{"params-file": "large.yaml"})
    request = TrainingRequest.model_validate_json(read_object(build, "request.json"))
    assert request.parameters == {"layers": 12, "training": {"rate": 0.1}}


def test_dirty_tree_is_recorded(build: Build, agent: Any, repository: Any) -> None:
    """Uncommitted changes are refused, or recorded in the request and on the page where the pipeline allows
    them.
    """
    (repository.folder / "flows" / "flow.py").write_text("# another flow")
    with pytest.raises(ConfigurationError, match=r"flows/flow.py\): .* allow-dirty"):
        build.train()
    build.train(**{"allow-dirty": True})
    request = TrainingRequest.model_validate_json(read_object(build, "request.json"))
    assert "+# another flow" in request.dirty_diff
    assert "with uncommitted changes" in agent.annotations[0].body
    archived = read_object(build, "source.tar.gz")
    assert hashlib.sha256(archived).hexdigest() == request.source.sha256


def test_secret_is_in_no_override(build: Build) -> None:
    """The token comes from Secrets Manager: it is not among the variables that anyone may read."""
    build.train()
    assert "the-rest-token" not in json.dumps(jobs(build), default=str)


def test_steps_have_their_sizes_and_tags(build: Build) -> None:
    """The head has its tags, and variables with the sizes of steps and the tags of their jobs."""
    build.train(
        tags={"team": "comments"}, resources={"train": {"memory": 9000, "gpu": 0}, "prepare": {"cpu": 3}}
    )
    (job,) = jobs(build)
    variables = {entry["name"]: entry["value"] for entry in job["container"]["environment"]}
    sizes = {"train": {"memory": 9000, "gpu": 0}, "prepare": {"cpu": 3}}
    assert json.loads(variables["STEP_RESOURCES"]) == sizes
    assert variables["METAFLOW_BATCH_EMIT_TAGS"] == "true"
    assert json.loads(variables["METAFLOW_BATCH_DEFAULT_TAGS"]) == job["tags"]
    assert job["tags"]["team"] == "comments"
    assert job["tags"]["modelbuild:pipeline"] == "demo"


def test_definition_is_reused(build: Build, repository: Any) -> None:
    """Two builds with one image share the job definition that was registered for it."""
    build.train()
    second = Build(repository, next(build_numbers), build.programs)
    second.train()
    assert jobs(build)[0]["jobDefinition"] == jobs(second)[0]["jobDefinition"]
    assert "/modelbuild-head-" in jobs(build)[0]["jobDefinition"]


def test_job_name_keeps_to_batchs_letters(request_for: Any) -> None:
    """Any pipeline gives a name that Batch takes, and long ones that begin alike stay apart."""
    request = request_for(f"{BUCKET}/models/demo/sentiment/7")

    def name(pipeline: str, model_id: str) -> str:
        build = request.build.model_copy(update={"pipeline": pipeline})
        return submission.job_name(request.model_copy(update={"build": build, "model_id": model_id}))

    assert name("demo", "7.12") == "demo-sentiment-7_12"
    assert len(name("p" * 200, "7")) == 128
    assert name("p" * 200, "7") != name("p" * 200, "8")
