from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import flow_files
from modelbuild.buildkite import job
from modelbuild.errors import ConfigurationError
from modelbuild.settings.train import TrainSettings
from modelbuild.train.commit import steps, sweep_file
from modelbuild.train.submit import request


@pytest.mark.parametrize(
    ("name", "hint"), [("evalute", "did you mean evaluate?"), ("helper", "it has start, evaluate")]
)
def test_a_step_that_the_flow_does_not_have_is_refused(name: str, hint: str) -> None:
    """The error for a misspelt step names the nearest one; a method that is no step does not count."""
    with pytest.raises(ConfigurationError) as caught:
        steps.require(["start", name], flow_files.source("stepped").encode(), "f.py")
    assert str(caught.value) == f"option resources names step {name}, which f.py does not have: {hint}"


def test_steps_of_a_model_flow_are_known() -> None:
    """The base class of models hides no step: those of this repository's flow are in its own file."""
    flow = Path(__file__).parents[3] / "flows" / "sentiment" / "flow.py"
    steps.require(["start", "train", "evaluate", "notify_buildkite", "end"], flow.read_bytes(), "flow.py")
    with pytest.raises(ConfigurationError, match="did you mean evaluate"):
        steps.require(["evalute"], flow.read_bytes(), "flow.py")


@pytest.mark.parametrize(
    "text",
    [
        flow_files.source("stepped", "inherited.py").encode(),
        flow_files.source("stepped", "mixed.py").encode(),
        b"def (",
        b"\0",
        b"\xff",
        b"# no flow",
        b"x = " + b"-" * 100_000 + b"1",
        b"x = 1" + b" + 1" * 100_000,
    ],
)
def test_what_only_the_head_can_know_is_left_to_it(text: bytes) -> None:
    """Steps may be inherited, and the agent's Python may be older than the flow's."""
    steps.require(["anything"], text, "f.py")


@pytest.mark.parametrize(
    "text",
    [b"def (", b"\0", b"\xff", b"x = " + b"-" * 100_000 + b"1"],
)
def test_a_flow_that_only_a_newer_python_parses_may_be_swept(text: bytes) -> None:
    """Whether it lets validation rows be split off is left to the workers."""
    sweep_file.require_split(text, "f.py")
    with pytest.raises(ConfigurationError, match=r"f\.py cannot be swept"):
        sweep_file.require_split(b"x = 1", "f.py")


def test_request_is_refused_before_the_build_is_asked(repository: Any) -> None:
    """The step fails while the request is made: nothing is stored or submitted by then."""
    commit = repository.commit({**flow_files.files("stepped"), "flows/params.yaml": "epochs: 1\n"})
    settings = TrainSettings.model_validate(
        {
            "flow": "flows/flow.py",
            "artifacts": "s3://bucket/models",
            "unblock": "wait",
            "image": {"default": "d", "train-gpu": "t", "serve": "s"},
            "resources": {"strat": {"cpu": 2}},
        }
    )
    names = ("ORGANIZATION_SLUG", "PIPELINE_SLUG", "BUILD_ID", "BUILD_URL", "BRANCH")
    environ = {f"BUILDKITE_{name}": "demo" for name in names}
    environ |= {"BUILDKITE_BUILD_NUMBER": "7", "BUILDKITE_COMMIT": commit}
    with pytest.raises(ConfigurationError, match="did you mean start"):
        request.build_request(settings, job.read(environ), environ, repository.folder)
