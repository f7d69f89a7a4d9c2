"""A training whose processes write its W&B run with the unmodified SDK."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue

import samples
import standins
from modelbuild.contract import TrainingRequest
from modelbuild.flow import classification
from modelbuild.flow.evaluation import Evaluated, EvaluationRows
from waiting import SECONDS

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
import json, sys, tempfile, wandb
for path in map(str.strip, sys.stdin):
    run = wandb.Api().run(path)
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
            name: json.load(run.file(value["path"]).download(root=tempfile.mkdtemp(dir=".")))
            for name, value in run.summary._json_dict.items()
            if isinstance(value, dict) and value.get("_type") == "table-file"
        },
    }), flush=True)
"""


class RunReader:
    """A process that reads runs with W&B's API; to start one for each run would take seconds."""

    def __init__(self, folder: Path, url: str) -> None:
        self._process = _start(READ, folder, environment(folder, url))

    def read(self, training: Training, id: str = "") -> Any:
        """A run of the training's project, by default the one of its build."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"local/{training.project}/{id or training.id}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, self._process.communicate()[1]
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=SECONDS)


def environment(folder: Path, url: str) -> dict[str, str]:
    """The variables of a process that calls W&B."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "WANDB_BASE_URL": url,
        "WANDB_API_KEY": KEY,
        "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "0.5",
    }


def _start(program: str, folder: Path, variables: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=folder,
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Training:
    """Processes of one training, as its steps are, each with a program that goes on from BEGIN."""

    def __init__(self, folder: Path, url: str, evaluated: Evaluated) -> None:
        self.folder = folder
        self.request = request_of(f"p{uuid.uuid4().hex[:8]}")
        self.project = self.request.build.pipeline
        self.id = f"{self.project}-sentiment-12"
        self.environ = environment(folder, url)
        (folder / "request.json").write_text(self.request.to_json())
        (folder / "evaluation.json").write_text(evaluated.evaluation.to_json())
        (folder / "predictions.parquet").write_bytes(evaluated.predictions)

    def start(self, program: str) -> subprocess.Popen[str]:
        """Start a process."""
        return _start(program, self.folder, self.environ)

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


# What the processes of a training do, one after the other.
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
