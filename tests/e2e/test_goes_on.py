"""Trainings that go on from their last good step: retried by a person, or after their hosts went away."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest
from laptop import QUICK, Laptop, Running, eventually

from modelbuild.contract import TrainingResult
from modelbuild_local.run.command import agents

pytestmark = pytest.mark.e2e


def test_a_retried_training_goes_on_and_notify_turns_green(prepared: Laptop) -> None:
    """After a red build: what failed is mended, train and notify are retried, and the build is green.

    The second attempt keeps the model id and what the first one's finished steps made.
    """
    with prepared.model("needing"):
        with prepared.build("--pipeline", QUICK) as build:
            build.over()
            assert build.get()["meta_data"]["training/status"] == "failed"
            assert build.process.wait(30) == 1
        build.put_object("needed", b"")
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
            assert eventually(result, "result of the second attempt", 120).status == "succeeded"
            retry(build, "notify")
            build.reaches("notify", "passed", "failed")
            assert build.jobs("notify")[-1]["state"] == "passed", build.job_log(build.jobs("notify")[-1])
            build.reaches("approve", "blocked")
        assert build.manifest().request.model_id == build.model_id
        assert build.annotations()["training"]["style"] == "success"
        first, second = sorted(build.heads(), key=lambda head: head["createdAt"])
        assert (first["status"], second["status"]) == ("FAILED", "SUCCEEDED")
        assert [names(build).count(step) for step in ("start", "train", "evaluate")] == [1, 1, 1]


def test_lost_hosts_cost_only_the_step_that_ran_there(prepared: Laptop) -> None:
    """First a step's host goes away, then the head's: the flow goes on each time, and the build is green."""
    with prepared.build("--pipeline", QUICK) as build:
        build.reaches("training_finished", "blocked")
        lose_host(build, running_step(build, "modelbuild-gpu", "-train-"))
        running_step(build, "modelbuild-default", "-evaluate-")
        (head,) = build.heads_now()
        lose_host(build, head["jobId"])
        build.reaches("notify", "passed", "failed", seconds=180)
        assert build.get()["meta_data"]["training/status"] == "succeeded", build.log.read_text()
        (head,) = build.heads()
        assert [attempt["statusReason"][:8] for attempt in head["attempts"]] == ["Host EC2", "Essentia"]
        assert [names(build).count(step) for step in ("start", "train", "evaluate")] == [1, 1, 1]
        tags: Any = next(job["tags"] for job in build.steps())
        assert tags["modelbuild:model-id"] == build.model_id


def test_a_training_that_takes_too_long_ends_with_its_steps(prepared: Laptop) -> None:
    """When `timeout` has passed, Batch ends the head, the head ends the step, and the build is red."""

    def in_a_minute(text: str) -> str:
        pipeline = json.loads(text)
        pipeline["steps"][0]["plugins"][0]["./plugins/train"]["timeout"] = 60
        return json.dumps(pipeline)

    with prepared.model("slow", {QUICK: in_a_minute}), prepared.build("--pipeline", QUICK) as build:
        build.reaches("training_finished", "blocked")
        step = running_step(build, "modelbuild-gpu", "-train-")
        build.over()
        assert build.get()["meta_data"]["training/status"] == "cancelled", build.log.read_text()
        (head,) = build.heads()
        assert head["statusReason"] == "Job attempt duration exceeded timeout"
        (job,) = prepared.aws("batch").describe_jobs(jobs=[step])["jobs"]
        assert (job["status"], job["isTerminated"]) == ("FAILED", True)


def retry(build: Running, key: str) -> None:
    """Press the button at the newest job of a step."""
    job = build.jobs(key)[-1]
    build.laptop.client.put(f"{build.path}/jobs/{job['id']}/retry", {})


def names(build: Running) -> list[str]:
    """The flow's steps whose jobs succeeded."""
    return [job["jobName"].split("-")[3] for job in build.steps()]


def running_step(build: Running, queue: str, part: str) -> str:
    """The job of a step of this build, once it runs."""
    batch = build.laptop.aws("batch")

    def look() -> str | None:
        listed = batch.list_jobs(jobQueue=queue, jobStatus="RUNNING")["jobSummaryList"]
        return next((job["jobId"] for job in listed if part in job["jobName"]), None)

    return eventually(look, f"job {part} that runs", 90)


def lose_host(build: Running, job_id: str) -> None:
    """Take a job's machine away."""
    url = f"{build.laptop.state.aws_url}/laptop/batch/{job_id}/lose-host"
    administrator = {"Authorization": f"Bearer {build.laptop.state.aws_secret}"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=administrator, method="POST")) as answer:
        assert answer.status == 204
