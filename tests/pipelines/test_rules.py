"""The rules of pipelines that ``modelbuild check`` and the local Buildkite share, by one table of cases."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.onboarding import pipeline
from modelbuild_local.buildkite.engine import Engine
from modelbuild_local.buildkite.identity import User
from modelbuild_local.buildkite.pipeline.graph import ancestors
from modelbuild_local.buildkite.pipeline.reader import parse_pipeline

HERE = Path(__file__).parent
TYPES: list[dict[str, Any]] = yaml.safe_load((HERE / "types.yml").read_text(encoding="utf-8"))
WAITING: list[dict[str, Any]] = yaml.safe_load((HERE / "waiting.yml").read_text(encoding="utf-8"))

Waiting = dict[str, set[str]]


def as_check_reads(steps: list[Any], folder: Path) -> list[pipeline.Step]:
    """The steps of a pipeline file, read by ``modelbuild check``."""
    file = folder / "pipeline.yml"
    file.write_text(json.dumps({"steps": steps}), encoding="utf-8")
    return list(pipeline.read(file).steps)


def waiting_in_check(steps: list[Any], folder: Path) -> Waiting:
    """The keys of all steps that each step waits for, as ``modelbuild check`` finds them."""
    found = as_check_reads(steps, folder)
    return {
        step.key: {found[other].key for other in pipeline.steps_before(at, found)}
        for at, step in enumerate(found)
    }


def waiting_on_the_laptop(steps: list[Any], folder: Path) -> Waiting:
    """The same in a build of the local Buildkite."""
    engine = Engine("local", User("1", "Ada", "ada@example.org"), folder)
    made = engine.create_pipeline("p", "/repository", json.dumps({"steps": steps}))
    build = engine.create_build(made, commit="HEAD", branch="main")
    return {str(step.key): {str(other.key) for other in ancestors(build, step)} for step in build.steps}


@pytest.mark.parametrize("waiting", [waiting_in_check, waiting_on_the_laptop])
@pytest.mark.parametrize("case", WAITING, ids=[case["rule"] for case in WAITING])
def test_waiting(case: dict[str, Any], waiting: Callable[[list[Any], Path], Waiting], tmp_path: Path) -> None:
    """Each step waits for the steps that the case names."""
    found = waiting(case["steps"], tmp_path)
    assert {key: sorted(others) for key, others in found.items() if others} == {
        key: sorted(others) for key, others in case["waits_for"].items()
    }


@pytest.mark.parametrize("case", TYPES, ids=[json.dumps(case["step"]) for case in TYPES])
def test_types(case: dict[str, Any], tmp_path: Path) -> None:
    """Both give a step the type that the case names."""
    (step,) = as_check_reads([case["step"]], tmp_path)
    assert step.kind == case["type"]
    assert parse_pipeline([case["step"]]).steps[0].type == case["type"]


@st.composite
def pipelines(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Steps and groups with keys, of which each may depend on some that stand before it."""
    keys: list[str] = []

    def common(key: str) -> dict[str, Any]:
        values: dict[str, Any] = {"key": key}
        if draw(st.booleans()):
            values["depends_on"] = draw(st.lists(st.sampled_from(keys), max_size=2)) if keys else []
        return values

    def step(key: str) -> dict[str, Any]:
        kind = draw(st.sampled_from(["command", "command", "wait", "block", "input"]))
        return {**common(key), kind: key}

    found: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 6))):
        key = f"s{number}"
        if draw(st.integers(0, 3)):
            found.append(step(key))
        else:
            group = common(key)
            members = [step(f"{key}-{inner}") for inner in range(draw(st.integers(1, 3)))]
            found.append({**group, "group": key, "steps": members})
        keys.append(key)
    return found


@given(steps=pipelines())
def test_check_and_laptop_agree(steps: list[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever pipeline it is, a step waits for the same steps in ``modelbuild check`` and on the laptop."""
    folder = tmp_path_factory.getbasetemp()
    assert waiting_in_check(steps, folder) == waiting_on_the_laptop(steps, folder)
