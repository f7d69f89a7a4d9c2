"""A sweep of one build: candidates trained, ranked and offered, and the one that a person picks deployed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from laptop import QUICK, SMALL, Laptop
from modelbuild.contract import Leaderboard
from pipeline_changes import train_options
from running_build import Running

pytestmark = pytest.mark.e2e

SWEEP = f"{SMALL}/sweep.yaml"
PIPELINE = "sweep.yml"


def written(text: str, _: str) -> str:
    """A change of a file to this text."""
    return text


@contextmanager
def sweep(laptop: Laptop, **options: Any) -> Iterator[Running]:
    """A build that runs a sweep."""
    quick = json.loads((laptop.repository / QUICK).read_text())
    pipeline = json.dumps(train_options(quick, sweep=SWEEP))
    laptop.commit(
        "A sweep", {SWEEP: partial(written, json.dumps(options)), PIPELINE: partial(written, pipeline)}
    )
    with laptop.build("--pipeline", PIPELINE) as running:
        yield running


def leaderboard_of(running: Running) -> Leaderboard:
    """The leaderboard of a build."""
    return Leaderboard.model_validate_json(running.object("leaderboard.json"))


def test_candidates_are_ranked_and_the_best_are_offered(prepared: Laptop) -> None:
    """Candidates are trained on Batch and ranked on validation rows; the best ten can be deployed."""
    space = {
        "training.epochs": {"minimum": 1, "maximum": 8},
        "training.learning_rate": {"minimum": 0.01, "maximum": 1.0, "scale": "log"},
    }
    with sweep(prepared, method="random", candidates=12, space=space, **{"max-parallel": 4}) as running:
        running.reaches("training_finished", "unblocked", "finished")
        meta_data = running.get()["meta_data"]
        assert meta_data["training/status"] == "succeeded", meta_data["training/reason"]
        leaderboard = leaderboard_of(running)
        assert [row.rank for row in leaderboard.rows] == [*range(1, 13)]
        assert [row.offered for row in leaderboard.rows] == [True] * 10 + [False] * 2
        best = leaderboard.rows[0]
        assert (
            meta_data["model/manifest"] == f"{running.artifacts}.{best.model_id.split('.')[1]}/manifest.json"
        )
        assert leaderboard.selection is not None
        assert leaderboard.selection.model_id == best.model_id
