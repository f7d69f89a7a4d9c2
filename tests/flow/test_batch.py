from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import flow_files
from modelbuild.errors import ConfigurationError
from modelbuild.flow.batch import on_batch

BUILD = {
    "MODEL_ID": "12",
    "ARTIFACTS": "s3://bucket/models/comments/sentiment/12",
    "GPU_JOB_QUEUE": "gpus",
    "TRAIN_GPU_IMAGE": "train-gpu:1",
    "WANDB_SECRET_ARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:wandb",
    "WANDB_ENTITY": "the-team",
    "UNRELATED": "stays here",
}


def decorators(tmp_path: Path, variables: dict[str, str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Decorators and their attributes of each step of a small flow that is loaded with the variables."""
    result = subprocess.run(
        [sys.executable, str(flow_files.FOLDER / "sized" / "flow.py")],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "METAFLOW_HOME": str(tmp_path), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, dict[str, dict[str, Any]]] = json.loads(result.stdout)
    return found


def test_the_build_may_size_a_step(tmp_path: Path) -> None:
    """What the build says goes before the flow, value by value; without GPUs a step leaves their queue."""
    sizes = {"start": {"memory": 9000, "gpu": 0}, "end": {"gpu": 2}}
    found = decorators(tmp_path, {**BUILD, "STEP_RESOURCES": json.dumps(sizes)})
    start, end = found["start"]["batch"], found["end"]["batch"]
    assert (start["cpu"], start["memory"], start["gpu"]) == (2, 9000, None)
    assert (start["queue"], start["image"]) != ("gpus", "train-gpu:1")
    assert (end["gpu"], end["queue"], end["image"]) == (2, "gpus", "train-gpu:1")
    assert json.loads(found["start"]["environment"]["vars"]["STEP_RESOURCES"]) == sizes


def test_on_its_own_a_step_stays_as_it_is(tmp_path: Path) -> None:
    """Without MODEL_ID nothing is added, whatever else is set."""
    variables = {name: value for name, value in BUILD.items() if name != "MODEL_ID"}
    assert decorators(tmp_path, variables) == {"start": {}, "end": {}}


def test_for_a_build_a_step_is_a_job(tmp_path: Path) -> None:
    """Size, queue, image, secrets and variables are those asked for; others' variables stay behind."""
    found = decorators(tmp_path, BUILD)
    start, end = found["start"], found["end"]
    assert {name: start["batch"][name] for name in ("cpu", "memory", "gpu", "queue", "image")} == {
        "cpu": 2,
        "memory": 4096,
        "gpu": 1,
        "queue": "gpus",
        "image": "train-gpu:1",
    }
    assert start["secrets"]["sources"] == [{"type": "aws-secrets-manager", "id": BUILD["WANDB_SECRET_ARN"]}]
    assert start["environment"]["vars"] == {k: v for k, v in BUILD.items() if k != "UNRELATED"}
    assert "secrets" not in end
    assert end["batch"]["gpu"] is None


def test_steps_get_what_the_pipeline_names(tmp_path: Path) -> None:
    """Variables that STEP_VARIABLES names reach the step, now and when Metaflow loads the flow in its job."""
    variables = {**BUILD, "STEP_VARIABLES": "ROWS COLOUR", "ROWS": "10", "COLOUR": "deep blue"}
    head = decorators(tmp_path, variables)
    passed = head["start"]["environment"]["vars"]
    assert (passed["ROWS"], passed["COLOUR"]) == ("10", "deep blue")
    assert "UNRELATED" not in passed
    assert decorators(tmp_path, passed) == head


def test_in_its_job_a_step_has_the_same_decorators(tmp_path: Path) -> None:
    """Metaflow loads the flow again in the job, where only the passed variables exist."""
    head = decorators(tmp_path, BUILD)
    passed = head["start"]["environment"]["vars"]
    assert decorators(tmp_path, passed) == head


@pytest.mark.parametrize("missing", ["GPU_JOB_QUEUE", "TRAIN_GPU_IMAGE"])
def test_a_missing_variable_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job definition that lacks a variable is found before anything is submitted."""
    from metaflow.decorators import step

    def start(_: Any) -> None:
        """A step's body."""

    for name, value in BUILD.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(missing)
    with pytest.raises(ConfigurationError, match=f"{missing} is not set"):
        on_batch(cpu=1, memory=1024, gpu=1)(step(start))


def test_size_of_a_step_that_the_flow_does_not_have(tmp_path: Path) -> None:
    """A misspelt step in option resources stops the run with the names of those that there are."""
    result = subprocess.run(
        [sys.executable, str(flow_files.FOLDER / "sized" / "main.py"), "run"],
        cwd=tmp_path,
        env={
            **BUILD,
            "PATH": os.environ["PATH"],
            "METAFLOW_HOME": str(tmp_path),
            "STEP_RESOURCES": '{"trian": {"cpu": 2}}',
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 10
    assert result.stderr == (
        "option resources names step trian, which the flow does not have: it has start, end.\n"
    )
