"""Trainings that people cancel, without an agent and with one that waits, and a deployment."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from laptop import QUICK, Laptop
from modelbuild_local.run.agents import agents
from pipeline_changes import train_options
from request_faults import injected_faults
from running_build import Running, eventually, retry
from waiting import SECONDS

pytestmark = pytest.mark.e2e


def _waits(text: str) -> str:
    """The pipeline, whose step that trains waits for the end of the training."""
    return json.dumps(train_options(json.loads(text), wait=True))


def _all_end(build: Running, seconds: float) -> None:
    """The head and the steps of the build end in time, cancelled."""

    def ended() -> bool | None:
        heads = build.heads_now()
        return True if not build.steps("RUNNING") and all("stoppedAt" in head for head in heads) else None

    eventually(ended, "end of the training's jobs", seconds)
    assert b'"training/status": "cancelled"' in build.object("result.json")


def test_a_build_cancelled_on_its_page_ends_its_jobs(prepared: Laptop) -> None:
    """No agent is attached, and yet head and steps end within 60 seconds, and the page says so, which said
    until then which step runs.
    """
    with prepared.model("slow"), prepared.build("--pipeline", QUICK) as build:
        build.reaches("training_finished", "blocked")
        build.running_step("train")

        def shown() -> bool | None:
            html = build.annotations()["training"]["body_html"]
            return "Step <code>train</code> of its flow has run since" in html or None

        eventually(shown, "step on the page", 60)
        cancelled = time.monotonic()
        prepared.client.put(f"{build.path}/cancel", {})
        _all_end(build, 60 - (time.monotonic() - cancelled))
        assert b"the build was cancelled" in build.object("result.json")

        def corrected() -> bool | None:
            note = build.annotations()["training"]
            return ("was cancelled" in note["body_html"] and note["style"] == "error") or None

        eventually(corrected, "annotation of the cancelled training", 60)


def test_cancelled_step_that_waits_ends_the_training(prepared: Laptop) -> None:
    """With option wait, cancelling the step on its page terminates the head and the steps."""
    with prepared.model("slow", {QUICK: _waits}), prepared.build("--pipeline", QUICK) as build:
        job = build.reaches("train", "running")
        build.running_step("train")
        prepared.client.put(f"{build.path}/jobs/{job['id']}/cancel", {})
        build.reaches("train", "canceled", seconds=15)
        _all_end(build, 60)
        assert "Cancelled: the training is being stopped" in build.job_log(job)


@pytest.fixture(scope="module")
def followed(prepared: Laptop) -> Iterator[Running]:
    """A build whose step waited for its training, and which a person may approve."""
    with (
        prepared.changed("Wait", {QUICK: _waits}),
        prepared.build("--pipeline", QUICK) as build,
    ):
        build.reaches("approve", "blocked", "broken", "waiting_failed")
        yield build


def test_step_that_waits_follows_the_training(followed: Running) -> None:
    """With option wait, the log of the flow is the step's log in groups; the step ends with the training,
    whose result unblocks the block all the same.
    """
    (job,) = followed.jobs("train")
    log = followed.job_log(job)
    assert job["state"] == "passed", log
    for group in (":aws: head", ":metaflow: step start", ":metaflow: step train", ":metaflow: step end"):
        assert f"--- {group}" in log
    assert "The training succeeded" in log
    assert followed.jobs("notify")[-1]["state"] == "passed"


def test_cancelled_deployment_is_retried(prepared: Laptop, followed: Running) -> None:
    """Cancelled while SageMaker creates the endpoint, the deploy step says on its page what SageMaker goes on
    with; its retry verifies the endpoint, and the build is green.
    """
    with injected_faults(prepared.state.aws_url, prepared.state.aws_secret) as aws:
        aws.add("sagemaker POST /CreateEndpoint", lost=True, silence=30, count=1)
        followed.unblock("approve")
        job = followed.reaches("deploy", "running")
        eventually(lambda: any(aws.struck()) or None, "creation of the endpoint", SECONDS)
        prepared.client.put(f"{followed.path}/jobs/{job['id']}/cancel", {})
        followed.reaches("deploy", "canceled", seconds=SECONDS)
    log = followed.job_log(job)
    assert "this step was cancelled before it had verified the answers of endpoint quick" in log
    page = followed.annotations()["deployment/quick"]
    assert page["style"] == "error"
    assert "this step was cancelled before it had verified" in page["body_html"]
    followed.process.wait(SECONDS)
    with agents(prepared.state):
        retry(followed, "deploy")
        followed.over()
    assert followed.get()["state"] == "passed", followed.job_log(followed.jobs("deploy")[-1])
    assert followed.annotations()["deployment/quick"]["style"] == "success"
