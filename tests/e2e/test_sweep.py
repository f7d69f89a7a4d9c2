"""A sweep of one build: candidates trained, ranked and offered, and the one that a person picks deployed."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from laptop import QUICK, SMALL, Laptop
from modelbuild.contract import Leaderboard, LeaderboardRow, Manifest
from pipeline_changes import for_endpoint, train_options
from running_build import Running

pytestmark = pytest.mark.e2e

SPACE = {
    "training.epochs": {"minimum": 1, "maximum": 8},
    "training.learning_rate": {"minimum": 0.01, "maximum": 1.0, "scale": "log"},
}


def written(text: str, _: str) -> str:
    """A change of a file to this text."""
    return text


def prepare(laptop: Laptop, name: str, **options: Any) -> str:
    """Commit a sweep, and a pipeline that runs it; returns the name of the pipeline's file."""
    sweep, pipeline = f"{SMALL}/{name}.yaml", f"{name}.yml"
    quick = json.loads((laptop.repository / QUICK).read_text())
    changed = for_endpoint(train_options(quick, sweep=sweep), name)
    files = {sweep: json.dumps(options), pipeline: json.dumps(changed)}
    laptop.commit(f"Sweep {name}", {file: partial(written, text) for file, text in files.items()})
    return pipeline


def leaderboard_of(running: Running) -> Leaderboard:
    """The leaderboard of a build, once its training has succeeded."""
    running.reaches("training_finished", "unblocked", "finished")
    meta_data = running.get()["meta_data"]
    assert meta_data["training/status"] == "succeeded", meta_data["training/reason"]
    return Leaderboard.model_validate_json(running.object("leaderboard.json"))


def digests(running: Running, leaderboard: Leaderboard) -> list[str]:
    """The hashes of the models that are offered."""
    return [manifest_of(running, row).artifact.sha256 for row in leaderboard.offered]


def number(row: LeaderboardRow) -> str:
    """The number of a candidate."""
    return row.model_id.partition(".")[2]


def manifest_of(running: Running, row: LeaderboardRow) -> Manifest:
    """The manifest of a candidate that is offered."""
    bucket, key = f"{running.artifacts}.{number(row)}/manifest.json".removeprefix("s3://").split("/", 1)
    body = running.laptop.aws("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return Manifest.model_validate_json(body)


def test_the_leaderboard_does_not_depend_on_the_parallelism(prepared: Laptop) -> None:
    """Two sweeps at the same time, one candidate after another and eight at once: the same order, figures,
    intervals and models.
    """
    options = {"method": "random", "candidates": 12, "space": SPACE, "offered": 3}
    one = prepare(prepared, "one", **options, **{"max-parallel": 1})
    eight = prepare(prepared, "eight", **options, **{"max-parallel": 8})
    with prepared.build("--pipeline", one) as first:
        second = prepared.build_beside(first, eight)
        builds = [first, second]
        found = [leaderboard_of(build) for build in builds]
        rows = [
            [row.model_copy(update={"model_id": f"1.{number(row)}"}) for row in board.rows] for board in found
        ]
        assert rows[0] == rows[1]
        assert [row.rank for row in rows[0]] == [*range(1, 13)]
        assert [row.offered for row in rows[0]] == [True] * 3 + [False] * 9
        assert found[0].importance == found[1].importance
        assert digests(first, found[0]) == digests(second, found[1])
        for build, board in zip(builds, found, strict=True):
            best = board.rows[0]
            assert board.selection is not None
            assert board.selection.model_id == best.model_id
            manifest = build.get()["meta_data"]["model/manifest"]
            assert manifest == f"{build.artifacts}.{number(best)}/manifest.json"
            assert manifest_of(build, best).request.model_id == best.model_id
