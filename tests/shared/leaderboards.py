"""A pipeline in S3 with all that a leaderboard shows."""

from __future__ import annotations

from typing import Any

import recorded
from memory import MemoryObjects
from modelbuild.experiments.models import Answer, Experiment
from modelbuild.leaderboard.reading import read_board
from modelbuild.leaderboard.records import Board
from modelbuild.store.pipeline import PipelineStore

_NOBODY = Answer()
OLD_ROWS = "4" * 64


def parameters(rate: float, **changes: Any) -> dict[str, Any]:
    """Parameters with a learning rate."""
    return {"seed": 1, "training": {"epochs": 3, "learning_rate": rate}, **changes}


def scene() -> tuple[MemoryObjects, Answer]:
    """Two builds, a sweep of which two candidates became models, older models, and three experiments."""
    objects = MemoryObjects()
    ada = {"branch": "main", "commit": "a" * 40, "creator": "Ada Lovelace"}
    grace = {"branch": "grace/longer-n-grams-for-tweets", "commit": "b" * 40, "creator": "Grace Hopper"}
    old = {"dataset_sha256": OLD_ROWS, "rows_are": ""}
    made = [
        recorded.manifest("3", parameters={"seed": 1}, metric=0.7, evaluation=old, build=ada,
                          created_at="2025-11-30T10:00:00+00:00"),
        recorded.manifest("7", parameters=parameters(1.0), metric=0.6123, build=ada,
                          created_at="2026-01-02T03:04:05+00:00"),
        recorded.manifest("8", parameters=parameters(1.0, tokens=["#", "@"]), metric=0.6123, build=grace,
                          wandb="", created_at="2026-01-03T03:04:05+00:00"),
    ]  # fmt: skip
    for number, manifest in enumerate(made):
        recorded.put(objects, manifest, deployed_at="2026-01-02T12:00:00+00:00" if number == 1 else "")
    request = recorded.sweep_request(12, build=grace)
    best = recorded.row("12.2", 0.5, 0.652, rank=1, offered=True, low=0.63, high=0.67)
    rows = [
        best,
        recorded.row("12.3", 1.0, 0.64, rank=2, offered=True),
        recorded.row("12.4", 2.0, 0.61, rank=3),
        recorded.row("12.1", 0.1, None, status="failed", reason="ValueError: no rows"),
    ]
    recorded.put_sweep(objects, request, rows)
    for number, rate, metric in ((2, 0.5, 0.64), (3, 1.0, 0.631)):
        time = f"2026-01-05T0{number}:00:00+00:00"
        recorded.put(objects, recorded.candidate(request, number, rate, metric=metric, created_at=time))
    return objects, Answer(
        experiments=(experiment("of-a-notebook", 0.635), experiment("elsewhere", 0.9, "9" * 64)),
        unavailable=("Experiment sentiment running is still running.",),
    )


def experiment(name: str, metric: float, rows: str = recorded.TEST_ROWS) -> Experiment:
    """An experiment of Edsger's."""
    return Experiment(
        name=f"sentiment {name}",
        url=f"https://wandb.example/acme/comments/runs/{name}",
        created="2026-01-04T10:00:00Z",
        metrics={"macro_f1": metric},
        dataset_sha256=rows,
        model="sentiment",
        branch="main",
        commit="d" * 40,
        creator="edsger",
        data_sha256="2" * 64,
        parameters=parameters(0.7),
    )


def board(objects: MemoryObjects, answer: Answer = _NOBODY, **changes: Any) -> Board:
    """The tables of the pipeline "comments"."""
    asked: dict[str, Any] = {"model": None, "limit": 20, "measure": None, **changes}
    return read_board(PipelineStore(objects, recorded.ROOT), answer=answer, **asked)
