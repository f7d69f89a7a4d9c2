"""The experimental runs that W&B has, as its own SDK reads them from W&B's stand-in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import recorded
import standins
from modelbuild.contract import Metric
from modelbuild.experiments import process
from modelbuild.experiments.asking import SECONDS, asking, finding
from modelbuild.experiments.models import Answer, Experiment, Query
from modelbuild.settings.notify import WandbSettings

KEY = "k" * 40
SAME, OTHER = "a" * 64, "b" * 64
ROWS = "c" * 64
F1 = Metric(name="macro_f1", title="macro-F1", better="higher")

WRITE = """
import sys, wandb
def write(id, score, rows="{rows}", parameters="{same}", job_type="experiment", **more):
    config = {{"parameters_sha256": parameters, "evaluation_dataset_sha256": rows, **more}}
    run = wandb.init(project="comments", id=id, name=f"sentiment {{id}}", job_type=job_type, config=config)
    if score is not None:
        run.summary.update({{"macro_f1": score, "class/good/f1": 0.5, "note": "text", "hole": float("nan")}})
    return run
write("good", 0.7, artifacts="s3://bucket/scratch/ada/1").finish()
write("better", 0.8, artifacts="").finish()
write("other-rows", 0.9, rows="{other}", artifacts="elsewhere").finish()
write("other-parameters", 0.9, parameters="{other}").finish()
write("of-a-build", 0.9, job_type="training").finish()
write("without", None).finish()
write("failed", None).finish(exit_code=1)
write("deleted", 0.9).finish()
wandb.Api().run("local/comments/deleted").delete()
write("running", 0.9)
print("written", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An agent with a key of W&B, and nothing else of this machine's W&B."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_API_KEY", KEY)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[standins.Service]:
    """W&B with experiments, of which one is still running."""
    folder = tmp_path_factory.mktemp("wandb")
    program = WRITE.format(rows=ROWS, same=SAME, other=OTHER)
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "WANDB_API_KEY": KEY,
        "WANDB_SILENT": "true",
    }
    with (
        standins.started("wandb", "--data", folder / "data") as running,
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=folder,
            env={**variables, "WANDB_BASE_URL": running.url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as writer,
    ):
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        yield running
        writer.kill()


def query(**changes: Any) -> Query:
    """A query for what is comparable with a model; ``changes`` replace its values."""
    asked = {"entity": "local", "project": "comments", "parameters_sha256": SAME, "dataset_sha256": ROWS}
    return Query.model_validate({**asked, "primary": F1, **changes})


def find(asked: Query, url: str, key: str, *, seconds: float = SECONDS) -> Answer:
    """The answer to a query."""
    with asking(url, key, seconds=seconds) as ask:
        return ask(asked)


def sentence(answer: Answer) -> str:
    """The only thing that an answer says."""
    assert answer.experiments == ()
    (said,) = answer.unavailable
    assert KEY not in said
    return said


def test_experiments_with_the_same_parameters_are_found(service: standins.Service) -> None:
    """Of finished experiments with these parameters, those on the same rows come first, and the best of
    them; what is running or has no metric is a sentence; others, failed or deleted ones are not there.
    """
    answer = find(query(), service.url, KEY, seconds=60)
    assert [item.name for item in answer.experiments] == [
        "sentiment better",
        "sentiment good",
        "sentiment other-rows",
    ]
    best = answer.experiments[0]
    assert best == Experiment(
        name="sentiment better",
        url=f"{service.url}/local/comments/runs/better",
        created=best.created,
        metrics={"macro_f1": 0.8, "class/good/f1": 0.5},
        dataset_sha256=ROWS,
        creator="local",
    )
    assert best.created[:2] == "20"
    predictions = [item.predictions for item in answer.experiments]
    assert predictions == ["", "s3://bucket/scratch/ada/1/predictions.parquet", ""]
    assert answer.experiments[2].dataset_sha256 == OTHER
    assert answer.unavailable == (
        "Experiment sentiment running is still running.",
        "Experiment sentiment without has no macro-F1.",
    )


def test_a_run_that_no_record_takes_does_not_cost_the_others() -> None:
    """Another program may write runs of the same job type into the project, with any values."""
    good: dict[str, Any] = {
        "name": "good",
        "url": "https://wandb.example/good",
        "created_at": "2026-11-23T10:00:00Z",
        "job_type": "experiment",
        "state": "finished",
        "config": {"parameters_sha256": SAME},
        "summary": SimpleNamespace(_json_dict={"macro_f1": 0.5}),
    }
    strange: list[dict[str, Any]] = [
        {"config": {"parameters_sha256": SAME, "parameters": {"rate": float("nan")}}},
        {"summary": SimpleNamespace(_json_dict={"macro_f1": 10**400})},
        {"created_at": None},
        {"config": {"parameters_sha256": SAME, "parameters": {"note": "\ud800"}}},
    ]
    runs = [SimpleNamespace(**{**good, "name": f"strange {n}", **one}) for n, one in enumerate(strange)]
    answer = process._answer(query(), [*runs, SimpleNamespace(**good)])
    assert [one.name for one in answer.experiments] == ["good"]
    assert answer.unavailable == (
        "Experiment strange 0 cannot be read (parameters.rate.float: Input should be a finite number).",
        "Experiment strange 1 cannot be read (OverflowError).",
        "Experiment strange 2 cannot be read (created: Input should be a valid string).",
        "Experiment strange 3 cannot be read (ValueError).",
    )


def test_all_experiments_of_a_project_are_found(service: standins.Service) -> None:
    """Whatever their parameters and rows are, the newest first; trainings of builds are not among them."""
    asked = Query(entity="local", project="comments", most=100)
    answer = find(asked, service.url, KEY, seconds=60)
    names = {item.name.removeprefix("sentiment ") for item in answer.experiments}
    assert names >= {"good", "better", "other-rows", "other-parameters"}
    assert not names & {"of-a-build", "deleted", "running"}
    created = [item.created for item in answer.experiments]
    assert created == sorted(created, reverse=True)


def test_lower_may_be_better(service: standins.Service) -> None:
    """The order is that of the metric."""
    lower = find(query(primary=F1.model_copy(update={"better": "lower"})), service.url, KEY, seconds=60)
    assert [item.name for item in lower.experiments][:2] == ["sentiment good", "sentiment better"]


def test_no_experiment_is_no_problem(service: standins.Service) -> None:
    """Parameters that no run has: nothing is found, and nothing is wrong."""
    assert find(query(parameters_sha256="d" * 64), service.url, KEY, seconds=60) == Answer()


def test_an_unknown_project_is_a_sentence(service: standins.Service) -> None:
    """A project that W&B does not have, or that the key may not see."""
    said = sentence(find(query(project="nothing"), service.url, KEY, seconds=60))
    assert said.startswith("Experiments: W&B did not give them (")
    assert "nothing" in said


def test_without_a_key_wandb_is_not_asked() -> None:
    """The SDK's own key, of a person who logged in on the agent, is not taken."""
    said = sentence(find(query(), "http://127.0.0.1:9", "", seconds=60))
    assert said == "Experiments: this step has no key of W&B."


@pytest.mark.parametrize("key", ["w" * 40, "malformed-key"])
def test_a_wrong_key_is_not_shown(service: standins.Service, key: str) -> None:
    """A key that W&B refuses, or that is none, is in no sentence."""
    said = sentence(find(query(), service.url, key, seconds=60))
    assert said.startswith("Experiments: W&B did not give them (")
    assert key not in said


def test_a_wandb_that_is_down_is_a_sentence() -> None:
    """No server listens at the address."""
    said = sentence(find(query(), "http://127.0.0.1:9", KEY, seconds=60))
    assert said.startswith("Experiments: W&B did not give them (")


def test_a_silent_wandb_is_killed_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A W&B that takes the connection and says nothing holds the step no longer than it may, and no process
    stays behind.
    """
    # The SDK, which has a limit of its own, does not give up first.
    monkeypatch.setattr("modelbuild.experiments.asking._SHARE_OF_THE_SDK", 60.0)
    with standins.started("wandb", "--data", tmp_path / "data") as running:
        running.process.send_signal(signal.SIGSTOP)
        start = time.monotonic()
        said = sentence(find(query(), running.url, KEY, seconds=2))
        assert time.monotonic() - start < 15
        running.process.send_signal(signal.SIGCONT)
    assert said == "Experiments: W&B did not answer within 2 seconds."


def test_without_the_sdk_nothing_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent whose helpers lack W&B's SDK has a page without experiments."""
    (tmp_path / "wandb.py").write_text("raise ImportError('none here')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    said = sentence(find(query(), "http://127.0.0.1:9", KEY, seconds=60))
    assert said == "Experiments: the plugins' environment lacks the package wandb."


def test_the_key_is_sent_over_tls_or_to_this_machine() -> None:
    """An address that anyone on the way could read is not called."""
    said = sentence(find(query(), "http://wandb.example", KEY))
    assert said.startswith(
        "Experiments: W&B was not asked, because WANDB_BASE_URL is http://wandb.example, where "
    )
    settings = WandbSettings.model_validate({"base-url": "http://own.example"})
    environ = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": "https://wandb.example"}
    with finding(settings, environ) as found:
        said = sentence(found(recorded.manifest("12")))
    assert "because option wandb.base-url is http://own.example, where " in said


def test_a_process_that_fails_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends the process early, the page has a sentence."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    said = sentence(find(query(), "http://127.0.0.1:9", KEY))
    assert said == "Experiments: W&B was not asked, because the process that asks it failed."
