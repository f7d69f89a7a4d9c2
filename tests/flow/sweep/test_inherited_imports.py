"""What the processes of candidates inherit from their worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import samples
import standins

EVALUATE = """
import sys
from modelbuild.flow import classification, regression
from modelbuild.flow.evaluation import EvaluationRows
from modelbuild.flow.sweep import worker

worker._import_what_candidates_use()
before = set(sys.modules)

def rows(truth):
    return EvaluationRows(ids=["a", "b"], inputs=["a", "b"], truth=truth, description="not trained on")

answers = [{"label": label, "scores": {"x": 0.5, "y": 0.5}} for label in "xy"]
classification.evaluate(rows(["x", "y"]), answers, labels=["x", "y"], baselines={})
regression.evaluate(rows([1.0, 2.0]), [{"value": 1.0}, {"value": 2.5}], baselines={})
print(*sorted(set(sys.modules) - before))
"""


def test_an_evaluation_imports_nothing_that_the_worker_has_not() -> None:
    """Otherwise each candidate imports it again, which takes longer than many a training."""
    done = subprocess.run(
        [sys.executable, "-c", EVALUATE], capture_output=True, encoding="utf-8", check=False, timeout=120
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


WRITE_RUN = """
import json, os, pathlib, sys
from dataclasses import replace
import wandb
from modelbuild.contract import Evaluation, TrainingRequest
from modelbuild.flow import classification
from modelbuild.flow.evaluation import EvaluationRows
from modelbuild.flow.sweep import worker
from modelbuild.flow.tracking import run as module
from modelbuild.flow.tracking.description import of_build

module._INIT_SECONDS = module._FINISH_SECONDS = module._ANSWER_SECONDS = 120
worker._import_what_candidates_use()
before = set(sys.modules)

request = TrainingRequest.model_validate_json(pathlib.Path("request.json").read_text())
rows = EvaluationRows(ids=["a", "b"], inputs=["a", "b"], truth=["x", "y"], description="not trained on")
answers = [{"label": label, "scores": {"x": 0.5, "y": 0.5}} for label in "xx"]
evaluated = classification.evaluate(rows, answers, labels=["x", "y"], baselines={})

def write_run(job_type):
    run = module.open_run(replace(of_build(request, {}, None), id=job_type, job_type=job_type))
    run.log(1, {"loss": 0.5})
    run.add_evaluation(evaluated, private=False)
    run.finish()
    assert not run.problem

write_run("candidate")
imported = sorted(set(sys.modules) - before)
write_run("training")
files = {
    id: [file.name for file in wandb.Api().run(f"local/{request.build.pipeline}/{id}").files()]
    for id in ("candidate", "training")
}
print(json.dumps({"imported": imported, "files": files}))
"""


def test_the_wandb_run_of_a_candidate_takes_what_the_worker_has(tmp_path: Path) -> None:
    """W&B's SDK imports a hundred modules at the first run of a process, and lists the installed packages for
    each: of a candidate's time that would be the larger part.
    """
    (tmp_path / "request.json").write_text(samples.request_for("s3://bucket/models/p/sentiment/12").to_json())
    with standins.started("wandb", "--data", tmp_path / "wandb") as wandb:
        done = subprocess.run(
            [sys.executable, "-c", WRITE_RUN],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "WANDB_BASE_URL": wandb.url,
                "WANDB_API_KEY": "k" * 40,
            },
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=180,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["imported"]) <= 10, found["imported"]
    assert "requirements.txt" not in found["files"]["candidate"]
    assert "requirements.txt" in found["files"]["training"]
