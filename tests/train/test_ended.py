"""The function that hears of a head's end, and reconciliation: real jobs, events and functions."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest

import http_api
import samples
import standins
from modelbuild.aws.batch import BatchJob, job
from modelbuild.buildkite import rate_limiter
from modelbuild.errors import BuildkiteError, VerificationFailed
from modelbuild.train.attempts import delivery
from modelbuild.train.recovery import ended, reconcile

MODELS = f"s3://{standins.BUCKET}/models/demo"


@dataclass
class Builds:
    """Buildkite's two calls for any number of builds, by number; each waits unless its state is set."""

    url: str = ""
    states: dict[int, str] = field(default_factory=dict)
    fields: dict[int, dict[str, str]] = field(default_factory=dict)
    calls: list[int] = field(default_factory=list)
    status: int = 200
    deleted: set[int] = field(default_factory=set)
    pipeline: bool = True


@dataclass
class Place:
    """The stand-in with the stack, the builds that wait, and what tests do with both."""

    url: str
    builds: Builds
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 1000)))

    def client(self, service: str) -> Any:
        """A boto3 client."""
        return standins.client(self.url, service)

    def ask(self, request_for: Callable[..., Any]) -> tuple[int, str]:
        """A request in S3: the number of its build, and where it lies."""
        number = next(self.numbers)
        artifacts = f"{MODELS}/sentiment/{number}"
        request = request_for(artifacts, model_id=str(number), build=samples.build(number))
        self.put(f"{artifacts}/request.json", request.to_json())
        return number, artifacts

    def submit(
        self, artifacts: str, *command: str, definition: str = "modelbuild-head", **variables: str
    ) -> str:
        """A head that runs a command; its id. ``VCPU`` is how many vCPUs it needs, and no variable."""
        size = [{"type": "VCPU", "value": variables.pop("VCPU", "1")}]
        variables["ARTIFACTS"] = artifacts
        return str(
            self.client("batch").submit_job(
                jobName=f"demo-sentiment-{artifacts.rpartition('/')[2]}",
                jobQueue="modelbuild-head",
                jobDefinition=definition,
                containerOverrides={
                    "command": list(command),
                    "resourceRequirements": size,
                    "environment": [{"name": name, "value": value} for name, value in variables.items()],
                },
            )["jobId"]
        )

    def step(self, name: str, queue: str, vcpus: int = 1) -> str:
        """A job of that name that is no head, and runs until it is ended; its id."""
        return str(
            self.client("batch").submit_job(
                jobName=name,
                jobQueue=queue,
                jobDefinition="modelbuild-head",
                containerOverrides={
                    "command": ["sleep", "60"],
                    "resourceRequirements": [{"type": "VCPU", "value": str(vcpus)}],
                },
            )["jobId"]
        )

    def waits(self, job_id: str) -> None:
        """Let more than a second pass in which a job has waited for a machine."""
        wait(lambda: self.described(job_id)["status"] == "RUNNABLE")
        wait(lambda: time.time() - job(self.described(job_id)).runnable_since > 1.2)

    def look_at_waiting(self) -> str:
        """What the function answers to what its rule on a schedule says to it."""
        [target] = self.client("events").list_targets_by_rule(Rule="modelbuild-waiting")["Targets"]
        answer = self.client("lambda").invoke(FunctionName=target["Arn"], Payload=target["Input"])
        assert "FunctionError" not in answer
        return str(json.loads(answer["Payload"].read()))

    def described(self, job_id: str) -> dict[str, Any]:
        """The job as Batch shows it."""
        [found] = self.client("batch").describe_jobs(jobs=[job_id])["jobs"]
        return dict(found)

    def ended(self, job_id: str) -> BatchJob:
        """The job once it has ended."""
        wait(lambda: self.described(job_id)["status"] in ("SUCCEEDED", "FAILED"))
        return job(self.described(job_id))

    def put(self, uri: str, text: str) -> None:
        """Write an object."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        self.client("s3").put_object(Bucket=bucket, Key=key, Body=text.encode())

    def get(self, uri: str) -> str | None:
        """Read an object, if it is there."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        s3 = self.client("s3")
        try:
            return str(s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode())
        except s3.exceptions.NoSuchKey:
            return None

    def said(self) -> str:
        """Everything that the function has printed."""
        events = self.client("logs").filter_log_events(logGroupName="/aws/lambda/modelbuild-ended")["events"]
        return "\n".join(event["message"] for event in events)


def wait(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """The first true value of ``condition``, or a failure."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, "the condition did not come true in time"
        time.sleep(0.05)
    return value


@pytest.fixture(scope="module")
def builds() -> Iterator[Builds]:
    """The builds, over HTTP."""
    known = Builds()

    class Handler(http_api.JsonHandler):
        def do_GET(self) -> None:
            if "/builds?" in self.path:
                self.answer([{"number": 1, "state": "running"}], 200 if known.pipeline else 404)
                return
            number = self._number()
            if number in known.deleted:
                self.answer({"message": "Not Found"}, 404)
                return
            state = known.states.get(number, "blocked")
            step = {"id": "j", "type": "manual", "step_key": "training_finished", "state": state}
            listed = "/jobs?" in self.path
            self.answer({"items": [step]} if listed else {"state": "running", "blocked": True}, known.status)

        def do_PUT(self) -> None:
            number = self._number()
            fields = self.body()["fields"]
            if known.status == 200:
                known.fields[number] = fields
                known.states[number] = "unblocked"
            self.answer({"id": "j"}, known.status)

        def _number(self) -> int:
            assert self.headers["Authorization"] == "Bearer the-rest-token"
            number = int(re.findall(r"/builds/(\d+)", self.path)[0])
            known.calls.append(number)
            return number

    with http_api.served(Handler) as server:
        known.url = f"{http_api.url(server)}/v2"
        yield known


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory, builds: Builds) -> Iterator[Place]:
    """A stand-in with infra/training.yaml, where ``python -m modelbuild`` is this modelbuild."""
    with standins.started_aws(tmp_path_factory.mktemp("aws"), "--vcpus", "64") as running:
        standins.deploy_training(running.url, BuildkiteApiUrl=builds.url)
        yield Place(running.url, builds)


@pytest.fixture
def place(deployed: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """The stand-in, also as the environment of this process; the rule is on, Buildkite answers."""
    standins.use(monkeypatch, deployed.url)
    monkeypatch.setenv("BUILDKITE_API_URL", deployed.builds.url)
    monkeypatch.setenv("BUILDKITE_SECRET_ARN", "modelbuild/buildkite")
    monkeypatch.delenv("BUILDKITE_API_TOKEN", raising=False)
    # These builds take any number of calls: the turns, which are held elsewhere, need not be waited for,
    # neither here nor by the function, for which nobody has had a turn yet.
    monkeypatch.setattr(rate_limiter, "SLICE_SECONDS", 0.05)
    boto3.resource("s3").Bucket(standins.BUCKET).objects.filter(Prefix="buildkite/turns/").delete()
    yield deployed
    deployed.builds.status, deployed.builds.pipeline = 200, True


@pytest.fixture
def deaf(place: Place) -> Iterator[Place]:
    """The stand-in without the rule, as if every function had failed."""
    place.client("events").disable_rule(Name="modelbuild-ended")
    yield place
    place.client("events").enable_rule(Name="modelbuild-ended")


def test_killed_head_is_told_by_the_function(place: Place, request_for: Callable[..., Any]) -> None:
    """SIGKILL leaves a head no word: its end reaches the build with Batch's reason, and lies in S3."""
    number, artifacts = place.ask(request_for)
    place.submit(artifacts, "sh", "-c", "kill -9 $$")
    told = wait(lambda: place.builds.fields.get(number))
    assert told["training/status"] == "failed"
    assert told["training/reason"] == (
        "the head died before it could say why: Essential container in task exited; exit code 137"
    )
    wait(lambda: place.get(f"{artifacts}/delivered.json"))
    stored = json.loads(place.get(f"{artifacts}/result.json") or "")
    assert {key: stored[key] for key in ("training/status", "training/reason")} == {
        key: told[key] for key in ("training/status", "training/reason")
    }
    wait(lambda: f"builds/{number} with status failed (the head died" in place.said())
    assert "the-rest-token" not in place.said()


def test_steps_of_a_killed_head_end(place: Place, request_for: Callable[..., Any], tmp_path: Path) -> None:
    """What a head that was killed had running is terminated, on all queues of steps. Other runs go on, and so
    do the steps where the job that died was not the head of its attempt.
    """
    number, artifacts = place.ask(request_for)
    steps = [place.step(f"modelbuild-DemoFlow-{number}-train-3", "modelbuild-gpu")]
    steps.append(place.step(f"modelbuild-DemoFlow-{number}-evaluate-4", "modelbuild-default"))
    other = place.step(f"modelbuild-DemoFlow-{number}1-train-3", "modelbuild-gpu")
    wait(lambda: {place.described(job_id)["status"] for job_id in (*steps, other)} == {"RUNNING"})
    place.put(f"{artifacts}/attempts/1.run", json.dumps({"flow_name": "DemoFlow", "run_id": str(number)}))
    place.submit(artifacts, "sh", "-c", "kill -9 $$")
    wait(lambda: place.get(f"{artifacts}/delivered.json"))
    assert {place.described(job_id)["status"] for job_id in steps} == {"RUNNING"}

    noted = tmp_path / "noted"
    head = place.submit(artifacts, "sh", "-c", f"until [ -e '{noted}' ]; do sleep 0.1; done; kill -9 $$")
    place.put(f"{artifacts}/attempts/1.head", json.dumps({"job_id": head}))
    noted.touch()
    for job_id in steps:
        assert place.ended(job_id).status_reason == "its head is gone"
    assert place.described(other)["status"] == "RUNNING"
    place.client("batch").terminate_job(jobId=other, reason="the test is over")


def test_head_without_a_machine_ends_red_with_batchs_reason(
    place: Place, request_for: Callable[..., Any]
) -> None:
    """A head that is RUNNABLE for longer than schedule-timeout ends as failed, with what Batch says of it.
    Who may wait for longer, by default a day, goes on waiting.
    """
    large, of_large = place.ask(request_for)
    _, of_patient = place.ask(request_for)
    job_id = place.submit(of_large, "true", VCPU="9", SCHEDULE_TIMEOUT="1")
    patient = place.submit(of_patient, "sleep", "60")
    assert job(place.described(patient)).environment["SCHEDULE_TIMEOUT"] == "86400"
    place.waits(job_id)
    place.waits(patient)
    said = place.look_at_waiting()
    assert said.startswith(f"job {job_id} is terminated: the head waited more than 1 seconds")
    assert patient not in said
    told = wait(lambda: place.builds.fields.get(large))
    assert told["training/status"] == "failed"
    assert told["training/reason"] == (
        "the head waited more than 1 seconds for a machine (MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - The "
        "job resource requirement (vCPU/memory/GPU) is higher than that can be met by the CE(s) attached to "
        "the job queue.)"
    )
    assert place.ended(job_id).status_reason == told["training/reason"]
    wait(lambda: place.described(patient)["status"] == "RUNNING")
    assert place.look_at_waiting() == ""
    place.put(f"{of_patient}/delivered.json", "{}")
    place.client("batch").terminate_job(jobId=patient, reason="the test is over")


def test_head_in_a_full_queue_ends_red_as_well(place: Place, request_for: Callable[..., Any]) -> None:
    """Of a head that just has others before it, Batch says nothing; it ends after schedule-timeout, too."""
    before = place.step("before", "modelbuild-head", vcpus=9)
    wait(lambda: place.described(before)["status"] == "RUNNABLE")
    number, artifacts = place.ask(request_for)
    head = place.submit(artifacts, "true", SCHEDULE_TIMEOUT="1")
    place.waits(head)
    assert "statusReason" not in place.described(head)
    assert head in place.look_at_waiting()
    told = wait(lambda: place.builds.fields.get(number))
    assert told["training/status"] == "failed"
    assert "(Batch gives no reason: the queue's machines may all be taken)" in told["training/reason"]
    place.client("batch").terminate_job(jobId=before, reason="the test is over")


def test_head_that_cannot_start_is_told_with_the_reason(
    place: Place, request_for: Callable[..., Any]
) -> None:
    """What only the container knows is in the reason, too."""
    number, artifacts = place.ask(request_for)
    place.client("batch").register_job_definition(
        jobDefinitionName="gone",
        type="container",
        containerProperties={
            "image": "registry.example/modelbuild/gone:1",
            "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "128"}],
        },
    )
    place.submit(artifacts, "true", definition="gone")
    told = wait(lambda: place.builds.fields.get(number))
    assert told["training/status"] == "failed"
    assert "Task failed to start; CannotPullContainerError" in told["training/reason"]


def test_terminated_head_without_a_word_is_cancelled(place: Place, request_for: Callable[..., Any]) -> None:
    """Somebody's TerminateJob is no failure, and the build says with which reason it came."""
    number, artifacts = place.ask(request_for)
    job_id = place.submit(artifacts, "sleep", "60")
    wait(lambda: place.described(job_id)["status"] == "RUNNING")
    place.client("batch").terminate_job(jobId=job_id, reason="Ada needs the machine")
    told = wait(lambda: place.builds.fields.get(number))
    assert told["training/status"] == "cancelled"
    assert "Ada needs the machine" in told["training/reason"]


def test_event_of_a_cancelled_build_ends_its_heads(place: Place, request_for: Callable[..., Any]) -> None:
    """Buildkite's event terminates the heads of that build, waiting or running, and no others; the build
    hears that it was cancelled.
    """
    number, artifacts = place.ask(request_for)
    other, of_other = place.ask(request_for)
    own, waits, stays = (
        place.submit(artifacts, "sleep", "60"),
        place.submit(artifacts, "true", VCPU="9"),
        place.submit(of_other, "sleep", "60"),
    )
    forged = place.submit(f"{MODELS}/sentiment/none", "sleep", "60")
    wait(lambda: place.described(own)["status"] == "RUNNING")
    build = {"organization": "local", "pipeline": "demo", "number": number, "queue": "modelbuild-head"}
    others = [{**build, "organization": "acme"}, {**build, "pipeline": "dem"}, {**build, "number": 10**6}]
    context: Any = None
    for unknown in others:
        assert "no head runs" in ended.handler({"cancelled": unknown}, context)
    said = ended.handler({"cancelled": build}, context)
    assert own in said
    assert waits in said
    told = wait(lambda: place.builds.fields.get(number))
    assert (told["training/status"], told["training/reason"]) == ("cancelled", "the build was cancelled")
    assert not {stays, forged} & set(said.split())
    assert place.described(stays)["status"] != "FAILED"
    assert place.get(f"{of_other}/result.json") is None
    assert "no head runs" in ended.handler({"cancelled": build}, context)
    for job_id in (stays, forged):
        place.client("batch").terminate_job(jobId=job_id, reason="test is over")
    wait(lambda: place.builds.fields.get(other))


def test_function_repeats_nothing_that_was_told(place: Place, request_for: Callable[..., Any]) -> None:
    """Where the head has told its end, Buildkite is not called at all; nor for what is no head."""
    number, artifacts = place.ask(request_for)
    place.put(f"{artifacts}/delivered.json", "{}")
    job_id = place.submit(artifacts, "false")
    wait(lambda: f"{artifacts} ended: nothing to do" in place.said())
    other = place.client("batch").submit_job(
        jobName="other",
        jobQueue="modelbuild-head",
        jobDefinition="modelbuild-head",
        containerOverrides={"command": ["true"]},
    )["jobId"]
    wait(lambda: f"job {other} is no head of a training" in place.said())
    assert number not in place.builds.calls
    assert place.get(f"{artifacts}/result.json") is None
    assert place.ended(job_id).status == "FAILED"


def test_end_of_an_old_head_says_nothing(deaf: Place, request_for: Callable[..., Any]) -> None:
    """A training that has a newer head is not over."""
    number, artifacts = deaf.ask(request_for)
    record = {"job_id": "newer", "queue": "modelbuild-head", "region": "us-east-1"}
    deaf.put(f"{artifacts}/job.json", json.dumps(record))
    old = deaf.ended(deaf.submit(artifacts, "false"))
    assert "job newer is the head" in ended.run(old, 5)
    assert number not in deaf.builds.calls


def test_result_of_the_flow_wins(deaf: Place, request_for: Callable[..., Any]) -> None:
    """A head that died after its flow published has trained a model: the flow's result is delivered."""
    number, artifacts = deaf.ask(request_for)
    deaf.put(f"{artifacts}/result.json", json.dumps({"training/status": "succeeded", "model/image": "i"}))
    head = deaf.ended(deaf.submit(artifacts, "false"))
    ended.run(head, 5)
    assert deaf.builds.fields[number]["training/status"] == "succeeded"
    assert deaf.builds.fields[number]["model/image"] == "i"
    ended.run(head, 5)
    assert deaf.builds.calls.count(number) == 2


def test_function_fails_while_buildkite_is_away_and_loses_nothing(
    deaf: Place, request_for: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The result is in S3 before Buildkite is told; what failed is repeated by whoever comes next."""
    number, artifacts = deaf.ask(request_for)
    head = deaf.ended(deaf.submit(artifacts, "sh", "-c", "kill -9 $$"))
    deaf.builds.status = 503
    with pytest.raises(BuildkiteError):
        ended.run(head, 0.2)
    assert json.loads(deaf.get(f"{artifacts}/result.json") or "")["training/status"] == "failed"
    assert deaf.get(f"{artifacts}/delivered.json") is None
    deaf.builds.status = 200
    reconciled(capsys)
    assert deaf.builds.fields[number]["training/status"] == "failed"


def test_request_of_another_build_tells_nobody(
    deaf: Place, request_for: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A request that names another build than its prefix is refused by the function and by reconciliation:
    with access to one prefix, a program cannot have the build of another one unblocked.
    """
    victim, of_victim = deaf.ask(request_for)
    forged = f"{MODELS}/sentiment/{next(deaf.numbers)}"
    deaf.put(f"{forged}/request.json", deaf.get(f"{of_victim}/request.json") or "")
    deaf.put(f"{forged}/result.json", json.dumps({"training/status": "succeeded", "model/image": "mine"}))
    head = deaf.ended(deaf.submit(forged, "false"))
    with pytest.raises(VerificationFailed, match=f"request of another build .its model id is {victim}"):
        ended.run(head, 5)
    line = reconciled(capsys)[forged.rpartition("/")[2]]
    assert line.startswith("left alone: ")
    assert victim not in deaf.builds.calls
    for artifacts in (forged, of_victim):
        deaf.put(f"{artifacts}/delivered.json", "{}")


@pytest.mark.parametrize(
    ("described", "status", "reason"),
    [
        (
            {"statusReason": "Host EC2 (instance i-0abc) terminated."},
            "failed",
            "the head died before it could say why: Host EC2 (instance i-0abc) terminated.",
        ),
        (
            {
                "statusReason": "Essential container in task exited",
                "container": {
                    "reason": "OutOfMemoryError: Container killed due to memory usage",
                    "exitCode": 137,
                },
            },
            "failed",
            "the head died before it could say why: Essential container in task exited; OutOfMemoryError: "
            "Container killed due to memory usage; exit code 137",
        ),
        (
            {"statusReason": "Job attempt duration exceeded timeout", "isTerminated": True},
            "failed",
            "the head died before it could say why: Job attempt duration exceeded timeout",
        ),
        (
            {"statusReason": "not any more", "isCancelled": True},
            "cancelled",
            "the head was ended from outside: not any more",
        ),
        ({}, "failed", "the head died before it could say why: no reason given"),
        ({"status": "SUCCEEDED"}, "failed", "the head ended well but left no result.json: see its log"),
    ],
)
def test_word_has_batchs_own_reasons(described: dict[str, Any], status: str, reason: str) -> None:
    """Lost hosts, memory, timeouts and cancellations are told apart, in Batch's words."""
    result = ended.describe_head(job({"jobId": "j", "status": "FAILED", **described}))
    assert (result.status, result.reason) == (status, reason)


def reconciled(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What ``modelbuild reconcile`` prints, by model id."""
    capsys.readouterr()
    reconcile.run(MODELS, "modelbuild-head", "modelbuild/buildkite", os.environ)
    lines = capsys.readouterr().out.splitlines()
    found = (re.fullmatch(r"sentiment (\d+): (.*)", line) for line in lines)
    return {match[1]: match[2] for match in found if match}


def test_reconciliation_finishes_what_is_over_and_nothing_else(
    deaf: Place,
    request_for: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line for each training that is open: ended, running, vanished, unrecorded, never submitted."""
    died, of_died = deaf.ask(request_for)
    record = {"queue": "modelbuild-head", "region": "us-east-1"}
    head = deaf.ended(deaf.submit(of_died, "sh", "-c", "kill -9 $$"))
    deaf.put(f"{of_died}/job.json", json.dumps({"job_id": head.id, **record}))
    runs, of_runs = deaf.ask(request_for)
    running = deaf.submit(of_runs, "sleep", "60")
    wait(lambda: deaf.described(running)["status"] == "RUNNING")
    vanished, of_vanished = deaf.ask(request_for)
    deaf.put(f"{of_vanished}/job.json", json.dumps({"job_id": "0000-gone", **record}))
    unasked, of_unasked = deaf.ask(request_for)
    failed_before, of_failed_before = deaf.ask(request_for)
    deaf.builds.states[failed_before] = "waiting"

    lines = reconciled(capsys)
    assert re.match(r"unblocked step .* with status failed \(the head died", lines[str(died)])
    assert lines[str(runs)] == f"job {running} is RUNNING: nothing to do"
    for number in (vanished, unasked, failed_before):
        assert "not submitted yet" in lines[str(number)]
    assert not {runs, vanished, unasked, failed_before} & deaf.builds.fields.keys()

    monkeypatch.setattr(reconcile, "YOUNG_SECONDS", 0.0)
    lines = reconciled(capsys)
    assert str(died) not in lines
    assert "Batch does not know job 0000-gone any more" in lines[str(vanished)]
    assert deaf.builds.fields[vanished]["training/status"] == "failed"
    assert "no job was submitted" in deaf.builds.fields[unasked]["training/reason"]
    assert lines[str(failed_before)] == "never submitted, and no build waits for it: left alone"
    assert deaf.get(f"{of_failed_before}/result.json") is None
    assert deaf.get(f"{of_unasked}/delivered.json") is not None
    deaf.client("batch").terminate_job(jobId=running, reason="test is over")
    deaf.ended(running)
    assert "with status cancelled (" in reconciled(capsys)[str(runs)]
    deaf.put(f"{of_failed_before}/delivered.json", "{}")


def test_reconciliation_goes_on_after_a_build_that_cannot_be_told(
    deaf: Place, request_for: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Every training has its turn, and the command fails when one was left."""
    first, of_first = deaf.ask(request_for)
    second, of_second = deaf.ask(request_for)
    for artifacts in (of_first, of_second):
        deaf.put(f"{artifacts}/result.json", json.dumps({"training/status": "cancelled"}))
    deaf.builds.status = 401
    with pytest.raises(BuildkiteError, match="2 of 2 trainings"):
        reconcile.run(MODELS, "modelbuild-head", "modelbuild/buildkite", os.environ)
    assert capsys.readouterr().out.count("not delivered: ") == 2
    deaf.builds.status = 200
    assert set(reconciled(capsys)) == {str(first), str(second)}
    assert reconciled(capsys) == {}


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("a-token with-a-space", "BUILDKITE_API_TOKEN cannot be sent"),
        ("fine-token", "a defect of modelbuild: KeyError"),
    ],
)
def test_reconciliation_tells_why_it_cannot_tell_and_no_secret(
    deaf: Place,
    request_for: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    token: str,
    said: str,
) -> None:
    """An unusable token, or a defect, is a line for each training: none keeps the others from theirs."""
    for artifacts in (deaf.ask(request_for)[1], deaf.ask(request_for)[1]):
        deaf.put(f"{artifacts}/result.json", json.dumps({"training/status": "cancelled"}))
    with monkeypatch.context() as broken:
        broken.setenv("BUILDKITE_API_TOKEN", token)
        if token == "fine-token":
            broken.setattr(delivery, "deliver_result", lambda *_: os.environ["NOT_SET"])
        with pytest.raises(BuildkiteError, match="2 of 2 trainings"):
            reconcile.run(MODELS, "modelbuild-head", "modelbuild/buildkite", os.environ)
    printed = capsys.readouterr()
    assert printed.out.count(f"not delivered: {said}") == 2
    for part in token.split():
        assert part not in printed.out + printed.err
    assert len(reconciled(capsys)) == 2


def test_reconciliation_ends_a_head_that_waits_for_too_long(
    deaf: Place, request_for: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """What the function does each minute, reconciliation does as well, and tells the build itself; of a head
    that has a newer one, the end is no result.
    """
    number, artifacts = deaf.ask(request_for)
    job_id = deaf.submit(artifacts, "true", VCPU="9", SCHEDULE_TIMEOUT="1")
    deaf.put(f"{artifacts}/job.json", json.dumps({"job_id": job_id, "queue": "q", "region": "r"}))
    old, of_old = deaf.ask(request_for)
    given_up = deaf.submit(of_old, "true", VCPU="9", SCHEDULE_TIMEOUT="1")
    deaf.put(f"{of_old}/job.json", json.dumps({"job_id": "newer", "queue": "q", "region": "r"}))
    deaf.waits(given_up)
    assert re.search(r"status failed \(the head waited .*MISCONFIGURATION", reconciled(capsys)[str(number)])
    assert deaf.ended(job_id).stopped
    deaf.look_at_waiting()
    assert deaf.ended(given_up).status == "FAILED"
    assert deaf.get(f"{of_old}/result.json") is None
    assert old not in deaf.builds.calls
    deaf.put(f"{of_old}/delivered.json", "{}")


def test_reconciliation_lets_deleted_builds_go(
    deaf: Place,
    request_for: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A build that was deleted is written down as one that waits for nothing, with a line, and comes no more.
    Where not even its pipeline is in sight, nothing is written down.
    """
    monkeypatch.setattr(reconcile, "YOUNG_SECONDS", 0.0)
    over, of_over = deaf.ask(request_for)
    deaf.put(f"{of_over}/result.json", json.dumps({"training/status": "cancelled"}))
    unasked, of_unasked = deaf.ask(request_for)
    deaf.builds.deleted |= {over, unasked}
    deaf.builds.pipeline = False
    with pytest.raises(BuildkiteError, match="2 of 2 trainings"):
        reconciled(capsys)
    assert deaf.get(f"{of_unasked}/result.json") is None
    deaf.builds.pipeline = True
    lines = reconciled(capsys)
    assert set(lines) == {str(over), str(unasked)}
    assert all("is gone, the build was deleted: nothing to do" in line for line in lines.values())
    assert deaf.get(f"{of_over}/delivered.json")
    assert reconciled(capsys) == {}
