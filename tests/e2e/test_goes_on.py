"""Trainings that go on from their last good step: retried by a person, or after their hosts went away."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from laptop import QUICK, Laptop
from modelbuild.contract import TrainingResult
from modelbuild.onboarding import init
from modelbuild_local.run.agents import agents
from pipeline_changes import train_options
from running_build import Running, eventually, is_red, retry
from waiting import SECONDS

pytestmark = pytest.mark.e2e

THREE_STEPS = "three-steps.yml"


def test_a_retried_training_goes_on_and_notify_turns_green(prepared: Laptop) -> None:
    """A training fails, and its build is red with the reason. What failed is mended, train and notify are
    retried, and the build is green; cancelled while it waits for a person, it leaves nothing running.

    The second attempt keeps the model id.
    """
    with prepared.model("needing"):
        with prepared.build("--pipeline", QUICK) as build:
            build.over()
            is_red(build, "failed", "what it needs is not there")
            html = build.annotations()["training"]["body_html"]
            assert "failed in step train" in html
            assert "Traceback (most recent call last):" in html[html.index('<pre class="term">') :]
            assert build.process.wait(SECONDS) == 1
        build.put_object("needed", b"hold")
        with agents(prepared.state):
            retry(build, "train")
            build.reaches("train", "passed")

            def result() -> TrainingResult | None:
                try:
                    return TrainingResult.model_validate_json(build.object("attempts/2/result.json"))
                except build.laptop.aws("s3").exceptions.NoSuchKey:
                    return None

            retry(build, "notify")
            assert "attempt 2 of the training has not ended yet" in build.job_log(
                build.reaches("notify", "failed")
            )
            build.put_object("needed", b"")
            assert eventually(result, "result of the second attempt", 300).status == "succeeded"
            retry(build, "notify")
            build.reaches("notify", "passed", "failed")
            assert build.jobs("notify")[-1]["state"] == "passed", build.job_log(build.jobs("notify")[-1])
            build.reaches("approve", "blocked")
        assert build.manifest().request.model_id == build.model_id
        note = build.annotations()["training"]
        # The style of a model that is the first for its endpoint, and of the page while a training runs.
        assert note["style"] == "info"
        assert "is being trained" not in note["body_html"]
        first, second = sorted(build.heads(), key=lambda head: head["createdAt"])
        assert (first["status"], second["status"]) == ("FAILED", "SUCCEEDED")
        assert names(build) == ["train"]
        prepared.client.put(f"{build.path}/cancel", {})
        assert build.over()["state"] == "canceled"
        assert build.live_jobs() == []


@pytest.fixture
def reviews(prepared: Laptop, tmp_path: Path) -> Laptop:
    """The laptop with the flow that init writes, whose steps after the first one are jobs on Batch."""
    folder = tmp_path / "reviews"
    folder.mkdir()
    init.write(folder)
    shutil.copytree(folder / "flows" / "reviews", prepared.repository / "flows" / "reviews")
    quick = json.loads((prepared.repository / QUICK).read_text())
    pipeline = json.dumps(train_options(quick, flow="flows/reviews/flow.py"))
    prepared.commit("A flow with three steps on Batch", {THREE_STEPS: lambda _: pipeline})
    return prepared


def test_lost_hosts_cost_only_the_step_that_ran_there(reviews: Laptop) -> None:
    """First a step's host goes away, then the head's: the flow goes on each time, and the build is green."""
    with reviews.build("--pipeline", THREE_STEPS, model="reviews") as build:
        build.reaches("training_finished", "blocked")
        build.lose_host(build.running_step("train"))
        build.running_step("evaluate")
        (head,) = build.heads_now()
        build.lose_host(head["jobId"])
        build.reaches("notify", "passed", "failed")
        assert build.get()["meta_data"]["training/status"] == "succeeded", build.log.read_text()
        (head,) = build.heads()
        assert [attempt["statusReason"][:8] for attempt in head["attempts"]] == ["Host EC2", "Essentia"]
        assert [names(build).count(step) for step in ("train", "evaluate")] == [1, 1]
        tags: Any = next(job["tags"] for job in build.steps())
        assert tags["modelbuild:model-id"] == build.model_id


def names(build: Running) -> list[str]:
    """The flow's steps whose jobs succeeded."""
    return [job["jobName"].split("-")[3] for job in build.steps()]
