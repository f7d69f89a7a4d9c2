"""Steps that only some builds have, and steps with a matrix."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelbuild.errors import ConfigurationError
from modelbuild.onboarding.training import of_pipeline
from pipeline_files import GOOD, Write, texts

MAIN, OTHERS = {"branches": "main"}, {"branches": "!main"}
ON_MAIN, ON_OTHERS = {"if": "build.branch == 'main'"}, {"if": "build.branch != 'main'"}
CHANGES = {"params": {"training.epochs": 1}}


def text_of(change: Callable[[dict[str, Any]], object]) -> str:
    """The good pipeline after a change of its steps, which are given by their keys."""
    steps = {step["key"]: step for step in yaml.safe_load(GOOD)["steps"]}
    change(steps)
    return yaml.safe_dump({"steps": list(steps.values())}, sort_keys=False)


def options(step: Any) -> Any:
    """The options of a step's one plugin."""
    return next(iter(step["plugins"][0].values()))


def twice(first: dict[str, str], second: dict[str, str], changes: dict[str, Any] = CHANGES) -> str:
    """Two steps that train, under these conditions, the second with other options."""

    def change(steps: dict[str, Any]) -> None:
        steps["again"] = copy.deepcopy(steps["train"]) | {"key": "again"} | second
        options(steps["again"]).update(changes)
        steps["train"] |= first
        steps["training_finished"]["depends_on"] = ["train", "again"]

    return text_of(change)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (MAIN, OTHERS),
        (ON_MAIN, ON_OTHERS),
        (MAIN, ON_OTHERS),
        ({"if_changed": "flows/a/**"}, {"if_changed": "flows/b/**"}),
    ],
)
@pytest.mark.parametrize("changes", [CHANGES, {"flow": "flows/small/flow.py"}])
def test_trainings_of_different_builds_do_not_collide(
    first: dict[str, str], second: dict[str, str], changes: dict[str, Any], write: Write
) -> None:
    """A team may train in one way on a branch and in another way on others: each build has one of the two
    steps, and the steps behind them follow the one that there is.
    """
    assert texts(write(twice(first, second, changes))) == []


@pytest.mark.parametrize(("first", "second"), [({}, MAIN), (MAIN, MAIN), (MAIN, {**MAIN, **ON_OTHERS})])
def test_trainings_of_one_build_collide(first: dict[str, str], second: dict[str, str], write: Write) -> None:
    """Where a build that has the one step may have the other one as well, they collide."""
    assert any("a step that trains the same" in one for one in texts(write(twice(first, second))))


def test_each_branch_may_have_a_chain_of_its_own(write: Write) -> None:
    """A step that other builds have does not have to wait for the training of this one; for that of its own
    builds it does.
    """

    def change(steps: dict[str, Any], waits: str = "finished_again") -> None:
        own = ("train", "training_finished", "notify")
        again = [copy.deepcopy(steps[key]) for key in own]
        for step, key in zip(again, ("again", "finished_again", "notify_again"), strict=True):
            step["key"] = key
        options(again[0])["unblock"] = again[1]["key"]
        again[1]["depends_on"], again[2]["depends_on"] = "again", waits
        steps["group"] = {"group": "small", **ON_OTHERS, "steps": again}
        for key in (*own, "approve", "deploy"):
            steps[key] |= ON_MAIN

    assert texts(write(text_of(change))) == []
    (found,) = texts(write(text_of(lambda steps: change(steps, "again"))))
    assert "step notify_again: it does not wait for step finished_again" in found


@pytest.mark.parametrize("condition", [MAIN, {"skip": "not today"}])
def test_nothing_is_waited_for_through_a_step_that_is_left_out(
    condition: dict[str, str], write: Write
) -> None:
    """A build may lack the only step through which another one waits for its training, and then that one
    begins at once; a condition that both have changes nothing.
    """

    def change(steps: dict[str, Any], *keys: str) -> None:
        steps["approve"]["depends_on"] = "notify"
        for key in keys:
            steps[key] |= condition

    found = texts(write(text_of(lambda steps: change(steps, "notify"))))
    assert any("step deploy: it does not wait for step training_finished" in one for one in found), found
    assert texts(write(text_of(lambda steps: change(steps, "notify", "approve", "deploy")))) == []


def test_only_buildkite_knows_which_of_two_steps_a_build_has(tmp_path: Path) -> None:
    """There is no plan for such a pipeline: it could be that of the wrong step."""
    file = tmp_path / "pipeline.yml"
    file.write_text(twice(MAIN, OTHERS))
    with pytest.raises(ConfigurationError, match=r"2 steps of .* train: say which model is meant"):
        of_pipeline(file, {"DATA_LAKE_ACCOUNT": "123456789012"})
    with pytest.raises(ConfigurationError, match=r"2 steps of .* train model sentiment, and only Buildkite"):
        of_pipeline(file, {"DATA_LAKE_ACCOUNT": "123456789012"}, "sentiment")


def test_each_build_that_trains_has_the_block_step(write: Write) -> None:
    """Without it, the build would be over and green before the training ends. A train step that waits is red
    by itself.
    """

    def change(steps: dict[str, Any], train: dict[str, str], **given: Any) -> None:
        steps["train"] |= train
        options(steps["train"]).update(given)
        for key in ("training_finished", "notify", "approve", "deploy"):
            steps[key] |= MAIN

    (found,) = texts(write(text_of(lambda steps: change(steps, {}))))
    assert "step train: step training_finished is not in each build that trains" in found
    assert texts(write(text_of(lambda steps: change(steps, MAIN)))) == []
    assert texts(write(text_of(lambda steps: change(steps, {**MAIN, **ON_OTHERS})))) == []
    assert texts(write(text_of(lambda steps: change(steps, {}, wait=True)))) == []
    # Both may be for the same builds.
    assert texts(write(text_of(lambda steps: change(steps, ON_MAIN)))) == []


@pytest.mark.parametrize("condition", [ON_MAIN, {"skip": "nobody is there"}, {"if_changed": "flows/**"}])
def test_a_person_who_is_not_always_asked_decides_nothing(condition: dict[str, str], write: Write) -> None:
    """A group that is skipped takes its block step along, and what is behind it goes on; a deploy step under
    the same condition does not.
    """

    def change(steps: dict[str, Any], deploy: dict[str, str]) -> None:
        steps["approve"] = {"group": "decide", **condition, "steps": [steps["approve"]]}
        steps["deploy"] |= deploy

    found = texts(write(text_of(lambda steps: change(steps, {}))))
    assert any("step deploy: no person decides before this deploy" in one for one in found), found
    assert texts(write(text_of(lambda steps: change(steps, condition)))) == []


def test_a_deployment_may_have_more_conditions_than_the_decision(write: Write) -> None:
    """Each build that deploys asks a person: one condition of the deploy step is that of the block step."""

    def change(steps: dict[str, Any], condition: str) -> None:
        steps["approve"] |= ON_MAIN
        steps["deploy"]["if"] = condition

    nightly = "build.source != 'schedule'"
    assert texts(write(text_of(lambda steps: change(steps, f"{ON_MAIN['if']} && {nightly}")))) == []
    for other in (f"{ON_MAIN['if']} || {nightly}", nightly, f"!({ON_MAIN['if']} && {nightly})"):
        (found,) = texts(write(text_of(partial(change, condition=other))))
        assert "step deploy: no person decides before this deploy" in found


def test_decisions_of_different_builds_have_the_same_fields(write: Write) -> None:
    """A branch is deployed to one endpoint and others to another one: each build has one of the decisions."""

    def change(steps: dict[str, Any], first: dict[str, str], second: dict[str, str]) -> None:
        again = {key: copy.deepcopy(steps[key]) for key in ("approve", "deploy")}
        for own, condition in ((steps, first), (again, second)):
            for key in ("approve", "deploy"):
                own[key] |= condition
            own["approve"]["fields"] = [{"text": "Reason", "key": "deploy/reason", "required": False}]
        again["approve"]["key"], again["deploy"]["key"] = "approve_again", "deploy_again"
        again["deploy"]["depends_on"] = "approve_again"
        options(again["deploy"])["endpoint"] = "development"
        steps |= {f"{key}_again": step for key, step in again.items()}

    assert texts(write(text_of(lambda steps: change(steps, MAIN, OTHERS)))) == []
    found = texts(write(text_of(lambda steps: change(steps, {}, {}))))
    assert any("which step deploy reads and may find changed" in one for one in found), found


def test_options_may_have_values_of_a_matrix(write: Write) -> None:
    """One deploy step may serve a model in several regions: Buildkite puts the values of each job there."""

    def change(steps: dict[str, Any]) -> None:
        steps["deploy"]["matrix"] = {"setup": {"region": ["eu-west-1", "us-east-1"]}}
        options(steps["deploy"])["endpoint"] = "sentiment-{{matrix.region}}"
        options(steps["deploy"])["artifacts"] = "s3://modelbuild-{{ matrix.region }}/models"

    assert texts(write(text_of(change))) == []
    wrong = text_of(lambda steps: options(steps["deploy"]).update(endpoint="sentiment-{{region}}"))
    assert any("option endpoint of the deploy plugin is" in one for one in texts(write(wrong)))


def matrix_of(*models: str, **changes: str) -> str:
    """Models that a step with a matrix trains, each with a block step, that others show and deploy."""

    def change(steps: dict[str, Any]) -> None:
        block = steps.pop("training_finished")
        for model in models:
            own = copy.deepcopy(block) | {"key": f"{model}_finished"}
            for field in own["fields"]:
                field["key"] = f"{model}/{field['key']}"
            steps[own["key"]] = own
        for key in ("train", "notify", "approve", "deploy"):
            steps[key] = steps.pop(key)
            if key != "approve":
                steps[key]["matrix"] = list(models)
        steps["approve"].pop("fields", None)
        steps["notify"]["depends_on"] = [f"{model}_finished" for model in models]
        steps["notify"]["plugins"] = [{"./plugins/notify": {"model": "{{matrix}}"}}]
        options(steps["train"]).update(
            {
                "model": "{{matrix}}",
                "unblock": "{{matrix}}_finished",
                "flow": "flows/{{matrix}}/flow.py",
                **changes,
            }
        )
        options(steps["deploy"]).update(model="{{matrix}}", endpoint="{{matrix}}")

    return text_of(change)


def test_a_matrix_may_be_of_models(write: Write) -> None:
    """Each of its jobs has a training of its own, which is checked as if it had a step of its own."""
    assert texts(write(matrix_of("a", "b"))) == []
    found = texts(write(matrix_of("a", "b", unblock="a_finished")))
    assert any("the training of model a unblocks the same step" in one for one in found), found
    one_model = {"model": "a", "unblock": "a_finished", "flow": "flows/a/flow.py"}
    for params in ("params.yaml", "{{matrix}}.yaml"):
        found = texts(write(matrix_of("a", "b", **one_model, **{"params-file": params})))
        assert any("matrix would train several times" in one for one in found), found
    text = matrix_of("a", "b").replace("- b_finished", "- lake")
    assert any("it does not wait for step b_finished" in one for one in texts(write(text)))
    text = matrix_of("a", "b").replace("b/training/status", "b/training/state")
    assert any("did you mean b/training/status?" in one for one in texts(write(text)))


def test_one_model_of_a_matrix_has_a_plan(tmp_path: Path) -> None:
    """The dry run puts the values of the job there that trains the model."""
    file = tmp_path / "pipeline.yml"
    file.write_text(matrix_of("a", "b"))
    settings, _ = of_pipeline(file, {"DATA_LAKE_ACCOUNT": "123456789012"}, "b")
    assert (settings.model, settings.unblock, settings.flow) == ("b", "b_finished", "flows/b/flow.py")


def test_a_decision_has_values_that_deploy_knows(write: Write) -> None:
    """A person cannot decide again, so a value that the deploy step does not know would cost the build."""

    def change(steps: dict[str, Any], *values: str) -> None:
        choices = [{"label": value, "value": value} for value in values]
        select = {"select": "Decision", "key": "deploy/decision", "options": choices}
        steps["approve"]["fields"] = [select]

    (found,) = texts(write(text_of(lambda steps: change(steps, "deploy", "no"))))
    assert "step approve: field deploy/decision has the value no" in found
    assert texts(write(text_of(lambda steps: change(steps, "deploy", "reject")))) == []
    assert texts(write(text_of(lambda steps: change(steps, "$YES", "reject")))) == []
