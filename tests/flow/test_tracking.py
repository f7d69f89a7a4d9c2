from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import standins
from modelbuild.contract import Evaluation, WandbRun
from modelbuild.flow.tracking import summary

PROGRAM = """
import json, os, sys
from modelbuild.contract import Evaluation
from modelbuild.flow.tracking import record
run = record(
    "comments-12.3/x", project="comments", group="12.3", config={"parameters": {"seed": 1}},
    evaluation=Evaluation.model_validate_json(sys.argv[1]), entity=os.environ.get("WANDB_ENTITY"),
)
print(run.to_json())
"""


def environment(tmp_path: Path, url: str) -> dict[str, str]:
    """The variables of a W&B client that knows nothing of this machine's own W&B."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "WANDB_BASE_URL": url,
        "WANDB_API_KEY": "k" * 40,
    }


def recorded(tmp_path: Path, evaluation: Evaluation, url: str, **variables: str) -> tuple[WandbRun, str]:
    """The run that a process of its own records at the address, and what it says on stderr."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, evaluation.to_json()],
        cwd=tmp_path,
        env={**environment(tmp_path, url), **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return WandbRun.model_validate_json(result.stdout), result.stderr


@pytest.fixture
def wandb_url(tmp_path: Path) -> Iterator[str]:
    """The address of a W&B stand-in of its own."""
    with standins.started("wandb", "--data", tmp_path / "data") as running:
        yield running.url


def test_a_run_has_what_it_was_made_with(tmp_path: Path, evaluation: Evaluation, wandb_url: str) -> None:
    """Configuration, group and every metric are at the run's address; a retried step continues the run."""
    first, message = recorded(tmp_path, evaluation, wandb_url)
    assert message == ""
    assert (first.id, first.url.split("/")[-1]) == ("comments-12.3-x", "comments-12.3-x")
    assert first.url.startswith(wandb_url)
    assert recorded(tmp_path, evaluation, wandb_url) == (first, "")

    entity = first.url.removeprefix(f"{wandb_url}/").split("/")[0]
    program = (
        f"import json, wandb; run = wandb.Api().run('{entity}/comments/comments-12.3-x');"
        "numbers = {name: value for name, value in run.summary.items() if name[0] != '_'};"
        "print(json.dumps([run.state, run.group, dict(run.config), numbers]))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], env=environment(tmp_path, wandb_url), capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    state, group, config, metrics = json.loads(shown.stdout)
    assert (state, group, config) == ("finished", "12.3", {"parameters": {"seed": 1}})
    assert metrics == summary(evaluation)


def test_a_run_belongs_to_the_entity_that_the_build_names(
    tmp_path: Path, evaluation: Evaluation, wandb_url: str
) -> None:
    """The run is recorded for the team in WANDB_ENTITY, and its address, which notify shows, leads there."""
    of_team, _ = recorded(tmp_path, evaluation, wandb_url, WANDB_ENTITY="the-team")
    assert of_team.url.startswith(f"{wandb_url}/the-team/comments/")
    of_key, _ = recorded(tmp_path, evaluation, wandb_url, WANDB_ENTITY="")
    assert not of_key.url.startswith(f"{wandb_url}/the-team/")


def test_a_training_goes_on_without_wandb(tmp_path: Path, evaluation: Evaluation) -> None:
    """A W&B that cannot be reached costs seconds and a sentence, not the training."""
    start = time.monotonic()
    run, message = recorded(tmp_path, evaluation, "http://127.0.0.1:9")
    assert time.monotonic() - start < 40
    assert run == WandbRun(id="comments-12.3-x", url="")
    assert message.startswith("W&B did not take run comments-12.3-x (")
    assert message.count("\n") == 1
    assert "k" * 40 not in message
    assert not list(tmp_path.glob("wandb"))


def test_a_summary_is_flat_numbers(evaluation: Evaluation) -> None:
    """Every figure of an evaluation has a name of its own, as W&B's tables want them."""
    numbers = summary(evaluation)
    assert numbers["macro_f1"] == 0.75
    assert numbers["class/positive/f1"] == 0.55
    assert numbers["domain/tweets/accuracy"] == 0.75
    assert numbers["baseline/vader/macro_f1"] == 0.5
    assert json.loads(json.dumps(numbers)) == numbers
