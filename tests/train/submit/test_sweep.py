"""A train step that asks for a sweep."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.contract import TrainingRequest
from modelbuild.errors import ConfigurationError
from modelbuild.settings import AwsSettings
from modelbuild.settings.train import TrainSettings
from modelbuild.train.submit import plan
from train_step import Build, jobs, read_object

FLOW = "def rows(self):\n    return self.search_split(train, test, key)\n"
PARAMETERS = """
from pydantic import BaseModel, Field
class Training(BaseModel):
    epochs: int = Field(ge=2, le=9)
    rate: float
class Parameters(BaseModel):
    act: int
    training: Training
"""
SPACE = {"training.epochs": [2, 3, 4], "training.rate": {"minimum": 0.1, "maximum": 1.0, "count": 2}}


def commit(build: Build, repository: Any, sweep: Any, **files: str) -> None:
    """Have a sweep in the commit that the build is of; ``files`` are others by their names in the folder."""
    text = sweep if isinstance(sweep, str) else json.dumps(sweep)
    named = {f"flows/{name.replace('_py', '.py')}": content for name, content in files.items()}
    build.environ["BUILDKITE_COMMIT"] = repository.commit(
        {"flows/flow.py": FLOW, "flows/sweep.yaml": text, **named}
    )


def test_the_request_has_the_sweep(build: Build, repository: Any) -> None:
    """One head is submitted for all candidates, whose requests follow from its own."""
    commit(build, repository, {"method": "grid", "space": SPACE})
    build.train(sweep="flows/sweep.yaml")
    assert len(jobs(build)) == 1
    request = TrainingRequest.model_validate_json(read_object(build, "request.json"))
    assert request.sweep is not None
    assert list(request.sweep.space) == ["training.epochs", "training.rate"]
    candidate = request.candidate(4, {"training.epochs": 2, "training.rate": 0.1})
    assert candidate.model_id == f"{request.model_id}.4"
    assert candidate.parameters == {"act": 1, "training": {"epochs": 2, "rate": 0.1}}
    assert candidate.origins == {"act": "file", "training.epochs": "sweep", "training.rate": "sweep"}
    assert candidate.misplaced(candidate.artifacts) == ""
    assert candidate.misplaced(request.artifacts) != ""


def test_the_build_chooses_the_file(build: Build, agent: Any, repository: Any) -> None:
    """Meta-data of the build, such as a field of an input step, names the file without the option."""
    commit(build, repository, {"method": "grid", "space": SPACE})
    agent.meta_data |= {"sweep": "flows/sweep.yaml"}
    build.train()
    request = TrainingRequest.model_validate_json(read_object(build, "request.json"))
    assert request.sweep is not None


@pytest.mark.parametrize("chosen", ["/etc/passwd.yaml", "../sweep.yaml", "flows/sweep.txt", "a\nb.yaml"])
def test_a_build_names_a_file_of_the_repository(
    build: Build, agent: Any, repository: Any, chosen: str
) -> None:
    """What a person types is no way to another file."""
    commit(build, repository, {"method": "grid", "space": SPACE})
    agent.meta_data |= {"sweep": chosen}
    with pytest.raises(ConfigurationError, match="meta-data sweep is"):
        build.train()
    assert jobs(build) == []


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        (
            "method: grid\nspace: {training.epoch: [1, 2]}",
            r"tries training.epoch .* did you mean training.epochs\?",
        ),
        (
            "method: grid\nspace: {training.epochs: [2, 12]}",
            r"candidate 2 of the sweep: .*epochs is 12 .*less than",
        ),
        ("method: grid\nspace: {training.epochs: [2, fast]}", r"candidate 2 of the sweep: .*must be a whole"),
        ("method: grid\nspace: {training: [1]}", "tries training .*no such parameter"),
        ("method: grid\nspace: {}", "no sweep: space"),
        ("method: grid\nspace: {act: []}", "it needs values, or a minimum and a maximum"),
        ("method: grid\nspace: {act: {minimum: 1, maximum: 3}}", "a grid needs its count"),
        ("method: random\nspace: {act: [1]}", "method random needs candidates"),
        ("method: genetic\nspace: {act: [1]}", "no sweep: method"),
        (
            "method: grid\nspace: {act: [1]}\nconstraints: [{metric: m, minimum: 2, maximum: 1}]",
            "minimum 2 is above maximum 1, so no candidate meets it",
        ),
        (
            "method: grid\nspace: {act: [1]}\nconstraints: [{metric: m, slice: tweets, minimum: 2}]",
            r"constraints.0.slice: String should match pattern",
        ),
        (
            "method: grid\nspace: {act: [1]}\nconstraints: [{metric: model_bytes, slice: a=b, maximum: 2}]",
            "model_bytes is of the model and not of a slice: leave slice out",
        ),
        ("method: grid\nspce: {act: [1]}", "no sweep: "),
        ("method: grid\nlimit: 2\nspace: {act: [1, 2, 3]}", "more than 2 candidates, and its limit is 2"),
        ("method: grid\nspace: {act: {values: [1], when: {kind: x}}}", r"tries kind \(space.act.when\)"),
        (
            "method: grid\nspace: {act: [1]}\nearly-stopping: {parameter: training.epochs, minimum: 1}",
            r"rung 1 of the sweep: .*epochs is 1 \(early-stopping of flows/sweep.yaml\): .*greater than",
        ),
        ("- a list", "must be a map"),
        ("method: [", "line 1, cannot be read as YAML"),
        (
            "method: grid\nspace: {act: [1]}\nearly-stopping: {parameter: training.rate, minimum: 1}",
            "must be a whole number above",
        ),
    ],
)
def test_a_sweep_that_cannot_work_submits_nothing(
    build: Build, repository: Any, sweep: str, message: str
) -> None:
    """Each mistake is one sentence that names the place, before anything is stored or submitted."""
    commit(build, repository, sweep, parameters_py=PARAMETERS)
    with pytest.raises(ConfigurationError, match=message):
        build.train(sweep="flows/sweep.yaml")
    assert jobs(build) == []
    assert Storage(session(AwsSettings())).list(build.artifacts) == []


def test_a_flow_without_validation_rows_is_not_swept(build: Build, repository: Any) -> None:
    """Its candidates would be ranked by the test rows."""
    commit(build, repository, {"method": "grid", "space": SPACE}, flow_py="# a flow")
    with pytest.raises(ConfigurationError, match=r"self\.search_split"):
        build.train(sweep="flows/sweep.yaml")
    assert jobs(build) == []


def test_a_sweep_that_is_not_in_the_commit_is_named(build: Build, repository: Any) -> None:
    """The file of option sweep must be among the files that are trained on."""
    commit(build, repository, {"method": "grid", "space": SPACE})
    with pytest.raises(ConfigurationError, match=r"the commit has no flows/other\.yaml"):
        build.train(sweep="flows/other.yaml")


def test_the_dry_run_prints_the_candidates(
    build: Build, repository: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what would be trained and, without an earlier model, that the cost is not known."""
    commit(build, repository, {"method": "tpe", "candidates": 60, "round": 5, "space": {"act": [*range(99)]}})
    settings = TrainSettings.model_validate({**build.options, "sweep": "flows/sweep.yaml"})
    plan.show(settings, build.environ)
    found = json.loads(capsys.readouterr().out)["sweep"]
    assert len(found["candidates"]) == 5
    assert (found["chosen_later"], found["offered"], found["estimate"]) == (55, 10, None)
    assert jobs(build) == []
