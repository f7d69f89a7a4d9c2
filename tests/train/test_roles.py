"""The roles of infra/training.yaml allow what their programs do, and each of their statements is needed."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

import policies
import samples
import standins
from modelbuild.aws.batch.jobs import Batch
from modelbuild.aws.identity import session
from modelbuild.aws.secrets import secret
from modelbuild.aws.storage import Storage
from modelbuild.buildkite import rate_limiter
from modelbuild.errors import AwsError, BuildkiteError
from modelbuild.settings import AwsSettings
from modelbuild.settings.train import TrainSettings
from modelbuild.train.head.sweep_jobs import COMMAND, DEFINITION
from modelbuild.train.recovery import ended, reconcile
from modelbuild.train.submit import submission

RECONCILE = json.loads((standins.ROOT / "docs" / "iam" / "reconcile.json").read_text())
PIPELINE = "roles"
PREFIX = f"s3://{standins.BUCKET}/models/{PIPELINE}"
REFUSED = r"AccessDenied|not authorized|Forbidden"
# Moto tells what is missing from what is forbidden by itself, and asks for no right to pass a role. What
# Athena looks at in another database is no call of its own.
UNSEEN = {"Missing", "Hand", "DefaultDatabase"}
OF_FLOWS = (
    "candidate.json",
    "data/snapshot.json",
    "data/rows.json",
    "model.tar.gz",
    "predictions.parquet",
    "manifest.json",
    "result.json",
    "failure.json",
    "delivered.json",
    "leaderboard.json",
    "attempts/1.head",
    "attempts/1.run",
    "attempts/1.page",
    "attempts/2/result.json",
    "attempts/12/delivered.json",
    "sweep/work/0123.json",
    "sweep/outcomes/search-3-0.json",
)
OF_OTHERS = (
    "request.json",
    "source.tar.gz",
    "job.json",
    "attempts/1.json",
    "attempts/12.json",
    "scored/a-model/rows.jsonl",
    "scored/a-model/scores.json",
    "report.json",
    "report.html",
    "eval/report.html",
    "decisions/sentiment.json",
    "deployment.json",
)

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Role:
    """A role of the stack, which this process can act as."""

    url: str
    monkeypatch: pytest.MonkeyPatch

    def policy(self, role: str, name: str) -> dict[str, Any]:
        """One of its policies, as it was deployed."""
        found = standins.client(self.url, "iam").get_role_policy(RoleName=role, PolicyName=name)
        document: dict[str, Any] = found["PolicyDocument"]
        return document

    def act(self, policy: Mapping[str, Any]) -> None:
        """Have just this policy from now on."""
        policies.become(self.url, self.monkeypatch, policies.as_moto_reads(policy))


@pytest.fixture
def role(aws: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Role]:
    """The roles, in a stand-in whose jobs run for a minute; afterwards policies are ignored again."""
    script = Path(aws.bin) / "python"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    yield Role(aws.url, monkeypatch)
    standins.enforce_policies(aws.url, False)


def admin(role: Role, service: str) -> Any:
    """A client that may do everything, which only holds before :meth:`Role.act`."""
    return standins.client(role.url, service)


def killed_head(role: Role) -> tuple[dict[str, Any], str]:
    """A head that was killed, as Batch's event shows it, and the job of a step that it left running."""
    number = next(_numbers)
    prefix, storage = f"{PREFIX}/sentiment/{number}", Storage(session(AwsSettings()))
    request = samples.request_for(prefix, model_id=str(number), build=samples.build(number, PIPELINE))
    storage.write(f"{prefix}/request.json", request.to_json().encode())
    storage.write(f"{prefix}/attempts/1.head", json.dumps({"job_id": "killed"}).encode())
    run = {"flow_name": "RolesFlow", "run_id": str(number)}
    storage.write(f"{prefix}/attempts/1.run", json.dumps(run).encode())
    step = admin(role, "batch").submit_job(
        jobName=f"modelbuild-RolesFlow-{number}-train-3",
        jobQueue="modelbuild-default",
        jobDefinition="modelbuild-head",
    )["jobId"]
    variables = {
        "ARTIFACTS": prefix,
        "METAFLOW_USER": "modelbuild",
        "METAFLOW_BATCH_JOB_QUEUE": "modelbuild-default",
        "GPU_JOB_QUEUE": "modelbuild-gpu",
    }
    head = {
        "jobId": "killed",
        "status": "FAILED",
        "statusReason": "Host EC2 (instance i-0abc) terminated.",
        "container": {"environment": [{"name": name, "value": value} for name, value in variables.items()]},
    }
    return head, step


@dataclass
class Context:
    """An invocation that has a minute."""

    def get_remaining_time_in_millis(self) -> int:
        """A minute."""
        return 60_000


@pytest.mark.parametrize(
    ("missing", "fails", "ends_steps", "unblocks", "keeps"),
    [
        (None, False, True, True, True),
        ("Read", True, False, False, False),
        ("Write", False, True, True, False),
        ("Token", True, True, False, True),
        ("Look", True, False, False, False),
        ("End", True, False, True, True),
    ],
)
def test_function_works_with_its_role(
    role: Role,
    buildkite: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    missing: str | None,
    fails: bool,
    ends_steps: bool,
    unblocks: bool,
    keeps: bool,
) -> None:
    """With just the policy of ``modelbuild-ended`` the function ends a killed head's steps, unblocks its
    build and looks after heads that wait. Without a statement it says what was refused, and does what it
    can.
    """
    head, step = killed_head(role)
    prefix = head["container"]["environment"][0]["value"]
    policy = role.policy("modelbuild-ended", "ended")
    role.act(policies.without(policy, missing) if missing else policy)
    monkeypatch.setenv("BUILDKITE_API_URL", buildkite.url)
    monkeypatch.setenv("BUILDKITE_SECRET_ARN", "modelbuild/buildkite")
    monkeypatch.delenv("BUILDKITE_API_TOKEN", raising=False)
    context: Any = Context()
    if fails:
        with pytest.raises(AwsError, match=REFUSED):
            ended.handler({"detail": head}, context)
    else:
        ended.handler({"detail": head}, context)
    waiting = ended.handler({"waiting-in": "modelbuild-head"}, context)
    assert bool(re.search(REFUSED, waiting)) is (missing == "Look")
    assert bool(re.search(REFUSED, capsys.readouterr().out)) is (missing in ("Write", "Look"))
    standins.enforce_policies(role.url, False)
    batch, storage = Batch(session(AwsSettings())), Storage(session(AwsSettings()))
    assert batch.describe(step).stopped is ends_steps
    batch.terminate(step, "the test is over")
    assert bool(buildkite.fields) is unblocks
    assert storage.exists(f"{prefix}/result.json") is keeps


def test_what_lambda_does_as_its_role(role: Role) -> None:
    """Lambda writes the function's log and puts aside what fails three times, each by its own statement."""
    policy = role.policy("modelbuild-ended", "ended")
    queue = admin(role, "sqs").get_queue_url(QueueName="modelbuild-ended-left")["QueueUrl"]
    group = {"logGroupName": "/aws/lambda/modelbuild-ended"}
    calls: dict[str, Callable[[], object]] = {
        "Left": lambda: client("sqs").send_message(QueueUrl=queue, MessageBody="{}"),
        "Log": lambda: client("logs").create_log_stream(**group, logStreamName=os.urandom(8).hex()),
    }
    each_needs_its_statement(role, policy, calls)


def test_only_jobs_of_trainings_may_be_ended(role: Role) -> None:
    """The function may end no job without a tag that train gives to heads, and through Metaflow to steps."""
    [end] = [one for one in role.policy("modelbuild-ended", "ended")["Statement"] if one["Sid"] == "End"]
    [(key, absent)] = end["Condition"]["Null"].items()
    assert absent == "false"
    images = {"default": "d", "train-gpu": "t", "serve": "s"}
    options = {"flow": "f.py", "artifacts": PREFIX, "unblock": "training_finished", "image": images}
    settings = TrainSettings.model_validate(options)
    request = samples.request_for(f"{PREFIX}/sentiment/7")
    tag = key.removeprefix("aws:ResourceTag/")
    assert tag in submission.tags(request, settings)
    assert tag in json.loads(submission.variables(request, settings)["METAFLOW_BATCH_DEFAULT_TAGS"])


def test_head_and_steps_work_with_their_role(role: Role) -> None:
    """Each kind of call of a head or a step is allowed by one statement of ``modelbuild-job``."""
    policy = role.policy("modelbuild-job", "job")
    job = admin(role, "batch").submit_job(
        jobName="roles", jobQueue="modelbuild-default", jobDefinition="modelbuild-head"
    )["jobId"]
    container = {"image": "modelbuild/default:roles", "vcpus": 1, "memory": 512}
    secret_arn = admin(role, "secretsmanager").describe_secret(SecretId="modelbuild/wandb")["ARN"]
    calls: dict[str, Callable[[], object]] = {
        "Objects": lambda: Storage(session(AwsSettings())).write(f"{PREFIX}/an-object", b""),
        "Checkpoints": lambda: Storage(session(AwsSettings())).delete(
            f"s3://{standins.BUCKET}/checkpoints/models/x/sentiment/7/000000001.json"
        ),
        "Buckets": lambda: Storage(session(AwsSettings())).list(f"{PREFIX}/"),
        "Query": lambda: client("athena").get_work_group(WorkGroup="modelbuild"),
        "Catalogue": lambda: client("glue").get_tables(DatabaseName="modelbuild"),
        "Secrets": lambda: client("secretsmanager").get_secret_value(SecretId=secret_arn),
        "Steps": lambda: client("batch").register_job_definition(
            jobDefinitionName="metaflow_roles", type="container", containerProperties=container
        ),
        "End": lambda: Batch(session(AwsSettings())).terminate(job, "the test is over"),
        "Look": lambda: Batch(session(AwsSettings())).describe(job),
    }
    allowed = {one["Sid"] for one in policy["Statement"] if one["Effect"] == "Allow"}
    assert calls.keys() | UNSEEN >= allowed
    each_needs_its_statement(role, policy, calls)


def test_head_of_a_sweep_works_with_its_role(role: Role) -> None:
    """``modelbuild-job`` lets the head register what workers run as, and submit them as an array job. The
    workers' definition is the head's without Buildkite's token.
    """
    role.act(role.policy("modelbuild-job", "job"))
    batch = Batch(session(AwsSettings()))
    worker = ("modelbuild-head", DEFINITION, "modelbuild/default:sweep")
    definition = batch.definitions.for_workers(*worker)
    assert batch.definitions.for_workers(*worker) == definition
    job_id = batch.submit(
        "modelbuild-sweep-roles-round-1",
        queue="modelbuild-default",
        definition=definition,
        command=COMMAND,
        environment={"SWEEP_WORK": f"{PREFIX}/work.json"},
        timeout=60,
        tags={"modelbuild:model": "roles"},
        resources={"VCPU": 1, "MEMORY": 512, "GPU": 0},
        children=2,
    )
    described = client("batch").describe_jobs(jobs=[job_id, f"{job_id}:1"])["jobs"]
    assert described[0]["arrayProperties"]["size"] == 2
    (found,) = client("batch").describe_job_definitions(jobDefinitions=[definition])["jobDefinitions"]
    container = found["containerProperties"]
    assert container["image"] == "modelbuild/default:sweep"
    assert not container.get("secrets")
    assert container["jobRoleArn"].endswith(":role/modelbuild-job")
    batch.terminate(job_id, "the test is over")


def test_head_and_steps_write_no_file_of_another_program(role: Role) -> None:
    """The role of flows writes what heads, steps and candidates write. Denied are the files that plugins
    write on agents, and the answers of the live model's own server: by them a flow could answer for the
    commit, for the person who decides, or for the live model.
    """
    role.act(role.policy("modelbuild-job", "job"))
    storage, prefix = Storage(session(AwsSettings())), f"{PREFIX}/sentiment/{next(_numbers)}"
    for name in OF_FLOWS:
        storage.write(f"{prefix}/{name}", b"")
    for name in OF_OTHERS:
        with pytest.raises(AwsError, match=REFUSED):
            storage.write(f"{prefix}/{name}", b"")


def test_batch_reads_the_heads_secret_with_its_role(role: Role) -> None:
    """``modelbuild-execution`` gives Batch the token of Buildkite for the head, and nothing else."""
    [only] = role.policy("modelbuild-execution", "head-secret")["Statement"]
    assert only["Action"] == "secretsmanager:GetSecretValue"
    assert ":secret:modelbuild/buildkite" in only["Resource"]
    role.act({"Version": "2012-10-17", "Statement": [only]})
    aws = session(AwsSettings())
    assert secret(aws, only["Resource"], "BUILDKITE_API_TOKEN") == "the-rest-token"
    with pytest.raises(AwsError, match=REFUSED):
        Storage(aws).read(f"{PREFIX}/an-object")


@pytest.mark.parametrize(
    ("missing", "error"),
    [
        (None, None),
        ("Trainings", AwsError),
        ("List", AwsError),
        # The result of a job that vanished is delivered; an attempt without a holder cannot be abandoned.
        ("ResultsAndTurns", BuildkiteError),
        ("Look", AwsError),
        ("End", BuildkiteError),
        ("Token", AwsError),
    ],
)
def test_reconciliation_needs_what_its_policy_allows(
    role: Role,
    buildkite: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    missing: str | None,
    error: type[Exception] | None,
) -> None:
    """With the documented policy it delivers the end of a job that vanished, ends a head that waits and
    abandons a training that was never submitted; without one of its statements it says what was refused.
    """
    vanished, waits, unasked = next(_numbers), next(_numbers), next(_numbers)
    places = {number: f"{PREFIX}-{missing}/sentiment/{number}" for number in (vanished, waits, unasked)}
    variables = {"ARTIFACTS": places[waits], "SCHEDULE_TIMEOUT": "0.01"}
    head = admin(role, "batch").submit_job(
        jobName=f"demo-{waits}",
        jobQueue="modelbuild-head",
        jobDefinition="modelbuild-head",
        containerOverrides={
            "resourceRequirements": [{"type": "VCPU", "value": "9"}],
            "environment": [{"name": name, "value": value} for name, value in variables.items()],
        },
    )["jobId"]
    storage = Storage(session(AwsSettings()))
    for prefix in places.values():
        storage.write(f"{prefix}/request.json", samples.request_for(prefix).to_json().encode())
    for number, job_id in ((vanished, "0000-gone"), (waits, head)):
        prefix = places[number]
        record = {"job_id": job_id, "queue": "modelbuild-head", "region": standins.REGION}
        storage.write(f"{prefix}/job.json", json.dumps(record).encode())
    monkeypatch.setattr(reconcile, "YOUNG_SECONDS", 0.0)
    monkeypatch.setattr(rate_limiter, "SLICE_SECONDS", 0.05)
    role.act(policies.without(RECONCILE, missing) if missing else RECONCILE)
    environ = {"BUILDKITE_API_URL": buildkite.url}
    with pytest.raises(error) if error else nullcontext() as caught:
        reconcile.run(f"{PREFIX}-{missing}", "modelbuild-head", "modelbuild/buildkite", environ)
    message = f"{caught.value if caught else ''} {capsys.readouterr().out}"
    assert bool(re.search(REFUSED, message)) is (missing is not None)
    standins.enforce_policies(role.url, False)
    batch = Batch(session(AwsSettings()))
    assert batch.describe(head).stopped is (missing in (None, "ResultsAndTurns"))
    batch.terminate(head, "the test is over")
    assert bool(buildkite.fields) is (missing in (None, "ResultsAndTurns", "End"))
    for number in (vanished, unasked):
        assert storage.exists(f"{places[number]}/delivered.json") is (missing in (None, "End"))


def client(service: str) -> Any:
    """A client with the identity of this process."""
    made: Any = boto3.Session()
    return made.client(service)


def each_needs_its_statement(
    role: Role, policy: Mapping[str, Any], calls: Mapping[str, Callable[[], object]]
) -> None:
    """Each call works with the policy, and does not without its statement."""
    for sid, call in calls.items():
        standins.use(role.monkeypatch, role.url)
        standins.enforce_policies(role.url, False)
        role.act(policies.without(policy, sid))
        with pytest.raises((AwsError, ClientError), match=REFUSED):
            call()
    standins.use(role.monkeypatch, role.url)
    standins.enforce_policies(role.url, False)
    role.act(policy)
    for call in calls.values():
        call()
