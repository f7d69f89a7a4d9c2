"""Trainings that people cancel, without an agent and with one that waits."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from laptop import QUICK, Laptop, Running, eventually

pytestmark = pytest.mark.e2e

_LONG = (
    *("--env", "PARAM_TRAINING__EPOCHS=1000"),
    *("--env", "PARAM_DATA__DOMAINS=[tweets, amazon, movie, nyt]"),
)
"""A training that takes minutes, whatever the machine: it is cancelled before it can end."""


def _waits(text: str) -> str:
    """The pipeline, whose step that trains waits for the end of the training."""
    pipeline = json.loads(text)
    pipeline["steps"][0]["plugins"][0]["./plugins/train"]["wait"] = True
    return json.dumps(pipeline)


def _trains(laptop: Laptop) -> Callable[[], bool | None]:
    """Whether a step of a flow runs on Batch."""
    batch = laptop.aws("batch")

    def look() -> bool | None:
        jobs = batch.list_jobs(jobQueue="modelbuild-default", jobStatus="RUNNING")["jobSummaryList"]
        return True if jobs else None

    return look


def _all_end(build: Running, seconds: float) -> None:
    """The head and the steps of the build end in time, cancelled."""
    trains = _trains(build.laptop)

    def ended() -> bool | None:
        heads = build.heads_now()
        return True if not trains() and all("stoppedAt" in head for head in heads) else None

    eventually(ended, "end of the training's jobs", seconds)
    assert b'"training/status": "cancelled"' in build.object("result.json")


def test_a_build_cancelled_on_its_page_ends_its_jobs(prepared: Laptop) -> None:
    """No agent is attached, and yet head and steps end within 60 seconds, and the page says so."""
    with prepared.build("--pipeline", QUICK, *_LONG) as build:
        build.reaches("training_finished", "blocked")
        eventually(_trains(prepared), "step of the flow in Batch", 60)
        cancelled = time.monotonic()
        prepared.client.put(f"{build.path}/cancel", {})
        _all_end(build, 60 - (time.monotonic() - cancelled))
        assert b"the build was cancelled" in build.object("result.json")

        def corrected() -> bool | None:
            note = build.annotations()["training"]
            return ("was cancelled" in note["body_html"] and note["style"] == "error") or None

        eventually(corrected, "annotation of the cancelled training", 60)


def test_a_step_that_waits_follows_and_cancels(prepared: Laptop) -> None:
    """With wait, the log of the flow is the step's log in groups, and cancelling the step ends the jobs;
    left alone, it ends with the training, whose hand-over unblocks the block all the same.
    """
    before = (prepared.repository / QUICK).read_text()
    prepared.commit("Wait", {QUICK: _waits})
    try:
        with prepared.build("--pipeline", QUICK, *_LONG) as build:
            job = build.reaches("train", "running")
            eventually(_trains(prepared), "step of the flow in Batch", 60)
            prepared.client.put(f"{build.path}/jobs/{job['id']}/cancel", {})
            build.reaches("train", "canceled", seconds=15)
            _all_end(build, 60)
            assert "Cancelled: the training is being stopped" in build.job_log(job)
        with prepared.build("--pipeline", QUICK) as build:
            job = build.reaches("train", "passed", "failed")
            log = build.job_log(job)
            assert job["state"] == "passed", log
            for group in ("head", "step start", "step train", "step evaluate"):
                assert f"--- :{'aws' if group == 'head' else 'metaflow'}: {group}" in log
            assert "The training succeeded" in log
            build.reaches("notify", "passed")
    finally:
        prepared.commit("Do not wait", {QUICK: lambda _: before})
