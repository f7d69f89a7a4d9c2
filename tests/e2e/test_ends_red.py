"""Trainings that do not succeed: each ends in an unblock with a status, and a build that is red."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest
import yaml

from laptop import QUICK, SMALL, Laptop
from modelbuild_local.run.agents import agents
from pipeline_changes import train_options
from running_build import Running, eventually, is_red
from waiting import SECONDS

pytestmark = pytest.mark.e2e


def test_a_head_that_is_terminated_turns_the_build_red(prepared: Laptop) -> None:
    """A person terminates the head in the console: its steps end with it, and the build is unblocked."""
    with prepared.model("slow"), prepared.build("--pipeline", QUICK) as build:
        build.reaches("training_finished", "blocked")
        build.running_step("train")
        (head,) = build.heads_now()
        prepared.aws("batch").terminate_job(jobId=head["jobId"], reason="a person ended it")
        build.over()
        is_red(build, "cancelled", "terminated")
        build.steps_end()
        (head,) = build.heads()
        assert (head["status"], head["statusReason"]) == ("FAILED", "a person ended it")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found through /proc")
def test_heads_that_are_killed_or_take_too_long_turn_their_builds_red(prepared: Laptop) -> None:
    """Two builds at the same time. A head dies while a step runs: the stack's function terminates the step
    and unblocks with Batch's reason. When `timeout` has passed, Batch ends the other head, the head ends its
    steps, and the build is red.
    """

    def in_a_minute(text: str) -> str:
        return json.dumps(train_options(json.loads(text), timeout=60))

    with prepared.model("slow"), prepared.build("--pipeline", QUICK) as killed:
        killed.running_step("train")
        with prepared.changed("A timeout", {QUICK: in_a_minute}):
            late = prepared.build_beside(killed, QUICK)
            late.reaches("training_finished", "blocked")
        _killed_head_is_red(killed)
        killed.process.wait(2 * SECONDS)
        with agents(prepared.state):
            late.over()
        # On a slow machine the minute is over before the step of the flow has begun.
        late.steps_end()
        assert all(job["isTerminated"] for job in late.steps("FAILED"))
        is_red(late, "cancelled", "the training ran for as long as option timeout allows")
        (head,) = late.heads()
        assert head["statusReason"] == "Job attempt duration exceeded timeout"


def _killed_head_is_red(build: Running) -> None:
    step = build.running_step("train")
    (head,) = build.heads_now()
    job_id = f"AWS_BATCH_JOB_ID={head['jobId']}".encode()

    def processes() -> list[int] | None:
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if job_id in environ.read_bytes().split(b"\0"):
                    found.append(int(environ.parent.name))
        return found or None

    for pid in eventually(processes, "process of the head", SECONDS):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(os.getpgid(pid), signal.SIGKILL)
    build.over()
    is_red(build, "failed", "the head died without giving a reason")
    assert "exit code 137" in build.get()["meta_data"]["training/reason"]
    (head,) = build.heads()
    assert head["container"]["exitCode"] == 137
    build.steps_end()
    (job,) = build.laptop.aws("batch").describe_jobs(jobs=[step])["jobs"]
    assert (job["status"], job["statusReason"]) == ("FAILED", "its head is gone")


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
            is_red(build, "failed", "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT")
            assert "the head waited more than 1 seconds" in build.get()["meta_data"]["training/reason"]
    finally:
        batch.deregister_job_definition(jobDefinition=changed["jobDefinitionArn"])


def test_parameters_that_do_not_fit_are_not_submitted(prepared: Laptop) -> None:
    """A value of the wrong type ends in the step that asks: red at once, and no job was made."""

    def wrong(text: str) -> str:
        parameters = yaml.safe_load(text)
        parameters["training"]["epochs"] = "many"
        return yaml.safe_dump(parameters)

    with (
        prepared.changed("Wrong type", {f"{SMALL}/params.yaml": wrong}),
        prepared.build("--pipeline", QUICK) as build,
    ):
        assert build.over()["state"] == "failed"
        (train,) = build.jobs("train")
        assert (train["state"], train["exit_status"]) == ("failed", 10)
        assert 'training.epochs is "many"' in build.job_log(train)
        assert build.heads_now() == []
