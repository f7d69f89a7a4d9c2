"""What a first user gets in a repository of their own, with rows of their own: init, local up, local run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from laptop import Laptop, git, laptop_of
from modelbuild.contract import Predictions, TrainingResult
from running_build import Running
from waiting import SECONDS

pytestmark = pytest.mark.e2e

DOCTOR = """\
steps:
  - label: doctor
    key: doctor
    command: '"$$MODELBUILD_PYTHON" -m modelbuild doctor'
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """Laptop mode for a repository that holds what ``init`` wrote, unchanged, and the doctor's step."""
    folder = tmp_path_factory.mktemp("first")
    repository = folder / "shop"
    repository.mkdir()
    git(repository, "init", "--quiet", "--initial-branch", "main")
    with laptop_of(repository, folder) as laptop:
        laptop.modelbuild("init", "--data", str(Path(__file__).with_name("reviews.csv")))
        laptop.commit("What init writes", {"doctor.yml": lambda _: DOCTOR})
        yield laptop


@pytest.fixture(scope="module")
def first(shop: Laptop) -> Iterator[Running]:
    """The repository's first build, over: blocks for people were accepted."""
    with shop.build("--yes", model="shop") as build:
        build.over()
        assert build.process.wait(SECONDS) == 0, build.log.read_text(encoding="utf-8")
        yield build


def test_what_init_writes_becomes_a_served_model(shop: Laptop, first: Running) -> None:
    """The written flow trains in Batch on the user's rows, its block is unblocked with a whole result, and it
    is served: with the plugins of this clone, though the pipeline names a repository that does not exist.
    """
    assert "github.com/YOUR_ORG/modelbuild" in Path(shop.repository, ".buildkite/pipeline.yml").read_text(
        encoding="utf-8"
    )
    result = TrainingResult.model_validate_json(first.object("result.json"))
    assert result.status == "succeeded"
    manifest = first.manifest()
    assert manifest.data.rows == 12
    assert manifest.evaluation.overall.metrics["macro_f1"] == 1.0
    answer = shop.aws("sagemaker-runtime", shop.production).invoke_endpoint(
        EndpointName="shop",
        ContentType="application/json",
        Body=json.dumps({"instances": ["terrible, it is broken"]}),
    )
    [prediction] = Predictions.model_validate_json(answer["Body"].read()).predictions
    assert prediction.output["label"] == "1"
    assert (prediction.model, prediction.model_id) == ("shop", first.model_id)


def test_doctor_finds_nothing_on_the_laptop(shop: Laptop, first: Running) -> None:
    """In a job of a real agent, after a build that trained, each line is ok once the owner is filled in."""
    del first
    shop.commit("Acme", {".buildkite/pipeline.yml": lambda text: text.replace("YOUR_ORG", "acme")})
    with shop.build("--pipeline", "doctor.yml") as build:
        build.over()
    log = build.job_log(build.jobs("doctor")[-1])
    lines = re.findall(r"^(?:.*\x07)?(ok |fix) (\w+)", log, re.MULTILINE)
    assert {state for state, _ in lines} == {"ok "}, log
    assert {"agent", "pipeline", "identity", "job", "queue", "quotas", "bucket", "API"} == {
        what for _, what in lines
    }
