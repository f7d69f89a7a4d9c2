"""Whether a person decides before each deploy step."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from pipeline_files import GOOD, TRAINING, Write, texts


def deploying(*steps: dict[str, Any] | str) -> str:
    """A pipeline whose steps include a right deploy step, wherever the steps have ``DEPLOY``."""
    (deploy,) = (one for one in yaml.safe_load(GOOD)["steps"] if one.get("key") == "deploy")
    del deploy["depends_on"]
    filled = [
        {**deploy, **{name: value for name, value in one.items() if name != "DEPLOY"}}
        if isinstance(one, dict) and "DEPLOY" in one
        else one
        for one in steps
    ]
    return yaml.safe_dump({"steps": filled}, sort_keys=False)


BLOCK = {"block": "deploy?", "key": "approve"}


@pytest.mark.parametrize(
    "steps",
    [
        [BLOCK, {"DEPLOY": 1}],
        [BLOCK, "wait", {"DEPLOY": 1}],
        ["block", {"DEPLOY": 1}],
        [{"type": "block", "key": "approve"}, {"DEPLOY": 1, "depends_on": [{"step": "approve"}]}],
        [BLOCK, {"command": "x", "key": "x", "depends_on": "approve"}, {"DEPLOY": 1, "depends_on": "x"}],
        [{"input": "who?", "key": "who"}, {"DEPLOY": 1, "depends_on": "who"}],
        [BLOCK, {"group": "g", "steps": [{"DEPLOY": 1}]}],
        [BLOCK, {"group": "g", "depends_on": "approve", "steps": [{"DEPLOY": 1, "depends_on": "a"}]}],
        [{"group": "g", "key": "g", "steps": [BLOCK]}, {"DEPLOY": 1, "depends_on": "g"}],
        [BLOCK | {"if": "build.branch == 'main'"}, {"DEPLOY": 1, "if": "build.branch == 'main'"}],
    ],
)
def test_deploy_behind_a_person(steps: list[Any], write: Write) -> None:
    """A block before the deploy is found as Buildkite finds it: in order, by keys, and through groups."""
    filled = [
        {**one, "steps": yaml.safe_load(deploying(*one["steps"]))["steps"]}
        if isinstance(one, dict) and "steps" in one
        else one
        for one in steps
    ]
    assert texts(write(deploying(*filled))) == []


@pytest.mark.parametrize(
    "steps",
    [
        [{"DEPLOY": 1}],
        [{"DEPLOY": 1}, BLOCK],
        [BLOCK, {"DEPLOY": 1, "depends_on": None}],
        [BLOCK, {"DEPLOY": 1, "depends_on": []}],
        [BLOCK, {"command": "x", "key": "x", "depends_on": []}, {"DEPLOY": 1, "depends_on": "x"}],
        [{"input": "who?"}, {"DEPLOY": 1}],
        [{"group": "g", "steps": [BLOCK]}, {"DEPLOY": 1}],
        [BLOCK | {"if": "build.branch == 'main'"}, {"DEPLOY": 1}],
        [BLOCK | {"branches": "main"}, {"DEPLOY": 1}],
        [{"DEPLOY": 1, "key": "a", "depends_on": "a"}],
        [*TRAINING, {"DEPLOY": 1}],
        [*TRAINING, {"DEPLOY": 1, "depends_on": "training_finished"}],
    ],
)
def test_deploy_without_a_person(steps: list[Any], write: Write) -> None:
    """No block before the deploy, one that it does not wait for, one that may be skipped, or one that
    the training opens: no person decides.
    """
    (found,) = texts(write(deploying(*steps)))
    assert "no person decides before this deploy" in found
