"""Several models in one build: each has its own block steps, annotations, deployment and trace."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from laptop import QUICK, Json, Laptop, Running, eventually

from modelbuild.contract import Predictions, TrainingResult
from modelbuild.onboarding import init

pytestmark = pytest.mark.e2e

PRICES = Path(__file__).parent / "flows" / "prices"
BOTH, BROKEN = "both.yml", "broken.yml"


def steps_of(pipeline: Json, model: str, flow: str, **params: Any) -> list[Json]:
    """The pipeline's steps for one of several models: keys, options and meta-data carry its name."""
    steps: list[Json] = json.loads(json.dumps(pipeline["steps"]))
    for step in steps:
        step["key"] = f"{model}-{step['key']}"
        before = step.get("depends_on")
        # A step that depends on none waits for the blocks of another model above it.
        step["depends_on"] = f"{model}-{before}" if before else []
        for field in step.get("fields", []):
            field["key"] = f"{model}/{field['key']}"
        if "plugins" in step:
            (plugin,) = step["plugins"]
            name, options = next(iter(plugin.items())) if isinstance(plugin, dict) else (plugin, {})
            own: dict[str, Json] = {
                "./plugins/train": {
                    "flow": flow,
                    "unblock": f"{model}-training_finished",
                    "params": params,
                },
                "./plugins/deploy": {"endpoint": f"{model}-endpoint"},
            }
            step["plugins"] = [{name: {**options, "model": model, **own.get(name, {})}}]
    return steps


@pytest.fixture(scope="module")
def shelf(prepared: Laptop, tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    """The laptop with two more flows, and pipelines that train two models at once."""
    repository = prepared.repository
    reviews = tmp_path_factory.mktemp("init") / "reviews"
    reviews.mkdir()
    init.write(reviews)
    shutil.copytree(reviews / "flows" / "reviews", repository / "flows" / "reviews")
    shutil.copytree(
        PRICES, repository / "flows" / "prices", ignore=shutil.ignore_patterns(".*", "__pycache__")
    )
    quick = yaml.safe_load((repository / QUICK).read_text())
    sentiment = quick["steps"][0]["plugins"][0]["./plugins/train"]
    both = steps_of(quick, "sentiment", sentiment["flow"], **sentiment["params"])
    both += steps_of(quick, "reviews", "flows/reviews/flow.py")
    broken = steps_of(quick, "reviews", "flows/reviews/flow.py")
    broken += steps_of(quick, "prices", "flows/prices/flow.py")
    diverging = steps_of(quick, "diverging", "flows/reviews/flow.py", **{"training.learning_rate": 1e300})
    again = steps_of(quick, "reviews", "flows/reviews/flow.py", **{"seed": 2})[:1]
    again[0]["key"] = "reviews-again"
    again[0]["plugins"][0]["./plugins/train"]["unblock"] = "another_step"
    broken += diverging + again
    prepared.commit(
        "Several models",
        {
            BOTH: lambda _: json.dumps({"steps": both}),
            BROKEN: lambda _: json.dumps({"steps": broken}),
        },
    )
    return prepared


def answer_of(laptop: Laptop, endpoint: str, text: str) -> bytes:
    """What an endpoint answers."""
    runtime = laptop.aws("sagemaker-runtime", laptop.production)
    body = json.dumps({"instances": [text]})
    answer = runtime.invoke_endpoint(EndpointName=endpoint, ContentType="application/json", Body=body)
    content: bytes = answer["Body"].read()
    return content


@pytest.fixture(scope="module")
def both(shelf: Laptop) -> Iterator[Running]:
    """A build of two models, which a person both lets through."""
    with shelf.build("--pipeline", BOTH, "--yes") as build:
        build.over(400)
        assert build.process.wait(30) == 0, build.log.read_text()
        yield build


def test_each_model_of_a_build_is_served_and_leads_back(shelf: Laptop, both: Running, tmp_path: Path) -> None:
    """Two trainings, two blocks, two deployments, two traces: what one says is never said of the other."""
    for model in ("sentiment", "reviews"):
        own = both.of(model)
        result = TrainingResult.model_validate_json(own.object("result.json"))
        assert both.get()["meta_data"][f"{model}/model/data/path"] == result.model_path
        (head,) = own.heads()
        assert head["jobName"] == f"{both.pipeline}-{model}-{both.model_id}"
        assert own.manifest().wandb.id == f"{both.pipeline}-{model}-{both.model_id}"
        body = answer_of(shelf, f"{model}-endpoint", "I am happy, it works")
        predictions = Predictions.model_validate_json(body)
        assert (predictions.model, predictions.model_id) == (model, both.model_id)
        answer = tmp_path / f"{model}.json"
        # Also a prediction that was stored without the answer around it.
        answer.write_text(predictions.predictions[0].to_json())
        artifacts = own.artifacts.rsplit("/", 2)[0]
        traced = shelf.modelbuild("trace", "--prediction", str(answer), "--artifacts", artifacts)
        assert f"Model {model} {both.model_id} of {both.pipeline}" in traced
        assert f"endpoint {model}-endpoint" in traced
    assert "training/status" not in both.get()["meta_data"]
    assert set(both.annotations()) == {
        f"{model}/{about}" for model in ("sentiment", "reviews") for about in ("training", "deployment")
    }


def test_one_fails_and_another_is_deployed(shelf: Laptop) -> None:
    """A training that fails stops neither the others of its build nor their deployment; a regression is
    shown by its own metrics; a second training of a model is refused before it submits anything.
    """
    with shelf.build("--pipeline", BROKEN) as build:
        refused = build.reaches("reviews-again", "failed", "passed")
        assert refused["state"] == "failed"
        assert "another step of this build trains model reviews too" in build.job_log(refused)
        failed = build.reaches("diverging-notify", "failed", "passed")
        assert failed["state"] == "failed"
        build.unblock("reviews-approve")
        assert build.reaches("reviews-deploy", "failed", "passed")["state"] == "passed"
        build.reaches("prices-approve", "blocked")
        notes = build.annotations()
        assert notes["diverging/training"]["style"] == "error"
        assert "model diverging" in notes["diverging/training"]["body_html"]
        assert "Better than mean price by RMSE" in notes["prices/training"]["body_html"]
        assert build.of("prices").manifest().evaluation.primary == "rmse"
        assert len(build.of("reviews").heads_now()) == 1
        answer = Predictions.model_validate_json(answer_of(shelf, "reviews-endpoint", "so bad"))
        assert (answer.model_id, answer.predictions[0].output["label"]) == (build.model_id, "negative")
        shelf.client.put(f"{build.path}/cancel", {})
        eventually(lambda: build.get()["finished_at"], "end of the build", 60)
