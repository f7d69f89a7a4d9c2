"""The W&B run of a training, written by the unmodified SDK to W&B's stand-in."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from modelbuild.contract import Evaluation, sha256_of_json
from modelbuild.flow import regression
from modelbuild.flow.evaluation import EvaluationRows
from modelbuild.flow.tracking.run import summary
from tracked_training import BEGIN, EVALUATE, PARAMETERS, PUBLISH, TRAIN, RunReader, Training, of_classifier
from waiting import wait_until


def test_steps_write_one_run(training: Training, wandb_url: str, runs: RunReader) -> None:
    """The run begins while the model is fitted, and later steps continue it: with all that made the model,
    the curves, every metric of the evaluation, charts, mistakes, and a reference to the model.
    """
    url = training.succeeds(TRAIN).strip()
    assert url == f"{wandb_url}/local/{training.project}/runs/{training.id}"
    begun = runs.read(training)
    assert begun["state"] == "finished"
    assert [(row["_step"], row["loss"]) for row in begun["history"]] == [(10, 0.1), (20, 0.05), (30, 1 / 30)]
    assert training.succeeds(EVALUATE).strip() == url
    training.succeeds(PUBLISH)

    read = runs.read(training)
    assert (read["name"], read["state"]) == ("sentiment 12", "finished")
    assert (read["group"], read["job_type"]) == ("sentiment-12", "training")
    assert read["tags"][0] == "sentiment"
    assert (read["tags"][1][:8], len(read["tags"][1])) == ("feature/", 64)
    build = training.request.build
    assert build.url in read["notes"]
    evaluation = of_classifier().evaluation
    assert read["config"] == {
        "parameters": PARAMETERS,
        "parameters_sha256": sha256_of_json(PARAMETERS),
        "data_sha256": "d" * 64,
        "evaluation_dataset_sha256": evaluation.dataset_sha256,
        "primary_metric": "macro_f1",
        "model": "sentiment",
        "model_id": "12",
        "commit": build.commit,
        "branch": build.branch,
        "build_url": build.url,
        "artifacts": training.request.artifacts,
    }
    numbers = {name: value for name, value in read["summary"].items() if not isinstance(value, dict)}
    assert numbers == {**summary(evaluation), "loss": 1 / 30, "learning_rate": 0.1}
    assert [row["loss"] for row in read["history"] if "loss" in row] == [0.1, 0.05, 1 / 30]
    metadata = {"sha256": "a" * 64, "bytes": 9, "files": {"model.json": "b" * 64}}
    assert read["artifacts"] == [
        ["sentiment:v0", "model", ["12", "latest"], metadata, [f"{training.request.artifacts}/model.tar.gz"]]
    ]


def test_charts_are_of_all_rows_and_mistakes_of_the_wrong_ones(training: Training, runs: RunReader) -> None:
    """The matrix counts each row, the curve begins at full precision, and mistakes are by confidence."""
    training.succeeds(EVALUATE)
    tables = runs.read(training)["tables"]
    assert tables["confusion_matrix_table"]["data"] == [
        *(["bad", "bad", 3], ["bad", "good", 1], ["good", "bad", 1], ["good", "good", 3]),
    ]
    curve = [row for row in tables["precision_recall_table"]["data"] if row[0] == "good"]
    # The two highest scores are right; the third is not, and the other two are.
    assert [precision for _, precision, _ in curve] == [1.0] * 11 + [0.8] * 10
    assert (curve[0][2], curve[-1][2]) == (0.0, 1.0)
    mistakes = tables["mistakes"]
    assert mistakes["columns"] == ["id", "input", "truth", "prediction", "score"]
    assert mistakes["data"] == [
        ["r3", "text 3", "bad", "good", 0.7],
        ["r7", "text 7", "good", "bad", 0.6],
    ]


def test_private_rows_are_not_copied(training: Training, runs: RunReader) -> None:
    """Of private rows W&B gets counts and figures, and no row."""
    training.succeeds("run.add_evaluation(evaluated, private=True)")
    assert sorted(runs.read(training)["tables"]) == ["confusion_matrix_table", "precision_recall_table"]


def test_a_regression_has_metrics_only(tmp_path: Path, wandb_url: str, runs: RunReader) -> None:
    """Numbers have no labels to make a matrix of."""
    rows = EvaluationRows(ids=["a", "b"], inputs=[1, 2], truth=np.array([1.0, 2.0]), description="")
    evaluated = regression.evaluate(rows, [{"value": 1.0}, {"value": 3.0}], baselines={})
    training = Training(tmp_path, wandb_url, evaluated)
    training.succeeds(EVALUATE)
    read = runs.read(training)
    assert read["tables"] == {}
    assert read["summary"]["rmse"] == summary(evaluated.evaluation)["rmse"]


def test_a_training_that_lost_its_host_continues_its_run(training: Training, runs: RunReader) -> None:
    """What goes on from a checkpoint records again what it recorded before, and no point is there twice."""
    killed = training.start(
        BEGIN + TRAIN.replace("1 / step", "2 / step") + "sys.stdout.flush()\ntime.sleep(600)"
    )
    assert killed.stdout is not None
    assert killed.stdout.readline()
    wait_until(lambda: len(runs.read(training)["history"]) >= 2, "two points of the history")
    assert runs.read(training)["state"] == "running"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    training.succeeds(TRAIN.replace("30)", "30, 40)"))
    read = runs.read(training)
    steps = [row["_step"] for row in read["history"]]
    assert steps == sorted({*steps})
    assert {10, 20, 40} <= {*steps}
    assert read["state"] == "finished"


@pytest.mark.parametrize("end", ["sys.exit(1)", "raise ValueError('no rows')"])
def test_a_step_that_fails_marks_its_run(training: Training, end: str, runs: RunReader) -> None:
    """A process that ends with an error leaves a failed run; a later attempt makes it a finished one."""
    assert training.run(f"{TRAIN}\n{end}").returncode == 1
    assert runs.read(training)["state"] == "failed"
    training.succeeds(EVALUATE)
    assert runs.read(training)["state"] == "finished"


def test_another_run_finishes_the_one_that_is_open(training: Training, runs: RunReader) -> None:
    """A notebook may fit model after model: each experiment is a run of its own."""
    training.succeeds("""
for name in ("one", "two"):
    about = of_experiment("sentiment", name, {"name": name}, {}, project=request.build.pipeline)
    experiment = open_run(about)
    experiment.log(1, {"loss": 1.0})
    assert open_run(about) is experiment
""")
    for name in ("one", "two"):
        read = runs.read(training, f"sentiment-{name}")
        assert (read["state"], read["job_type"], read["config"]["parameters"]) == (
            "finished",
            "experiment",
            {"name": name},
        )


def test_a_run_belongs_to_the_entity_that_the_build_names(training: Training, wandb_url: str) -> None:
    """The run is recorded for the team in WANDB_ENTITY, and its address, which notify shows, leads there."""
    training.environ["WANDB_ENTITY"] = "the-team"
    assert training.succeeds(TRAIN).startswith(f"{wandb_url}/the-team/{training.project}/")


def test_a_summary_is_flat_numbers(evaluation: Evaluation) -> None:
    """Every figure of an evaluation has a name of its own, as W&B's tables want them."""
    numbers = summary(evaluation)
    assert numbers["macro_f1"] == 0.75
    assert numbers["class/positive/f1"] == 0.55
    assert numbers["domain/tweets/accuracy"] == 0.75
    assert numbers["baseline/vader/macro_f1"] == 0.5
    assert json.loads(json.dumps(numbers)) == numbers
