"""Whatever goes wrong around a build: one training, and a colour that is right."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest
from laptop import QUICK, Laptop, Running, eventually

from modelbuild.contract import LOG_GROUP
from weather import changing

pytestmark = pytest.mark.e2e


def _steps(change: Callable[[list[dict[str, object]]], None]) -> Callable[[str], str]:
    """A change of the pipeline's steps, as one of its text."""

    def changed(text: str) -> str:
        pipeline = json.loads(text)
        change(pipeline["steps"])
        return json.dumps(pipeline)

    return changed


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="memory is read from /proc")
def test_a_step_that_takes_too_much_memory_turns_the_build_red(prepared: Laptop) -> None:
    """A step is killed for memory: the build is red with Batch's reason.

    The build's step that trains runs twice at the same time, as when two retries race: there is one head.
    """

    def twice(steps: list[dict[str, object]]) -> None:
        plugins: list[dict[str, dict[str, object]]] = steps[0]["plugins"]  # type: ignore[assignment]
        plugins[0]["./plugins/train"]["resources"] = {"train": {"memory": 900}}
        steps.insert(1, {**steps[0], "key": "again"})

    with prepared.model("greedy", {QUICK: _steps(twice)}), prepared.build("--pipeline", QUICK) as build:
        build.over()
        (head,) = build.heads()
        logs = [build.job_log(build.reaches(key, "passed")) for key in ("train", "again")]
        assert sorted(f"submitted job {head['jobId']}" in log for log in logs) == [False, True]
        assert all(f"Batch job  {head['jobId']}" in log for log in logs)
        reason = build.get()["meta_data"]["training/reason"]
        assert reason.startswith("step train failed: OutOfMemoryError: Container killed due to memory usage")
        assert reason in build.annotations()["training"]["body_html"]
        assert (build.get()["state"], build.process.wait(30)) == ("failed", 1)
        assert build.jobs("deploy")[0]["started_at"] is None


_OUTAGE = "GET */jobs?step_key=training_finished"


def test_bad_weather_is_one_training_and_green(prepared: Laptop, tmp_path: Path) -> None:
    """Batch, S3, Athena and Secrets Manager throttle hook, head and steps; the keys of head and steps expire
    again and again; the block is not reached yet when the training is over; then Buildkite refuses with 429,
    fails and falls silent. Each step of the flow is done once, and the build is green.

    Cancelled after that, while it waits for a person, it is cancelled, and nothing is left running.
    """
    gate = tmp_path / "gate"

    def behind_gate(steps: list[dict[str, object]]) -> None:
        steps.insert(1, {"key": "slow", "command": f"until [ -e {gate} ]; do sleep 0.2; done"})
        steps[2]["depends_on"] = ["train", "slow"]

    before = (prepared.repository / QUICK).read_text()
    prepared.commit("A slow step before the block", {QUICK: _steps(behind_gate)})
    with ExitStack() as stack:
        stack.callback(prepared.commit, "No slow step", {QUICK: lambda _: before})
        aws = stack.enter_context(changing(prepared.state.aws_url, prepared.state.aws_secret))
        buildkite = stack.enter_context(changing(prepared.state.buildkite_url, prepared.state.api_token))
        stack.callback(aws.keys_live, 43200)
        aws.keys_live(5)
        aws.add("batch POST /v1/submitjob", status=429, code="TooManyRequestsException", every=2)
        aws.add("batch *", status=400, code="ThrottlingException", every=5)
        # The step that asks writes it, and the head reads it.
        aws.add("s3 * */request.json", status=503, code="SlowDown", every=2)
        # Metaflow's clients send slower and slower when they are refused more often.
        aws.add("s3 *", status=503, code="SlowDown", every=150)
        aws.add("athena *", status=400, code="ThrottlingException", every=3)
        aws.add("secretsmanager *", status=400, code="ThrottlingException", every=2)
        build = stack.enter_context(prepared.build("--pipeline", QUICK))

        begun = build.get()["created_at"]
        waiting = "waiting until it is blocked"
        eventually(lambda: _said(prepared, waiting, begun), "end of the training", 400)
        assert build.jobs("training_finished")[-1]["state"] != "blocked"
        assert json.loads(build.object("result.json"))["training/status"] == "succeeded", build.object(
            "result.json"
        )
        buildkite.add(_OUTAGE, status=429, headers={"Retry-After": "1"}, count=1)
        buildkite.add(_OUTAGE, status=500, count=1)
        buildkite.add(_OUTAGE, silence=2, count=1)
        gate.touch()

        job = build.reaches("notify", "passed", "failed", seconds=300)
        assert job["state"] == "passed", build.job_log(job)
        assert build.get()["meta_data"]["training/status"] == "succeeded"
        assert build.annotations()["training"]["style"] == "success"
        (head,) = build.heads()
        assert (head["status"], len(head["attempts"])) == ("SUCCEEDED", 1)
        done = sorted(job["jobName"].split("-")[3] for job in build.steps())
        assert done == ["evaluate", "notify_buildkite", "start", "train"]
        assert all(aws.struck())
        assert buildkite.struck() == [1, 1, 1]

        build.reaches("approve", "blocked")
        prepared.client.put(f"{build.path}/cancel", {})
        assert build.over()["state"] == "canceled"
        assert build.process.wait(30) == 1
        assert _live(build) == []


def test_builds_cancelled_before_their_heads(prepared: Laptop) -> None:
    """Cancelled before it submits, a build has no head; cancelled before its head starts, the head ends at
    once and trains nothing. Both are cancelled, and nothing is left running.
    """
    with (
        changing(prepared.state.aws_url, prepared.state.aws_secret) as aws,
        prepared.build("--pipeline", QUICK) as build,
    ):
        aws.add("s3 PUT */source.tar.gz", silence=5)
        eventually(lambda: any(aws.struck()) or None, "call of the step", 60)
        prepared.client.put(f"{build.path}/cancel", {})
        build.reaches("train", "canceled", seconds=20)
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
        assert _live(build) == []


def _said(laptop: Laptop, text: str, since: str) -> bool | None:
    """Whether any job of Batch has said so since a moment."""
    logs = laptop.aws("logs")
    if not logs.describe_log_groups(logGroupNamePrefix=LOG_GROUP)["logGroups"]:
        return None
    start = int(datetime.fromisoformat(since.replace("Z", "+00:00")).timestamp() * 1000)
    events = logs.filter_log_events(logGroupName=LOG_GROUP, startTime=start)["events"]
    return True if any(text in event["message"] for event in events) else None


def _live(build: Running) -> list[str]:
    """The jobs in Batch that have not ended, of whatever build."""
    batch = build.laptop.aws("batch")
    return [
        job["jobName"]
        for queue in ("modelbuild-head", "modelbuild-default", "modelbuild-gpu")
        for status in ("SUBMITTED", "RUNNABLE", "STARTING", "RUNNING")
        for job in batch.list_jobs(jobQueue=queue, jobStatus=status)["jobSummaryList"]
    ]
