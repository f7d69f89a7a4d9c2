from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from modelbuild.contract import Evaluation, WandbRun
from modelbuild.flow.tracking import summary

PROGRAM = """
import json, sys
from modelbuild.contract import Evaluation
from modelbuild.flow.tracking import record
run = record(
    "comments-12.3/x", project="comments", group="12.3", config={"parameters": {"seed": 1}},
    evaluation=Evaluation.model_validate_json(sys.argv[1]),
)
print(run.to_json())
"""


def recorded(tmp_path: Path, evaluation: Evaluation, url: str) -> tuple[WandbRun, str]:
    """The run that a process of its own records at the address, and what it says on stderr."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "WANDB_BASE_URL": url,
        "WANDB_API_KEY": "k" * 40,
    }
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, evaluation.to_json()],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return WandbRun.model_validate_json(result.stdout), result.stderr


def test_a_training_goes_on_without_wandb(tmp_path: Path, evaluation: Evaluation) -> None:
    """A W&B that cannot be reached costs seconds and a sentence, not the training."""
    start = time.monotonic()
    run, said = recorded(tmp_path, evaluation, "http://127.0.0.1:9")
    assert time.monotonic() - start < 40
    assert run == WandbRun(id="comments-12.3-x", url="")
    assert said.startswith("W&B did not take run comments-12.3-x (")
    assert said.count("\n") == 1
    assert "k" * 40 not in said
    assert not list(tmp_path.glob("wandb"))


def test_a_summary_is_flat_numbers(evaluation: Evaluation) -> None:
    """Every figure of an evaluation has a name of its own, as W&B's tables want them."""
    numbers = summary(evaluation)
    assert numbers["macro_f1"] == 0.7
    assert numbers["class/positive/f1"] == 0.55
    assert numbers["domain/tweets/accuracy"] == 0.75
    assert numbers["baseline/vader/macro_f1"] == 0.4
    assert json.loads(json.dumps(numbers)) == numbers
