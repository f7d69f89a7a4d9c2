"""The W&B run of a training, written by the unmodified SDK to W&B's stand-in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import JsonValue

import samples
import standins
from modelbuild.contract import Evaluation, TrainingRequest, sha256_of_json
from modelbuild.flow import classification, regression
from modelbuild.flow.evaluation import Evaluated, EvaluationRows
from modelbuild.flow.tracking.description import of_checkout
from modelbuild.flow.tracking.run import summary
from waiting import SECONDS, wait_until

KEY = "k" * 40
PARAMETERS: dict[str, JsonValue] = {"seed": 1, "training": {"learning_rate": 0.5}}
LABELS = ("bad", "good")

# What the programs below begin with: "run" is the run of a build.
BEGIN = """
import json, os, pathlib, signal, sys, time
from modelbuild.contract import Artifact, Evaluation, TrainingRequest
from modelbuild.flow.evaluation import Evaluated
from modelbuild.flow.tracking.description import of_build, of_experiment
from modelbuild.flow.tracking.run import open_run
request = TrainingRequest.model_validate_json(pathlib.Path("request.json").read_text())
run = open_run(of_build(request, {"data_sha256": "d" * 64}, os.environ.get("WANDB_ENTITY")))
evaluated = Evaluated(
    Evaluation.model_validate_json(pathlib.Path("evaluation.json").read_text()),
    pathlib.Path("predictions.parquet").read_bytes(),
)
"""
# A busy machine may need longer than the limits of a training that goes on without W&B. Their sum is below
# the limit of the process, so that what W&B did not take is said.
PATIENT = f"""
from modelbuild.flow.tracking import run as module
module._INIT_SECONDS = module._FINISH_SECONDS = module._ANSWER_SECONDS = {int(SECONDS)}
"""
READ = """
import json, sys, wandb
api = wandb.Api()
run = api.run(sys.argv[1])
print(json.dumps({
    "name": run.name, "state": run.state, "group": run.group, "job_type": run.job_type, "tags": run.tags,
    "notes": run.notes, "config": dict(run.config), "url": run.url,
    "summary": {name: value for name, value in run.summary._json_dict.items() if name[0] != "_"},
    "history": [
        {name: value for name, value in row.items() if not isinstance(value, dict) and name[:2] != "_r"}
        for row in run.scan_history()
    ],
    "artifacts": [
        [
            item.name, item.type, sorted(item.aliases), item.metadata,
            [entry.ref for entry in item.manifest.entries.values()],
        ]
        for item in run.logged_artifacts() if item.type != "run_table"
    ],
    "tables": {
        name: json.load(run.file(value["path"]).download(root="tables", replace=True))
        for name, value in run.summary._json_dict.items()
        if isinstance(value, dict) and value.get("_type") == "table-file"
    },
}))
"""


class Training:
    """Processes of one training, as its steps are, each with a program that goes on from BEGIN."""

    def __init__(self, folder: Path, url: str, evaluated: Evaluated) -> None:
        self.folder = folder
        self.request = request_of(f"p{uuid.uuid4().hex[:8]}")
        self.project = self.request.build.pipeline
        self.id = f"{self.project}-sentiment-12"
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "WANDB_BASE_URL": url,
            "WANDB_API_KEY": KEY,
            "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "0.5",
        }
        (folder / "request.json").write_text(self.request.to_json())
        (folder / "evaluation.json").write_text(evaluated.evaluation.to_json())
        (folder / "predictions.parquet").write_bytes(evaluated.predictions)

    def start(self, program: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a process."""
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, program: str, begin: str = BEGIN) -> subprocess.CompletedProcess[str]:
        """Run a process to its end."""
        process = self.start(begin + program)
        stdout, stderr = process.communicate(timeout=3 * SECONDS)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def succeeds(self, program: str) -> str:
        """What a process prints that ends well and warns of nothing."""
        done = self.run(program, PATIENT + BEGIN)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    def read(self, id: str = "") -> Any:
        """The run as W&B's API has it."""
        stdout, stderr = self.start(READ, f"local/{self.project}/{id or self.id}").communicate(
            timeout=3 * SECONDS
        )
        assert stdout, stderr
        return json.loads(stdout)


def request_of(pipeline: str) -> TrainingRequest:
    """A request for model 12, of a branch with a name that is too long for a tag of W&B."""
    build = samples.build(12, pipeline, branch="feature/" + "x" * 80)
    artifacts = f"s3://{standins.BUCKET}/models/{pipeline}/sentiment/12"
    return samples.request_for(artifacts, parameters=PARAMETERS, build=build)


def of_classifier() -> Evaluated:
    """An evaluation of eight rows, of which two are wrong."""
    truth = ["bad"] * 4 + ["good"] * 4
    good = [0.1, 0.2, 0.3, 0.7, 0.9, 0.8, 0.6, 0.4]
    return classification.evaluate(
        EvaluationRows(
            ids=[f"r{n}" for n in range(8)],
            inputs=[f"text {n}" for n in range(8)],
            truth=truth,
            description="",
        ),
        [{"label": LABELS[score > 0.5], "scores": {"bad": 1 - score, "good": score}} for score in good],
        labels=LABELS,
        baselines={"majority": ["bad"] * 8},
    )


@pytest.fixture(scope="module")
def wandb_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of W&B's stand-in."""
    with standins.started("wandb", "--data", tmp_path_factory.mktemp("wandb")) as running:
        yield running.url


@pytest.fixture
def training(tmp_path: Path, wandb_url: str) -> Training:
    """A training of a classifier."""
    return Training(tmp_path, wandb_url, of_classifier())


TRAIN = """
for step in (10, 20, 30):
    run.log(step, {"loss": 1 / step, "learning_rate": 0.1})
print(run.recorded.url)
"""
EVALUATE = """
run.add_evaluation(evaluated, private=False)
print(run.finish().url)
"""
PUBLISH = """
files = {"model.json": "b" * 64}
model = Artifact(path=f"{request.artifacts}/model.tar.gz", bytes=9, sha256="a" * 64, files=files)
run.add_model(model)
run.finish()
"""


def test_steps_write_one_run(training: Training, wandb_url: str) -> None:
    """The run begins while the model is fitted, and later steps continue it: with all that made the model,
    the curves, every metric of the evaluation, charts, mistakes, and a reference to the model.
    """
    url = training.succeeds(TRAIN).strip()
    assert url == f"{wandb_url}/local/{training.project}/runs/{training.id}"
    begun = training.read()
    assert begun["state"] == "finished"
    assert [(row["_step"], row["loss"]) for row in begun["history"]] == [(10, 0.1), (20, 0.05), (30, 1 / 30)]
    assert training.succeeds(EVALUATE).strip() == url
    training.succeeds(PUBLISH)

    read = training.read()
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


def test_charts_are_of_all_rows_and_mistakes_of_the_wrong_ones(training: Training) -> None:
    """The matrix counts each row, the curve begins at full precision, and mistakes are by confidence."""
    training.succeeds(EVALUATE)
    tables = training.read()["tables"]
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


def test_private_rows_are_not_copied(training: Training) -> None:
    """Of private rows W&B gets counts and figures, and no row."""
    training.succeeds("run.add_evaluation(evaluated, private=True)")
    assert sorted(training.read()["tables"]) == ["confusion_matrix_table", "precision_recall_table"]


def test_a_regression_has_metrics_only(tmp_path: Path, wandb_url: str) -> None:
    """Numbers have no labels to make a matrix of."""
    rows = EvaluationRows(ids=["a", "b"], inputs=[1, 2], truth=np.array([1.0, 2.0]), description="")
    evaluated = regression.evaluate(rows, [{"value": 1.0}, {"value": 3.0}], baselines={})
    training = Training(tmp_path, wandb_url, evaluated)
    training.succeeds(EVALUATE)
    read = training.read()
    assert read["tables"] == {}
    assert read["summary"]["rmse"] == summary(evaluated.evaluation)["rmse"]


def test_a_training_that_lost_its_host_continues_its_run(training: Training) -> None:
    """What goes on from a checkpoint records again what it recorded before, and no point is there twice."""
    killed = training.start(
        BEGIN + TRAIN.replace("1 / step", "2 / step") + "sys.stdout.flush()\ntime.sleep(600)"
    )
    assert killed.stdout is not None
    assert killed.stdout.readline()
    wait_until(lambda: len(training.read()["history"]) >= 2, "two points of the history")
    assert training.read()["state"] == "running"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    training.succeeds(TRAIN.replace("30)", "30, 40)"))
    read = training.read()
    steps = [row["_step"] for row in read["history"]]
    assert steps == sorted({*steps})
    assert {10, 20, 40} <= {*steps}
    assert read["state"] == "finished"


@pytest.mark.parametrize("end", ["sys.exit(1)", "raise ValueError('no rows')"])
def test_a_step_that_fails_marks_its_run(training: Training, end: str) -> None:
    """A process that ends with an error leaves a failed run; a later attempt makes it a finished one."""
    assert training.run(f"{TRAIN}\n{end}").returncode == 1
    assert training.read()["state"] == "failed"
    training.succeeds(EVALUATE)
    assert training.read()["state"] == "finished"


def test_another_run_finishes_the_one_that_is_open(training: Training) -> None:
    """A notebook may fit model after model: each experiment is a run of its own."""
    training.succeeds("""
for name in ("one", "two"):
    about = of_experiment("sentiment", name, {"name": name}, {}, project=request.build.pipeline)
    experiment = open_run(about)
    experiment.log(1, {"loss": 1.0})
    assert open_run(about) is experiment
""")
    for name in ("one", "two"):
        read = training.read(f"sentiment-{name}")
        assert (read["state"], read["job_type"], read["config"]["parameters"]) == (
            "finished",
            "experiment",
            {"name": name},
        )


def test_a_run_belongs_to_the_entity_that_the_build_names(training: Training, wandb_url: str) -> None:
    """The run is recorded for the team in WANDB_ENTITY, and its address, which notify shows, leads there."""
    training.environ["WANDB_ENTITY"] = "the-team"
    assert training.succeeds(TRAIN).startswith(f"{wandb_url}/the-team/{training.project}/")


WHOLE = f"{TRAIN}{EVALUATE}{PUBLISH}print(run.recorded.to_json(), run.problem)"


def test_a_training_goes_on_without_wandb(training: Training) -> None:
    """A W&B that cannot be reached costs seconds and a sentence, not the training."""
    training.environ["WANDB_BASE_URL"] = "http://127.0.0.1:9"
    start = time.monotonic()
    done = training.run(WHOLE)
    assert time.monotonic() - start < 60
    assert done.returncode == 0
    assert done.stderr.startswith(f"W&B did not take run {training.id} (")
    assert done.stderr.count("\n") == 1
    assert KEY not in done.stdout + done.stderr
    assert not list(training.folder.glob("wandb"))


def test_without_a_key_nothing_is_tried(training: Training) -> None:
    """No key is no error: nothing is sent, asked for or warned of, and the run says why it is not there."""
    del training.environ["WANDB_API_KEY"]
    begin = BEGIN.replace("run = open_run", "start = time.monotonic()\nrun = open_run")
    done = training.run(f"{WHOLE}\nprint(time.monotonic() - start)", begin)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    *_, said, seconds = done.stdout.splitlines()
    assert said.endswith("there is no key in WANDB_API_KEY")
    assert float(seconds) < 15


def test_an_empty_key_is_none(training: Training) -> None:
    """W&B's SDK, which would look for a key in other places, is not imported."""
    training.environ["WANDB_API_KEY"] = ""
    said = training.succeeds(WHOLE + "\nimport sys; assert 'wandb' not in sys.modules\n")
    assert "there is no key in WANDB_API_KEY" in said


def test_a_key_may_end_in_a_line_break(training: Training) -> None:
    """A secret that was stored with its line end opens W&B as well, and one of blanks is none."""
    training.environ["WANDB_API_KEY"] = f"{KEY}\n"
    assert training.succeeds("run.log(1, {'loss': 0.5})\nprint(run.finish().url)\n").startswith("http")
    training.environ["WANDB_API_KEY"] = " \n"
    assert training.succeeds("print(repr(run.finish().url))\n") == "''\n"


def test_a_key_that_is_none_is_not_shown(training: Training) -> None:
    """A malformed key is one sentence, without the key."""
    training.environ["WANDB_API_KEY"] = "the-malformed-key"
    done = training.run(WHOLE)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert "the-malformed-key" not in done.stdout + done.stderr


TIMED_END = """
start = time.monotonic()
run.add_evaluation(evaluated, private=False)
print(run.finish().url)
print(time.monotonic() - start)
"""


def test_a_training_ends_while_wandb_is_silent(tmp_path: Path) -> None:
    """A W&B that falls silent in the middle delays the end by its limit and costs a sentence; the address of
    the run stays.
    """
    limited = BEGIN.replace(
        "run = open_run",
        "from modelbuild.flow.tracking import run as module\nmodule._FINISH_SECONDS = 3.0\nrun = open_run",
    )
    with standins.started("wandb", "--data", tmp_path / "data") as service:
        training = Training(tmp_path, service.url, of_classifier())
        process = training.start(f"{limited}{TRAIN}sys.stdout.flush()\nsys.stdin.readline()\n{TIMED_END}")
        assert process.stdin is not None
        assert process.stdout is not None
        url = process.stdout.readline()
        service.process.send_signal(signal.SIGSTOP)
        stdout, stderr = process.communicate("go on\n", timeout=3 * SECONDS)
        service.process.send_signal(signal.SIGCONT)
    assert process.returncode == 0, stderr
    shown, seconds = stdout.splitlines()
    assert shown == url.strip()
    # Without the limit above, the module's own alone takes longer.
    assert float(seconds) < 20
    assert stderr.startswith(f"W&B did not take run {training.id} (")
    assert stderr.count("\n") == 1


def test_an_experiment_has_the_commit_of_its_checkout(tmp_path: Path) -> None:
    """Commit and branch are those of the checkout, and nothing outside of one."""
    assert of_checkout(tmp_path) == {}
    for command in (["init", "-q", "-b", "trial"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        named = ["-c", "user.name=ada", "-c", "user.email=ada@example.com"]
        subprocess.run(["git", "-C", str(tmp_path), *named, *command], check=True)
    found = of_checkout(tmp_path)
    assert found["branch"] == "trial"
    assert len(str(found["commit"])) == 40


def test_a_summary_is_flat_numbers(evaluation: Evaluation) -> None:
    """Every figure of an evaluation has a name of its own, as W&B's tables want them."""
    numbers = summary(evaluation)
    assert numbers["macro_f1"] == 0.75
    assert numbers["class/positive/f1"] == 0.55
    assert numbers["domain/tweets/accuracy"] == 0.75
    assert numbers["baseline/vader/macro_f1"] == 0.5
    assert json.loads(json.dumps(numbers)) == numbers
