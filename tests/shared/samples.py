"""What builds ask for, for tests that need any."""

from __future__ import annotations

import hashlib
from typing import Any

from modelbuild.buildkite import job
from modelbuild.contract import (
    Build,
    GoldenPrediction,
    Images,
    Source,
    TrainingRequest,
    sha256_of_json,
)

WRONG = GoldenPrediction(
    input="fine",
    output={"label": "positive", "scores": {"negative": 0.0, "neutral": 0.0, "positive": 1.0}},
)
"""What no model answers."""


def build(number: int, pipeline: str = "demo", organization: str = "local", **changes: Any) -> Build:
    """A build; ``changes`` replace its values."""
    values = {
        "id": f"0190-{number}",
        "url": f"https://buildkite.example/{organization}/{pipeline}/builds/{number}",
        "commit": "a" * 40,
        "branch": "main",
        "message": "a commit",
        "creator": "Ada",
    }
    where = {"organization": organization, "pipeline": pipeline, "number": number}
    return Build.model_validate({**where, **values, **changes})


def job_environment(**variables: str) -> job.JobEnvironment:
    """The variables of a job of build 7 of the pipeline "demo"; ``variables`` replace them by their names."""
    own = {
        "BUILDKITE_ORGANIZATION_SLUG": "local",
        "BUILDKITE_PIPELINE_SLUG": "demo",
        "BUILDKITE_BUILD_NUMBER": "7",
        "BUILDKITE_BUILD_ID": "0190-7",
        "BUILDKITE_BUILD_URL": "https://buildkite.example/local/demo/builds/7",
        "BUILDKITE_COMMIT": "a" * 40,
        "BUILDKITE_BRANCH": "main",
    }
    return job.read({**own, **variables})


def request_for(artifacts: str, **changes: Any) -> TrainingRequest:
    """The request of the build whose files lie under ``artifacts``; ``changes`` replace its values."""
    pipeline, model, model_id = artifacts.split("/")[-3:]
    parameters = changes.get("parameters", {"epochs": 1})
    values = {
        "model": model,
        "model_id": model_id,
        "build": changes.get("build") or build(int(model_id), pipeline),
        "source": Source(path=f"{artifacts}/source.tar.gz", sha256="0" * 64),
        "flow": "flows/flow.py",
        "parameters": parameters,
        "parameters_sha256": sha256_of_json(parameters),
        "artifacts": artifacts,
        "unblock": "training_finished",
        "images": Images(default="default:1", train_gpu="train-gpu:1", serve="serve:1"),
    }
    return TrainingRequest.model_validate({**values, **changes})


def train_step_meta_data(request: TrainingRequest) -> dict[str, str]:
    """The meta-data of a train step that notify and deploy verify."""
    pin = hashlib.sha256(request.to_json().encode()).hexdigest()
    return {"train/artifacts": request.artifacts, "train/request/sha256": pin}
