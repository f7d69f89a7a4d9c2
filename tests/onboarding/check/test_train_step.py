"""The step that trains: retries, parallelism and the steps it waits for."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from modelbuild.buildkite.job import PullRequest
from modelbuild.onboarding.check import findings, of_fork
from modelbuild.onboarding.pipeline import read
from pipeline_files import GOOD, TRAINING, Write, changed, line_of, texts


@pytest.mark.parametrize("retry", ["", "    retry: {automatic: true}\n", "    retry:\n      manual: false\n"])
def test_train_that_cannot_be_retried(retry: str, write: Write) -> None:
    """A train step has passed when its training fails, so only one that may be retried then goes on."""
    text = changed("    retry:\n      manual: {permit_on_passed: true}\n", retry)
    (found,) = findings(read(write(text)))
    assert found.text.endswith("add retry: {manual: {permit_on_passed: true}}")
    assert found.line == line_of(text, '  - label: ":weight_lifter:')
    waits = "unblock: training_finished\n          wait: true"
    assert texts(write(text.replace("unblock: training_finished", waits))) == []


def test_train_that_does_not_wait_for_its_parameters(write: Write) -> None:
    """Nothing waits for an input step by itself, so a training may be over before it is answered."""
    step = "steps:\n  - input: ask\n    key: ask\n    fields:\n      - {text: Rate, key: params/rate}\n"
    text = GOOD.replace("steps:\n", step, 1)
    assert texts(write(text)) == [
        "step train: it does not wait for step ask, which asks for params/rate: name it in depends_on"
    ]
    assert texts(write(text.replace("depends_on: [images, lake]", "depends_on: [images, lake, ask]"))) == []


TRAIN_STEP, TRAIN_BLOCK = TRAINING


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            [TRAIN_STEP, TRAIN_BLOCK, {**TRAIN_STEP, "key": "mail"}],
            "step mail: line 2 has a step that trains the same",
        ),
        (
            [TRAIN_STEP, TRAIN_BLOCK, {"group": "g", "steps": [{**TRAIN_STEP, "key": "mail"}]}],
            "step mail: line 2 has a step that trains the same",
        ),
        ([{**TRAIN_STEP, "matrix": ["a", "b"]}, TRAIN_BLOCK], "step train: matrix would train several times"),
        ([{**TRAIN_STEP, "parallelism": 2}, TRAIN_BLOCK], "parallelism would train several times"),
        ([{**TRAIN_STEP, "parallelism": "$N"}, TRAIN_BLOCK], "parallelism would train several times"),
    ],
)
def test_several_trainings_of_a_build(steps: list[Any], message: str, write: Write) -> None:
    """Another step that trains, a matrix and parallelism are found, in groups as well."""
    (found,) = texts(write(yaml.safe_dump({"steps": steps}, sort_keys=False)))
    assert message in found


def test_parallelism_of_one_is_one_training(write: Write) -> None:
    """One job is one training, and other steps may have as many as they like."""
    steps = [{**TRAIN_STEP, "parallelism": 1}, TRAIN_BLOCK, {"command": "x", "parallelism": 3, "matrix": [1]}]
    assert texts(write(yaml.safe_dump({"steps": steps}, sort_keys=False))) == []


def test_retry_permitted_by_the_string_yes_is_not_permitted(write: Write) -> None:
    """The agent hands ``yes`` over as text, which does not permit a retry."""
    (found,) = texts(write(changed("permit_on_passed: true", "permit_on_passed: yes")))
    assert "add retry: {manual: {permit_on_passed: true}}" in found


def test_build_of_a_fork(write: Write) -> None:
    """In a job of a build that a training refuses, check says so, unless forks are allowed."""
    theirs = "git://github.com/mallory/comments.git"
    build = PullRequest(
        repository="git@github.com:acme/comments.git", pull_request="7", pull_request_repository=theirs
    )
    steps = read(write(GOOD)).steps
    [finding] = of_fork(steps, build)
    assert f"this build is of a pull request from {theirs}, which it does not train" in finding.text
    assert of_fork(steps, PullRequest()) == []
    allowed = changed("unblock: training_finished", "allow-forks: true\n          unblock: training_finished")
    assert of_fork(read(write(allowed)).steps, build) == []
