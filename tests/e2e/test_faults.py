"""Whatever goes wrong around a build: one training, and a colour that is right."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from laptop import QUICK, Laptop
from pipeline_changes import train_options
from request_faults import injected_faults
from running_build import eventually
from waiting import SECONDS

pytestmark = pytest.mark.e2e


def _twice(text: str) -> str:
    """The pipeline whose step that trains runs twice, with too little memory, one of which is refused."""
    train, finished, *rest = train_options(json.loads(text), resources={"train": {"memory": 900}})["steps"]
    assert (train["key"], finished["key"]) == ("train", "training_finished")
    finished["depends_on"] = [{"step": key, "allow_failure": True} for key in ("train", "again")]
    return json.dumps({"steps": [train, {**train, "key": "again"}, finished, *rest]})


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="memory is read from /proc")
def test_a_step_that_takes_too_much_memory_turns_the_build_red(prepared: Laptop) -> None:
    """A step is killed for memory: the build is red with Batch's reason.

    The step that trains is there twice, and both jobs run at the same time: there is one head, and the other
    job is refused.
    """
    with prepared.model("greedy", {QUICK: _twice}), prepared.build("--pipeline", QUICK) as build:
        build.over()
        (head,) = build.heads()
        jobs = [build.reaches(key, "passed", "failed") for key in ("train", "again")]
        assert sorted(job["state"] for job in jobs) == ["failed", "passed"]
        (passed,) = (job for job in jobs if job["state"] == "passed")
        assert f"Batch job  {head['jobId']}" in build.job_log(passed)
        reason = build.get()["meta_data"]["training/reason"]
        assert reason.startswith("step train failed: OutOfMemoryError: Container killed due to memory usage")
        assert reason in build.annotations()["training"]["body_html"]
        assert (build.get()["state"], build.process.wait(SECONDS)) == ("failed", 1)
        assert build.jobs("deploy")[0]["started_at"] is None


def test_builds_cancelled_before_their_heads(prepared: Laptop) -> None:
    """Cancelled before it submits, a build has no head; cancelled before its head starts, the head ends at
    once and trains nothing. Both are cancelled, and nothing is left running.
    """
    with (
        injected_faults(prepared.state.aws_url, prepared.state.aws_secret) as aws,
        prepared.build("--pipeline", QUICK) as build,
    ):
        aws.add("s3 PUT */source.tar.gz", silence=5)
        eventually(lambda: any(aws.struck()) or None, "call of the step", 60)
        prepared.client.put(f"{build.path}/cancel", {})
        build.reaches("train", "canceled", seconds=SECONDS)
        assert build.over()["state"] == "canceled"
        assert build.heads_now() == []
    batch = prepared.aws("batch")
    batch.register_job_definition(
        jobDefinitionName="filler",
        type="container",
        containerProperties={
            "image": "modelbuild/default",
            "command": ["sleep", "600"],
            "resourceRequirements": [{"type": "VCPU", "value": "4"}, {"type": "MEMORY", "value": "100"}],
        },
    )
    filler = batch.submit_job(jobName="filler", jobQueue="modelbuild-head", jobDefinition="filler")["jobId"]
    with prepared.build("--pipeline", QUICK) as build:
        build.reaches("training_finished", "blocked")
        (head,) = build.heads_now()
        assert head["status"] == "RUNNABLE"
        prepared.client.put(f"{build.path}/cancel", {})
        assert build.over()["state"] == "canceled"
        batch.terminate_job(jobId=filler, reason="room for the head")
        began = time.monotonic()
        (head,) = build.heads()
        assert time.monotonic() - began < 60
        assert head["container"]["exitCode"] == 143
        assert b'"training/status": "cancelled"' in build.object("result.json")
        assert build.steps() == []
        assert build.live_jobs() == []
