"""What a first user gets from ``modelbuild init``, built with the real agent and Metaflow."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from laptop import Laptop, Running

from modelbuild.contract import TrainingResult

pytestmark = pytest.mark.e2e

FILE = "first.yml"
DOCTOR = {
    "label": "doctor",
    "key": "doctor",
    "depends_on": "stack",
    "command": f'"$$MODELBUILD_PYTHON" -m modelbuild doctor --pipeline {FILE}',
}


def on_the_laptop(pipeline: str, own: str) -> str:
    """The written pipeline with the plugins of this commit, after what sets the account up and the doctor."""
    pipeline = re.sub(r"https://github.com/YOUR_ORG/modelbuild.git(/plugins/\w+)#v[0-9.]+", r".\1", pipeline)
    written = yaml.safe_load(pipeline.replace("${IMAGE_REGISTRY?}", "modelbuild"))["steps"]
    written[0]["depends_on"] = "doctor"
    account = [one for one in yaml.safe_load(own)["steps"] if one.get("key") in ("images", "stack")]
    return yaml.safe_dump({"steps": [*account, DOCTOR, *written]}, sort_keys=False)


@pytest.fixture(scope="module")
def first(laptop: Laptop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The build of what ``init`` wrote, approved and over."""
    folder = tmp_path_factory.mktemp("first") / "shop"
    folder.mkdir()
    laptop.modelbuild("init", str(folder))
    shutil.copytree(folder / "flows" / "shop", laptop.repository / "flows" / "shop")
    own = (laptop.repository / ".buildkite" / "pipeline.yml").read_text()
    written = Path(folder / ".buildkite" / "pipeline.yml").read_text()
    laptop.commit("What init writes", {FILE: lambda _: on_the_laptop(written, own)})
    with laptop.build("--pipeline", FILE) as build:
        build.reaches("approve", "blocked", "broken", seconds=180)
        build.unblock("approve")
        build.over()
        yield build


def test_what_init_writes_becomes_a_served_model(first: Running) -> None:
    """The written flow trains in Batch, its block is unblocked with a whole result, and it is served."""
    assert first.get()["state"] == "passed", first.log.read_text()
    result = TrainingResult.model_validate_json(first.object("result.json"))
    assert result.status == "succeeded"
    assert first.manifest().evaluation.overall.macro_f1 == 1.0
    assert "Endpoint shop serves model" in first.job_log(first.jobs("deploy")[-1])


def test_doctor_finds_nothing_on_the_laptop(first: Running) -> None:
    """In a job of a real agent, whose pipeline trains at once afterwards, each line is ok."""
    lines = re.findall(r"^(?:.*\x07)?(ok |fix) (\w+)", first.job_log(first.jobs("doctor")[-1]), re.MULTILINE)
    assert {state for state, _ in lines} == {"ok "}
    assert {"agent", "pipeline", "identity", "job", "queue", "bucket", "API"} == {what for _, what in lines}
