"""Every document that the product writes is read back as what was written, whatever it holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import from_json

import samples
from modelbuild.contract import (
    Approver,
    Build,
    Deployment,
    TrainingRequest,
    TrainingResult,
    WandbRun,
    document,
    sha256_of_json,
)

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
PLAIN = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN, inner, max_size=3),
    max_leaves=8,
)


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_any_build_is_read_back(message: str, branch: str, creator: str, url: str) -> None:
    """Whatever bytes the agent's variables hold, the request of that build reads back as the same."""
    build = samples.build(7, message=message, branch=branch, creator=creator, url=url)
    request = samples.request_for("s3://bucket/models/demo/sentiment/7", build=build)
    assert TrainingRequest.model_validate_json(request.to_json()) == request
    assert Build.model_validate_json(build.to_json()) == build


@given(st.dictionaries(PLAIN, JSON, max_size=3))
def test_any_parameters_are_read_back_or_refused(parameters: dict[str, Any]) -> None:
    """A request is written in a form that reads back with the same hash, or not written."""
    try:
        digest = sha256_of_json(parameters)
        text = samples.request_for(
            "s3://bucket/models/demo/sentiment/7", parameters=parameters, parameters_sha256=digest
        ).to_json()
    except ValueError:
        assert "NaN" in repr(json.dumps(parameters)) or "Infinity" in json.dumps(parameters)
        return
    read = TrainingRequest.model_validate_json(text)
    assert sha256_of_json(read.parameters) == digest


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_any_result_is_read_back_from_s3_and_from_fields(reason: str, url: str, image: str) -> None:
    """A result is the same again from result.json, and from the block's fields."""
    result = TrainingResult(status="failed", reason=reason, wandb_run_url=url, image=image)
    assert TrainingResult.model_validate_json(result.to_json()) == result
    assert TrainingResult.from_fields(result.to_fields()) == result


@given(ANY_TEXT, ANY_TEXT)
def test_approver_is_read_back(name: str, email: str) -> None:
    """A deployment's record holds any name."""
    deployment = Deployment.model_validate_json(samples_deployment())
    changed = deployment.model_copy(update={"approver": Approver(name=name, email=email)})
    assert Deployment.model_validate_json(changed.to_json()) == changed


def samples_deployment() -> str:
    """A deployment."""
    values = {
        "model": "sentiment", "model_id": "7", "pipeline": "demo", "build_url": "u", "manifest": "s3://bucket/m",
        "manifest_sha256": "0" * 64, "model_path": "s3://bucket/p", "model_sha256": "0" * 64, "image": "i",
        "endpoint": "e", "endpoint_arn": "a", "endpoint_config": "c", "model_name": "n",
        "previous_endpoint_config": "", "approver": {"name": "", "email": ""}, "deployed_at": "now",
    }  # fmt: skip
    return json.dumps(values)


@given(ANY_TEXT)
def test_any_run_of_wandb_is_read_back(url: str) -> None:
    """The address of a run is text of the W&B SDK."""
    run = WandbRun(id="a", url=url)
    assert WandbRun.model_validate_json(run.to_json()) == run


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": ["\ud800"]}, {"\udcff": 1}, {1: 2}])
def test_what_is_not_read_back_is_not_written(value: Any) -> None:
    """A document that another program would refuse, or read otherwise, is no document."""
    with pytest.raises(ValueError, match=r"."):
        document(value)


def test_endless_nesting_is_not_written() -> None:
    """What is nested too often to be read is not written."""
    value: Any = []
    for _ in range(5_000):
        value = [value]
    with pytest.raises(ValueError, match="nested too often"):
        document(value)
    shallow: Any = []
    for _ in range(250):
        shallow = [shallow]
    with pytest.raises(ValueError, match="nested too often"):
        document(shallow)


@given(JSON)
def test_document_is_read_back(value: Any) -> None:
    """Any other JSON value is the same again, with the parser that all our readers have."""
    try:
        text = document(value)
    except ValueError:
        assert "NaN" in json.dumps(value) or "Infinity" in json.dumps(value)
        return
    assert from_json(text) == value
    assert text.isascii()


def test_fields_that_buildkite_would_not_take_are_no_result() -> None:
    """A flow may write its result itself: what meta-data has no room for is refused, and not sent in vain."""
    with pytest.raises(ValidationError):
        TrainingResult(status="succeeded", image="x" * 100_000)
    with pytest.raises(ValidationError, match="model/env must not take more"):
        TrainingResult(status="succeeded", env={"A": "x" * 100_000})
    assert TrainingResult(status="failed", reason="x" * 200_000).reason


@pytest.mark.parametrize(
    ("keys", "prefix"),
    [
        (TrainingResult.field_keys(), ""),
        ([f"topics/{key}" for key in TrainingResult.field_keys()], "topics/"),
        (["comment", "topics/training/status"], "topics/"),
        (["comment", "mytraining/status", "training/reason"], None),
        ([], None),
    ],
)
def test_fields_say_which_training_fills_them_in(keys: list[str], prefix: str | None) -> None:
    """A block step is a training's where it has a field for the status, under whatever model's name."""
    assert TrainingResult.prefix_of(keys) == prefix
