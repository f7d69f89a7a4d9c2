"""A sweep of one build: candidates trained, ranked and offered, and the one that a person picks deployed."""

from __future__ import annotations

import json
import re
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from laptop import QUICK, SMALL, Laptop
from modelbuild.contract import LOG_GROUP, Leaderboard, LeaderboardRow, Manifest, Predictions
from modelbuild_local.run.agents import agents
from pipeline_changes import for_endpoint, train_options
from running_build import Running, eventually, is_red, retry
from waiting import SECONDS

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
    approve = next(step for step in changed["steps"] if step.get("key") == "approve")
    ranks = [{"label": f"Rank {rank}", "value": str(rank)} for rank in range(1, 11)]
    approve["fields"].insert(
        0, {"select": "Candidate", "key": "deploy/candidate", "default": "1", "options": ranks}
    )
    files = {sweep: json.dumps(options), pipeline: json.dumps(changed)}
    laptop.commit(f"Sweep {name}", {file: partial(written, text) for file, text in files.items()})
    return pipeline


def leaderboard_of(running: Running, seconds: float = 300) -> Leaderboard:
    """The leaderboard of a build, once its training has succeeded."""
    running.reaches("training_finished", "unblocked", "finished", seconds=seconds)
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
    options = {"method": "random", "candidates": 8, "space": SPACE, "offered": 2}
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
        assert [row.rank for row in rows[0]] == [*range(1, 9)]
        assert [row.offered for row in rows[0]] == [True] * 2 + [False] * 6
        assert found[0].importance == found[1].importance
        assert digests(first, found[0]) == digests(second, found[1])
        for build, board in zip(builds, found, strict=True):
            best = board.rows[0]
            assert board.selection is not None
            assert board.selection.model_id == best.model_id
            manifest = build.get()["meta_data"]["model/manifest"]
            assert manifest == f"{build.artifacts}.{number(best)}/manifest.json"
            assert manifest_of(build, best).request.model_id == best.model_id


def test_a_cancelled_build_ends_its_sweep(prepared: Laptop) -> None:
    """Within 60 seconds neither the head nor a worker of it runs."""
    with prepared.model("slow"):
        pipeline = prepare(prepared, "slow", method="random", candidates=4, space=SPACE)
        with prepared.build("--pipeline", pipeline) as build:
            eventually(lambda: _running_worker(build), "worker of the sweep", 180)
            cancelled = time.monotonic()
            prepared.client.put(f"{build.path}/cancel", {})
            eventually(
                lambda: True if not build.live_jobs() else None,
                "end of the sweep's jobs",
                60 - (time.monotonic() - cancelled),
            )
            assert b"the build was cancelled" in build.object("result.json")


def test_a_retried_sweep_trains_anew_what_all_failed(prepared: Laptop) -> None:
    """All candidates fail for something outside of the commit. It is mended, and train is retried: they are
    trained, and notify offers the best one.
    """
    with prepared.model("needing"):
        options = {"method": "random", "candidates": 3, "space": SPACE, "offered": 1}
        pipeline = prepare(prepared, "needing", **options)
        with prepared.build("--pipeline", pipeline) as build:
            build.over()
            is_red(build, "failed", "what it needs is not there")
            assert build.process.wait(SECONDS) == 1
        build.put_object("needed", b"")
        with agents(prepared.state):
            retry(build, "train")
            build.reaches("train", "passed")
            eventually(lambda: _succeeded(build), "result of the second attempt", 300)
            retry(build, "notify")
            build.reaches("approve", "blocked")
        leaderboard = Leaderboard.model_validate_json(build.object("leaderboard.json"))
        assert [row.rank for row in leaderboard.rows] == [1, 2, 3]
        assert manifest_of(build, leaderboard.rows[0]).request.build.number == int(build.model_id)
        prepared.client.put(f"{build.path}/cancel", {})
        build.over()


def _succeeded(build: Running) -> bool | None:
    """Whether the second attempt has succeeded; None while it has not ended."""
    try:
        return b'"succeeded"' in build.object("attempts/2/result.json")
    except build.laptop.aws("s3").exceptions.NoSuchKey:
        return None


def test_two_hundred_candidates_survive_lost_hosts_and_the_third_best_is_deployed(
    prepared: Laptop, tmp_path: Path
) -> None:
    """Ten candidates fail; the hosts of a worker and of the head go away; no candidate is trained twice. A
    person picks the third best, which is deployed as that candidate, and its predictions lead back to it.
    """
    space = {"training.epochs": [*range(1, 21)], "training.learning_rate": [0.05 * n for n in range(1, 11)]}
    with prepared.model("fragile"):
        pipeline = prepare(prepared, "large", method="grid", space=space, **{"max-parallel": 8})
        with prepared.build("--pipeline", pipeline) as build:
            eventually(lambda: _trained(build) >= 20 or None, "first candidates", 300)
            build.lose_host(eventually(lambda: _running_worker(build), "worker of the sweep", 60))
            eventually(lambda: _trained(build) >= 60 or None, "candidates of the next host", 300)
            build.lose_host(build.heads_now()[0]["jobId"])
            leaderboard = leaderboard_of(build, 900)
            failed = [row for row in leaderboard.rows if row.status == "failed"]
            assert {row.values["training.epochs"] for row in failed} == {13}
            reason = "ArithmeticError: the loss is not finite (model.py, line 13)"
            assert {row.reason for row in failed} == {reason}
            assert [row.rank for row in leaderboard.rows[:190]] == [*range(1, 191)]
            assert len(leaderboard.rows) == 200
            trained = _finished_trainings(build)
            # The lines of what ended just before a host went away are lost with it.
            assert len(trained) == len(set(trained)) >= 180

            third = leaderboard.rows[2]
            job = build.reaches("approve", "blocked")
            fields = {"deploy/candidate": "3", "deploy/decision": "deploy", "deploy/reason": "the smallest"}
            prepared.client.put(f"{build.path}/jobs/{job['id']}/unblock", {"fields": fields})
            build.over()
            assert build.get()["state"] == "passed", build.log.read_text()
    runtime = prepared.aws("sagemaker-runtime", prepared.production)
    answer = runtime.invoke_endpoint(
        EndpointName="large", ContentType="application/json", Body='{"instances": ["I am happy"]}'
    )
    body = answer["Body"].read()
    predictions = Predictions.model_validate_json(body)
    assert predictions.model_id == third.model_id
    stored = tmp_path / "answer.json"
    stored.write_bytes(body)
    artifacts = build.artifacts.rsplit("/", 2)[0]
    traced = prepared.modelbuild("trace", "--prediction", str(stored), "--artifacts", artifacts)
    assert f"Model sentiment {third.model_id} of {build.pipeline}" in traced
    assert "endpoint large since" in traced


def _trained(build: Running) -> int:
    """How many candidates have ended."""
    bucket, prefix = f"{build.artifacts}/sweep/outcomes/".removeprefix("s3://").split("/", 1)
    listed = build.laptop.aws("s3").list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
    return sum(item["Key"].endswith(".json") for item in listed)


def _running_worker(build: Running) -> str | None:
    """The id of a job of the sweep's first round that runs, which may be the child of an array; or None."""
    batch = build.laptop.aws("batch")
    name = f"modelbuild-sweep-{build.pipeline}-{build.model}-{build.model_id}-*"
    filters = [{"name": "JOB_NAME", "values": [name]}]
    found = batch.list_jobs(jobQueue="modelbuild-default", filters=filters)["jobSummaryList"]
    for job in [job for job in found if job["jobName"].endswith("-round-1")]:
        children = batch.list_jobs(arrayJobId=job["jobId"], jobStatus="RUNNING")["jobSummaryList"]
        for one in (*children, job):
            if one["status"] == "RUNNING":
                return str(one["jobId"])
    return None


def _finished_trainings(build: Running) -> list[str]:
    """The names of the tasks of the search whose trainings came to their ends, by the logs of the workers."""
    logs = build.laptop.aws("logs")
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=LOG_GROUP)
    messages = (event["message"] for page in pages for event in page["events"])
    # Other builds log to the same group; the name of the W&B run has the build's number.
    run = re.compile(rf"(search-\d+) \| W&B run: .*/{build.pipeline}-{build.model}-{build.model_id}\.")
    found = (run.match(message) for message in messages)
    return [match[1] for match in found if match]
