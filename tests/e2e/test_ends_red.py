"""Trainings that do not succeed: each ends in an unblock with a status, and a build that is red."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest
import yaml
from laptop import QUICK, Laptop, Running, eventually

pytestmark = pytest.mark.e2e

REASON = "the loss is not a number"


def test_a_failing_step_of_the_flow_turns_the_build_red(prepared: Laptop) -> None:
    """The block is unblocked with `failed` and the reason; notify is red with it; deploy never runs."""
    with prepared.model("failing"), prepared.build("--pipeline", QUICK) as build:
        build.over()
        _is_red(build, "failed", REASON)
        assert build.process.wait(30) == 1


def test_a_head_that_is_terminated_turns_the_build_red(prepared: Laptop) -> None:
    """Somebody ends the head in the console: its steps end with it, and the build hears of it."""
    with prepared.build("--pipeline", QUICK) as build:
        batch = prepared.aws("batch")

        def step_runs() -> bool | None:
            running = batch.list_jobs(jobQueue="modelbuild-default", jobStatus="RUNNING")
            return True if running["jobSummaryList"] else None

        build.reaches("training_finished", "blocked")
        eventually(step_runs, "step of the flow in Batch", 60)
        (head,) = build.heads_now()
        batch.terminate_job(jobId=head["jobId"], reason="a person ended it")
        build.over()
        _is_red(build, "cancelled", "terminated")

        def all_ended() -> bool | None:
            return None if step_runs() else True

        eventually(all_ended, "end of the flow's steps", 60)
        (head,) = build.heads()
        assert (head["status"], head["statusReason"]) == ("FAILED", "a person ended it")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found through /proc")
def test_a_head_that_is_killed_turns_the_build_red(prepared: Laptop) -> None:
    """The head dies without a word while a step runs: the stack's function hears of it, ends the step and
    unblocks with Batch's reason.
    """
    with prepared.model("slow"), prepared.build("--pipeline", QUICK) as build:
        _killed_head_is_red(prepared, build)


def _killed_head_is_red(prepared: Laptop, build: Running) -> None:
    build.reaches("training_finished", "blocked")
    (head,) = build.heads_now()
    batch = prepared.aws("batch")

    def steps() -> list[str] | None:
        running = batch.list_jobs(jobQueue="modelbuild-gpu", jobStatus="RUNNING")["jobSummaryList"]
        return [job["jobId"] for job in running] or None

    left = eventually(steps, "step of the flow in Batch", 60)
    job_id = f"AWS_BATCH_JOB_ID={head['jobId']}".encode()

    def processes() -> list[int] | None:
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if job_id in environ.read_bytes().split(b"\0"):
                    found.append(int(environ.parent.name))
        return found or None

    for pid in eventually(processes, "process of the head", 30):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(os.getpgid(pid), signal.SIGKILL)
    build.over()
    _is_red(build, "failed", "the head died before it could say why")
    assert "exit code 137" in build.get()["meta_data"]["training/reason"]
    (head,) = build.heads()
    assert head["container"]["exitCode"] == 137
    eventually(lambda: None if steps() else True, "end of the step", 60)
    ended = batch.describe_jobs(jobs=left)["jobs"]
    assert {(job["status"], job["statusReason"]) for job in ended} == {("FAILED", "its head is gone")}


def test_a_head_that_never_gets_a_machine_turns_the_build_red(prepared: Laptop) -> None:
    """The stack asks for heads that are larger than any machine: the build ends with what Batch says."""
    batch = prepared.aws("batch")
    stacks = batch.describe_job_definitions(jobDefinitionName="modelbuild-head", status="ACTIVE")
    content = {name: stacks["jobDefinitions"][-1][name] for name in ("type", "containerProperties")}
    properties = content["containerProperties"]
    properties["resourceRequirements"] = [
        {"type": "VCPU", "value": "9"},
        {"type": "MEMORY", "value": "2048"},
    ]
    for variable in properties["environment"]:
        if variable["name"] == "SCHEDULE_TIMEOUT":
            variable["value"] = "1"
    changed = batch.register_job_definition(jobDefinitionName="modelbuild-head", **content)
    try:
        with prepared.build("--pipeline", QUICK) as build:
            build.reaches("training_finished", "blocked")
            (rule,) = prepared.aws("events").list_targets_by_rule(Rule="modelbuild-waiting")["Targets"]

            def ended() -> bool | None:
                # What the rule says to the function each minute, here as well.
                prepared.aws("lambda").invoke(FunctionName=rule["Arn"], Payload=rule["Input"])
                return build.heads_now()[0]["status"] == "FAILED" or None

            eventually(ended, "end of the head", 60)
            build.over()
            _is_red(build, "failed", "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT")
            assert "the head waited more than 1 seconds" in build.get()["meta_data"]["training/reason"]
    finally:
        batch.deregister_job_definition(jobDefinition=changed["jobDefinitionArn"])


def test_parameters_that_do_not_fit_are_not_submitted(prepared: Laptop) -> None:
    """A value of the wrong type ends in the step that asks: red at once, and no job was made."""
    name = "flows/sentiment/params.yaml"
    before = (prepared.repository / name).read_text()
    wrong = yaml.safe_load(before)
    wrong["training"]["batch_size"] = "many"
    prepared.commit("Wrong type", {name: lambda _: yaml.safe_dump(wrong)})
    try:
        with prepared.build("--pipeline", QUICK) as build:
            assert build.over()["state"] == "failed"
            (train,) = build.jobs("train")
            assert (train["state"], train["exit_status"]) == ("failed", 10)
            assert 'training.batch_size is "many"' in build.job_log(train)
            assert build.heads_now() == []
    finally:
        prepared.commit("Right type", {name: lambda _: before})


def _is_red(build: Running, status: str, reason: str) -> None:
    """The hand-off says why, notify is red with the same words, and nothing was deployed."""
    meta_data = build.get()["meta_data"]
    assert meta_data["training/status"] == status, build.log.read_text()
    assert reason in meta_data["training/reason"]
    (notify,) = build.jobs("notify")
    assert (notify["state"], notify["exit_status"]) == ("failed", 13)
    assert reason in build.job_log(notify)
    assert reason in build.annotations()["training"]["body_html"]
    assert build.annotations()["training"]["style"] == "error"
    (deploy,) = build.jobs("deploy")
    assert deploy["started_at"] is None
    assert build.get()["state"] == "failed"
