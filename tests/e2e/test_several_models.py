"""Several models in one build: each has its own block steps, annotations, deployment and trace."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import standins
from laptop import QUICK, SMALL, Laptop
from modelbuild.contract import Predictions, TrainingResult
from pipeline_changes import for_endpoint
from running_build import Json, Running

pytestmark = pytest.mark.e2e

PRICES = Path(__file__).parent / "flows" / "prices"
OWN_SERVER = Path(__file__).parent / "own_image" / "server.py"
OWN_DOCKERFILE = f"""FROM scratch
ENV PYTHONPATH={Path(standins.__file__).parent}
ENTRYPOINT ["python", "{OWN_SERVER}"]
"""
SEVERAL = "several.yml"
SMALL_FLOW = f"{SMALL}/flow.py"


def steps_of(pipeline: Json, model: str, flow: str, **params: Any) -> list[Json]:
    """The pipeline's steps for one of several models: keys, options and meta-data carry its name."""
    steps: list[Json] = for_endpoint(pipeline, f"{model}-endpoint")["steps"]
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
            }
            step["plugins"] = [{name: {**options, "model": model, **own.get(name, {})}}]
    return steps


def served_by(image: str, steps: list[Json]) -> list[Json]:
    """The steps of a model whose endpoint has this image."""
    images = steps[0]["plugins"][0]["./plugins/train"]["image"]
    images["serve"] = images["serve"].replace("/serve:", f"/{image}:")
    return steps


def answer_of(laptop: Laptop, endpoint: str, instance: str | Json) -> bytes:
    """What an endpoint answers."""
    runtime = laptop.aws("sagemaker-runtime", laptop.production)
    body = json.dumps({"instances": [instance]})
    answer = runtime.invoke_endpoint(EndpointName=endpoint, ContentType="application/json", Body=body)
    content: bytes = answer["Body"].read()
    return content


def pipeline_of(quick: Json) -> Json:
    """Steps of four models, and a second step that trains one of them."""
    diverging = {"training.learning_rate": 1e300}
    prices = served_by("serve-onnx", steps_of(quick, "prices", "flows/prices/flow.py"))
    prices[0]["plugins"][0]["./plugins/train"]["resources"] = {"train": {"gpu": 1}}
    again = steps_of(quick, "reviews", SMALL_FLOW, **{"training.epochs": 2})[0]
    again |= {"key": "reviews-again", "depends_on": "reviews-train"}
    again["plugins"][0]["./plugins/train"]["unblock"] = "another_step"
    return {
        "steps": [
            *steps_of(quick, "sentiment", SMALL_FLOW),
            *served_by("own", steps_of(quick, "reviews", SMALL_FLOW)),
            *steps_of(quick, "diverging", SMALL_FLOW, **diverging),
            *prices,
            again,
        ]
    }


@pytest.fixture(scope="module")
def several(prepared: Laptop) -> Iterator[Running]:
    """A build of four models, of which a person approves each that can be deployed."""
    shutil.copytree(
        PRICES,
        prepared.repository / "flows" / "prices",
        ignore=shutil.ignore_patterns(".*", "__pycache__"),
    )
    quick = json.loads((prepared.repository / QUICK).read_text())
    changes = {
        SEVERAL: lambda _: json.dumps(pipeline_of(quick)),
        "docker/own/Dockerfile": lambda _: OWN_DOCKERFILE,
    }
    prepared.commit("Several models", changes)
    with prepared.build("--pipeline", SEVERAL, "--yes") as build:
        build.over(400)
        yield build


def test_each_model_of_a_build_is_served_and_leads_back(
    prepared: Laptop, several: Running, tmp_path: Path
) -> None:
    """Two trainings, two blocks, two deployments, two traces: what one says is never said of the other. One
    model is served by an image of the repository, which has a server of its own.
    """
    for model, image in (("sentiment", "serve"), ("reviews", "own")):
        own = several.of(model)
        result = TrainingResult.model_validate_json(own.object("result.json"))
        assert several.get()["meta_data"][f"{model}/model/data/path"] == result.model_path
        assert result.image.startswith(f"modelbuild/{image}:")
        (head,) = own.heads()
        assert head["jobName"] == f"{several.pipeline}-{model}-{several.model_id}"
        assert own.manifest().wandb.id == f"{several.pipeline}-{model}-{several.model_id}"
        body = answer_of(prepared, f"{model}-endpoint", "I am happy, it works")
        predictions = Predictions.model_validate_json(body)
        assert (predictions.model, predictions.model_id) == (model, several.model_id)
        assert predictions.predictions[0].output["label"] == "positive"
        answer = tmp_path / f"{model}.json"
        # Also a prediction that was stored without the answer around it.
        answer.write_text(predictions.predictions[0].to_json())
        artifacts = own.artifacts.rsplit("/", 2)[0]
        traced = prepared.modelbuild("trace", "--prediction", str(answer), "--artifacts", artifacts)
        assert f"Model {model} {several.model_id} of {several.pipeline}" in traced
        assert f"endpoint {model}-endpoint" in traced
    assert "training/status" not in several.get()["meta_data"]
    assert set(several.annotations()) == {
        *(f"{model}/training" for model in ("sentiment", "reviews", "diverging", "prices")),
        *(f"{model}/deployment/{model}-endpoint" for model in ("sentiment", "reviews", "prices")),
    }


def test_failed_training_stops_no_other_model(several: Running) -> None:
    """A training that fails stops neither the others of its build nor their deployment."""
    assert several.get()["state"] == "failed"
    assert several.jobs("diverging-notify")[-1]["state"] == "failed"
    assert several.jobs("diverging-deploy")[-1]["started_at"] is None
    assert several.jobs("reviews-deploy")[-1]["state"] == "passed"
    note = several.annotations()["diverging/training"]
    assert note["style"] == "error"
    assert "model diverging" in note["body_html"]


def test_regression_is_served_and_shown_by_its_own_metrics(prepared: Laptop, several: Running) -> None:
    """The annotation of a regression compares RMSE, its primary metric, with the mean price; its endpoint
    answers a record with a number.
    """
    body = answer_of(prepared, "prices-endpoint", {"area": 70, "rooms": 3, "district": "north"})
    (prediction,) = Predictions.model_validate_json(body).predictions
    assert (prediction.model, prediction.model_id) == ("prices", several.model_id)
    price = prediction.output["value"]
    assert isinstance(price, float)
    assert 0 < price < 1e7
    html = several.annotations()["prices/training"]["body_html"]
    assert "This one has RMSE" in html
    (row,) = re.findall("baseline: mean price</td>.*", html)
    # The difference of the primary metric, which is the first column of differences, is marked as better.
    assert 'class="green"' in row.split("</td>")[2]
    assert several.of("prices").manifest().evaluation.primary == "rmse"


def test_step_with_a_gpu_runs_on_its_queue(several: Running) -> None:
    """A step for which option resources asks for a GPU runs on the queue of GPUs in the image train-gpu, and
    one without a GPU on the default queue.
    """

    def queues(model: str) -> set[str]:
        return {job["jobQueue"].rpartition("/")[2] for job in several.of(model).steps()}

    assert (queues("prices"), queues("reviews")) == ({"modelbuild-gpu"}, {"modelbuild-default"})
    manifest = several.of("prices").manifest()
    assert manifest.runtime.image == manifest.request.images.train_gpu
    assert several.of("reviews").manifest().runtime.image != manifest.runtime.image


def test_second_training_of_a_model_is_refused(several: Running) -> None:
    """A second step that trains a model of the build is refused before it submits anything."""
    again = several.jobs("reviews-again")[-1]
    assert again["state"] == "failed"
    assert "another step of this build trains model reviews too" in several.job_log(again)
    assert len(several.of("reviews").heads_now()) == 1
