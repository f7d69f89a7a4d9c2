"""Models and sweeps of a pipeline in S3, as trainings leave them, for tests that read many."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from modelbuild.contract import (
    CandidateOutcome,
    CandidateTask,
    Deployment,
    Dimension,
    Leaderboard,
    LeaderboardRow,
    Manifest,
    Selection,
    Sweep,
    TrainingRequest,
    sha256_of_json,
)
from modelbuild.store.model import ModelStore
from modelbuild.store.objects import Objects
from modelbuild.store.sweep import SweepStore

ROOT = "s3://modelbuild-123456789012/models/comments"
MODEL = Path(__file__).parents[1] / "data" / "model-12"
TEST_ROWS = "8" * 64


def manifest(
    model_id: str,
    *,
    model: str = "sentiment",
    parameters: dict[str, Any] | None = None,
    metric: float = 0.6123,
    created_at: str = "2026-01-02T03:04:05+00:00",
    evaluation: dict[str, Any] | None = None,
    build: dict[str, Any] | None = None,
    wandb: str | None = None,
) -> Manifest:
    """The manifest of a model like model 12 of ``tests/data``."""
    found: dict[str, Any] = json.loads((MODEL / "manifest.json").read_bytes())
    request, prefix = found["request"], f"{ROOT}/{model}/{model_id}"
    number = int(model_id.split(".")[0])
    request["build"] |= {"number": number, "url": f"https://buildkite.example/acme/comments/builds/{number}"}
    request["build"] |= build or {}
    request |= {"model": model, "model_id": model_id, "artifacts": prefix}
    request["source"]["path"] = f"{ROOT}/{model}/{number}/source.tar.gz"
    if parameters is not None:
        request |= {"parameters": parameters, "parameters_sha256": sha256_of_json(parameters)}
    found["evaluation"] |= evaluation or {}
    found["evaluation"]["overall"]["metrics"]["macro_f1"] = metric
    found["predictions"]["path"] = f"{prefix}/predictions.parquet"
    name = f"comments-{model_id}" if wandb is None else wandb
    found["wandb"] = {"id": name, "url": name and f"https://wandb.example/acme/comments/runs/{name}"}
    found["created_at"] = created_at
    return Manifest.model_validate(found)


def put(objects: Objects, made: Manifest, *, deployed_at: str = "") -> ModelStore:
    """Write the files of a model."""
    store = ModelStore(objects, made.request.artifacts)
    store.write_request_once(made.request)
    store.write_manifest_once(made)
    if deployed_at:
        deployment = Deployment.model_validate_json((MODEL / "deployment.json").read_bytes())
        changes = {"model_id": made.request.model_id, "deployed_at": deployed_at}
        store.write_deployment(deployment.model_copy(update=changes))
    return store


def sweep_request(number: int, **changes: Any) -> TrainingRequest:
    """The request of a sweep over the learning rate of model sentiment."""
    sweep = Sweep(
        method="grid", space={"training.learning_rate": Dimension.model_validate([0.1, 0.5, 1.0, 2.0])}
    )
    parameters = {"seed": 1, "training": {"epochs": 3, "learning_rate": 1.0}}
    plain = manifest(str(number), parameters=parameters, **changes).request
    return plain.model_copy(update={"sweep": sweep})


def put_sweep(objects: Objects, request: TrainingRequest, rows: list[LeaderboardRow]) -> Leaderboard:
    """Write the request and the leaderboard of a sweep, but no files of its candidates."""
    ModelStore(objects, request.artifacts).write_request_once(request)
    assert request.sweep is not None
    best = rows[0]
    selection = Selection(
        model_id=best.model_id,
        metric=0.64,
        low=0.62,
        high=0.66,
        validation_metric=best.metric or 0,
        within_noise=1,
    )
    board = Leaderboard(
        pipeline=request.build.pipeline,
        model=request.model,
        model_id=request.model_id,
        sweep=request.sweep,
        metric="macro_f1",
        metric_title="macro-F1",
        higher_is_better=True,
        validation_sha256="5" * 64,
        rows=tuple(rows),
        selection=selection if best.offered else None,
    )
    SweepStore(objects, request.artifacts).write_leaderboard(board, b"")
    return board


def candidate(request: TrainingRequest, number: int, rate: float, **changes: Any) -> Manifest:
    """The manifest of a candidate that was trained to be offered."""
    parameters: dict[str, Any] = {"seed": 1, "training": {"epochs": 3, "learning_rate": rate}}
    made = manifest(f"{request.model_id}.{number}", parameters=parameters, **changes)
    asked = request.candidate(number, {"training.learning_rate": rate})
    return made.model_copy(update={"request": asked})


def put_ranked(objects: Objects, request: TrainingRequest, ranked: LeaderboardRow) -> None:
    """Write what the training of a candidate for the ranking leaves."""
    found, store = ranked.candidate, SweepStore(objects, request.artifacts)
    task = CandidateTask(candidate=found, stage="search")
    rate, answers = found.values["training.learning_rate"], b"PAR1"
    assert isinstance(rate, float)
    made = candidate(request, found.number, rate, metric=ranked.metric)
    predictions = made.predictions.model_copy(update={"path": store.predictions_uri(task, answers)})
    outcome = CandidateOutcome(task=task, status="succeeded", evaluation=made.evaluation, wandb=made.wandb)
    assert store.write_ranked_once(outcome, made.model_copy(update={"predictions": predictions}), answers)


def row(model_id: str, rate: float, metric: float | None, **changes: Any) -> LeaderboardRow:
    """A candidate on the leaderboard of a sweep."""
    values = {"training.learning_rate": rate}
    metrics = {} if metric is None else {"macro_f1": metric}
    made = {"model_id": model_id, "values": values, "status": "succeeded", "metric": metric}
    return LeaderboardRow.model_validate({**made, "metrics": metrics, **changes})
