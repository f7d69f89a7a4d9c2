from __future__ import annotations

import hashlib
import json
import os
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient

from modelbuild.aws.batch import BatchJob
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.buildkite import agent as build_agent
from modelbuild.contract import TrainingRequest
from modelbuild.errors import AwsError, ConfigurationError, TrainingFailed, VerificationFailed
from modelbuild.settings import AwsSettings
from modelbuild.settings.train import TrainSettings
from modelbuild.store.attempts import JobRecord
from modelbuild.train.attempts import attempt
from modelbuild.train.submit import command, follow, page, plan, request, submission

BUCKET = "s3://modelbuild-123456789012"
# What a job runs instead of the head: it does what its variable ACT says.
PYTHON = '#!/bin/sh\necho "in the job: $*"\ncase "$ACT" in sleep) exec sleep 60 ;; fail) exit 3 ;; esac\n'


class Build:
    """A build of a commit, whose train step can be run again and again."""

    def __init__(self, repository: Any, number: int) -> None:
        self.commit = repository.commit(
            {"flows/flow.py": "# a flow", "flows/params.yaml": "act: 1\ntraining: {epochs: 3, rate: 0.5}\n"}
        )
        self.environ = {
            "BUILDKITE_ORGANIZATION_SLUG": "local",
            "BUILDKITE_PIPELINE_SLUG": "demo",
            "BUILDKITE_BUILD_NUMBER": str(number),
            "BUILDKITE_BUILD_ID": "0190-build",
            "BUILDKITE_BUILD_URL": f"http://buildkite.example/local/demo/builds/{number}",
            "BUILDKITE_COMMIT": self.commit,
            "BUILDKITE_BRANCH": "feature/<b>",
            "BUILDKITE_MESSAGE": "a commit",
            "BUILDKITE_BUILD_CREATOR": "Ada",
        }
        self.artifacts = f"{BUCKET}/models/demo/flows/{number}"
        self.options: dict[str, Any] = {
            "flow": "flows/flow.py",
            "artifacts": f"{BUCKET}/models",
            "unblock": "training_finished",
            "environment": {"ACT": "sleep"},
            "image": {"default": "modelbuild/default:1", "train-gpu": "modelbuild/train-gpu:1", "serve": "s"},
        }

    def train(self, **options: Any) -> None:
        """Run the step."""
        command.run(TrainSettings.model_validate({**self.options, **options}), self.environ)


_numbers = iter(range(100, 1000))


@pytest.fixture
def build(aws: Any, agent: Any, repository: Any, monkeypatch: pytest.MonkeyPatch) -> Build:
    """A build with a number of its own, in its checkout."""
    assert agent.calls == []
    script = Path(aws.bin) / "python"
    script.write_text(PYTHON)
    script.chmod(0o755)
    made = Build(repository, next(_numbers))
    monkeypatch.chdir(repository.folder)
    return made


def jobs(build: Build) -> list[Any]:
    """Every job of the build, as Batch describes it."""
    batch: Any = boto3.client("batch")
    name = build.artifacts.split("/models/")[1].replace("/", "-")
    filters = [{"name": "JOB_NAME", "values": [name]}]
    found = batch.list_jobs(jobQueue="modelbuild-head", filters=filters)["jobSummaryList"]
    return batch.describe_jobs(jobs=[job["jobId"] for job in found])["jobs"] if found else []


def definitions() -> list[Any]:
    """Every job definition."""
    batch: Any = boto3.client("batch")
    found: list[Any] = batch.describe_job_definitions()["jobDefinitions"]
    return found


@pytest.mark.parametrize(
    "name", ["BUILDKITE_MESSAGE", "BUILDKITE_BRANCH", "BUILDKITE_BUILD_CREATOR", "BUILDKITE_BUILD_URL"]
)
def test_bytes_of_any_variable_are_read_back(build: Build, repository: Any, name: str) -> None:
    """A message that the agent cut inside a letter, or any other bytes, make a request that reads back."""
    build.environ[name] = "x" * 65_000 + os.fsdecode("🚀".encode()[:3] + b"\xff\n+++ \x1b[2J")
    made, _ = request.build_request(
        TrainSettings.model_validate(build.options), build.environ, repository.folder
    )
    assert TrainingRequest.model_validate_json(made.to_json()) == made
    again, _ = request.build_request(
        TrainSettings.model_validate(build.options), build.environ, repository.folder
    )
    assert again == made


def test_what_the_head_could_not_read_is_not_submitted(build: Build, repository: Any) -> None:
    """Parameters that are nested too often to be read back are refused before anything is stored."""
    repository.commit({"flows/params.yaml": "act: []\n"})
    build.options["params"] = {"act": json.loads("[" * 230 + "]" * 230)}
    build.environ["BUILDKITE_COMMIT"] = repository.git("rev-parse", "HEAD")
    with pytest.raises(ConfigurationError, match=r"request\.json could not be read again .*recursion limit"):
        build.train()
    assert jobs(build) == []
    with pytest.raises(AwsError):
        stored(build, "source.tar.gz")


def wait_for(build: Build, status: str) -> None:
    """Return once the build's job is in a state."""
    deadline = time.monotonic() + 20
    while jobs(build)[0]["status"] != status:
        assert time.monotonic() < deadline, jobs(build)[0]
        time.sleep(0.05)


def stored(build: Build, name: str) -> bytes:
    """What lies under the model's prefix."""
    return Storage(session(AwsSettings())).read(f"{build.artifacts}/{name}")


def test_second_training_of_a_build_submits_nothing(build: Build, agent: Any) -> None:
    """Another step that trains, in the same build, is refused before anything of it is stored or submitted,
    and the first one can be retried.
    """
    build.train()
    told = {key: value for key, value in agent.meta_data.items() if not key.startswith("train/claim/")}
    with pytest.raises(ConfigurationError, match=r"another step of this build trains model flows too"):
        build.train(artifacts=f"{BUCKET}/others")
    build.environ["BUILDKITE_PARALLEL_JOB_COUNT"] = "2"
    with pytest.raises(ConfigurationError, match="parallelism 2"):
        build.train()
    del build.environ["BUILDKITE_PARALLEL_JOB_COUNT"]
    build.train()
    assert len(jobs(build)) == 1
    assert {key: agent.meta_data[key] for key in told} == told
    assert not Storage(session(AwsSettings())).exists(
        f"{build.artifacts.replace('/models/', '/others/')}/request.json"
    )


def test_one_head_with_the_requests_variables(build: Build, agent: Any) -> None:
    """The step leaves a request, one job with its variables and the stack's own, and links on the build."""
    agent.meta_data |= {"image/modelbuild/default:1": "modelbuild/default@sha256:" + "a" * 64}
    build.train(params={"training.epochs": 9}, timeout=120)
    request = TrainingRequest.model_validate_json(stored(build, "request.json"))
    assert request.parameters == {"act": 1, "training": {"epochs": 9, "rate": 0.5}}
    assert request.images.default == "modelbuild/default@sha256:" + "a" * 64
    assert request.images.train_gpu == "modelbuild/train-gpu:1"
    assert request.build.commit == build.commit
    (job,) = jobs(build)
    container = job["container"]
    variables = {entry["name"]: entry["value"] for entry in container["environment"]}
    assert variables["MODEL_ID"] == request.model_id
    assert variables["ARTIFACTS"] == build.artifacts
    assert variables["UNBLOCK_STEP"] == "training_finished"
    assert variables["ACT"] == "sleep"
    assert variables["STEP_VARIABLES"] == "ACT"
    assert variables["GPU_JOB_QUEUE"] == "modelbuild-gpu"
    assert [secret["name"] for secret in container["secrets"]] == ["BUILDKITE_API_TOKEN"]
    assert container["image"] == request.images.default
    assert container["command"] == ["python", "-m", "modelbuild", "head"]
    assert job["timeout"] == {"attemptDurationSeconds": 120}
    assert json.loads(stored(build, "job.json")) == {
        "job_id": job["jobId"],
        "queue": "modelbuild-head",
        "region": "us-east-1",
        "attempt": 1,
    }
    assert variables["ATTEMPT"] == agent.meta_data["train/attempt"] == "1"
    assert agent.meta_data["train/job/id"] == job["jobId"]
    assert agent.meta_data["train/artifacts"] == build.artifacts
    assert job["jobId"] in agent.meta_data["train/job/url"]
    assert len(agent.annotations) == 1


def test_new_build_with_another_value_is_a_training(build: Build, agent: Any) -> None:
    """What this build sets stands above the pipeline's options, these above the file, and all is told."""
    build.environ |= {"PARAM_TRAINING__RATE": "1e-3", "PARAM_TRAINING__EPOCHS": "7", "PARAM_ACT": " "}
    agent.meta_data |= {"params/training.epochs": "8"}
    build.train(params={"training.epochs": 9, "act": 5})
    request = TrainingRequest.model_validate_json(stored(build, "request.json"))
    assert request.parameters == {"act": 5, "training": {"epochs": 8, "rate": 0.001}}
    assert request.origins == {"act": "plugin", "training.epochs": "build", "training.rate": "build"}
    ((_, _, page),) = agent.annotations
    assert (
        "<code>act</code> (option params), <code>training.epochs</code> (this build), "
        "<code>training.rate</code> (this build)"
    ) in page
    assert "<td><code>training.rate</code></td><td>this build</td>" in page


@pytest.mark.parametrize(
    ("variables", "meta_data", "message"),
    [
        (
            {"PARAM_TRAINING__RATES": "1"},
            {},
            "PARAM_TRAINING__RATES is 1, .* did you mean training.rate, which",
        ),
        ({"PARAM_TRAINING__RATE": "fast"}, {}, r'"fast" \(PARAM_TRAINING__RATE\): it must be a number'),
        (
            {},
            {"params/training.epochs": "1.5"},
            r"1.5 \(meta-data params/training.epochs\): it must be a whole",
        ),
        ({}, {"params/epochs": "1"}, "meta-data params/epochs is 1, but .* did you mean training.epochs"),
        ({}, {"params/act": "[1"}, "meta-data params/act, line 1, cannot be read as YAML"),
    ],
)
def test_wrong_parameter_of_a_build_submits_nothing(
    build: Build, agent: Any, variables: dict[str, str], meta_data: dict[str, str], message: str
) -> None:
    """Nothing is stored or submitted for a parameter that is unknown or of another type."""
    build.environ |= variables
    for key, value in meta_data.items():
        agent.meta_data |= {key: value}
    with pytest.raises(ConfigurationError, match=message):
        build.train()
    assert jobs(build) == []
    assert Storage(session(AwsSettings())).list(build.artifacts) == []


def test_dirty_tree_is_recorded(build: Build, agent: Any, repository: Any) -> None:
    """Uncommitted changes are refused, or recorded in the request and told where the pipeline allows them."""
    (repository.folder / "flows" / "flow.py").write_text("# another flow")
    with pytest.raises(ConfigurationError, match=r"flows/flow.py\): .* allow-dirty"):
        build.train()
    build.train(**{"allow-dirty": True})
    request = TrainingRequest.model_validate_json(stored(build, "request.json"))
    assert "+# another flow" in request.dirty_diff
    assert "with uncommitted changes" in agent.annotations[0].body
    archived = stored(build, "source.tar.gz")
    assert hashlib.sha256(archived).hexdigest() == request.source.sha256


def test_plan_is_what_is_submitted(build: Build, agent: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run changes nothing, and prints the request, job, roles and sizes that then come true."""
    settings = TrainSettings.model_validate(build.options)
    before = definitions()
    plan.show(settings, build.environ)
    found = json.loads(capsys.readouterr().out)
    assert jobs(build) == []
    assert Storage(session(AwsSettings())).list(build.artifacts) == []
    assert definitions() == before
    assert {argv[1] for argv, _ in agent.calls} <= {"keys", "get"}
    build.train()
    (job,) = jobs(build)
    request = TrainingRequest.model_validate_json(stored(build, "request.json"))
    assert TrainingRequest.model_validate(found["request"]) == request
    assert found["stored"] is False
    assert f"/{found['job']['definition']}:" in job["jobDefinition"]
    assert found["job"]["name"] in job["jobName"]
    assert (
        found["job"]["environment"].items()
        <= {entry["name"]: entry["value"] for entry in job["container"]["environment"]}.items()
    )
    assert found["roles"]["job"] == job["container"]["jobRoleArn"]
    assert found["job"]["resources"] == {"VCPU": "1", "MEMORY": "2048"}
    assert found["roles"]["caller"].startswith("arn:aws:")
    assert found["bytes"]["source"] == len(stored(build, "source.tar.gz"))
    assert found["bytes"]["request"] == len(stored(build, "request.json"))
    assert 0 < found["bytes"]["overrides"] < found["bytes"]["overrides_limit"] == 8192


def test_plan_that_batch_would_refuse_fails(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    """What is too large is printed, and then said as when it would be submitted."""
    settings = TrainSettings.model_validate({**build.options, "environment": {"A": "x" * 9000}})
    with pytest.raises(ConfigurationError, match=r"the variables of the job take 9[0-9]+ bytes"):
        plan.show(settings, build.environ)
    assert json.loads(capsys.readouterr().out)["bytes"]["overrides"] > 9000
    settings = TrainSettings.model_validate({**build.options, "environment": {"A": "x" * 4000}})
    with pytest.raises(ConfigurationError, match="bytes with 5000 for Metaflow"):
        plan.show(settings, build.environ)


def test_secret_is_in_no_override(build: Build) -> None:
    """The token comes from Secrets Manager: it is not among the variables that anyone may read."""
    build.train()
    assert "the-rest-token" not in json.dumps(jobs(build), default=str)


def test_retried_step_attaches(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    """Running the step again shows the training under way, and starts none."""
    build.train()
    capsys.readouterr()
    build.train()
    assert len(jobs(build)) == 1
    assert f"attached to job {jobs(build)[0]['jobId']}" in capsys.readouterr().out


def test_unrecorded_job_is_found(build: Build) -> None:
    """A step that ended between submitting and recording finds its job by name."""
    build.train()
    place = f"{build.artifacts.removeprefix('s3://')}/job.json"
    bucket, key = place.split("/", 1)
    before = stored(build, "job.json")
    boto3.client("s3").delete_object(Bucket=bucket, Key=key)
    build.train()
    assert len(jobs(build)) == 1
    assert stored(build, "job.json") == before


def test_damaged_record_is_a_sentence(build: Build) -> None:
    """A job.json that names no job stops a retried step with what to do; it starts no second training."""
    build.train()
    Storage(session(AwsSettings())).write(f"{build.artifacts}/job.json", b"{}")
    with pytest.raises(VerificationFailed, match=r"job\.json is not a job record of this version"):
        build.train()
    assert len(jobs(build)) == 1


def test_retried_step_cannot_ask_for_another_training(build: Build) -> None:
    """Other parameters under the same number are refused with what differs."""
    build.train()
    with pytest.raises(
        ConfigurationError, match=r"another training .*\(origins, parameters, parameters_sha256\)"
    ):
        build.train(params={"act": 2})
    assert len(jobs(build)) == 1


def test_retried_step_after_success_says_so(
    build: Build, agent: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A training that has ended well is told as such, the step is green, and notify's annotation stays."""
    build.train(environment={})
    wait_for(build, "SUCCEEDED")
    put_result(build, "result.json", "succeeded")
    capsys.readouterr()
    build.train(environment={})
    assert "has been trained" in capsys.readouterr().out
    assert len(jobs(build)) == 1
    assert len(agent.annotations) == 1


def test_retried_step_leaves_the_result_on_the_page(build: Build, agent: Any) -> None:
    """Once the build knows the result, a head that is still about to end does not bring "training" back."""
    build.train()
    agent.meta_data |= {"training/status": "succeeded"}
    build.train()
    assert len(agent.annotations) == 1


def put_result(build: Build, name: str, status: str, reason: str = "") -> None:
    """Write a result, as a head would."""
    text = json.dumps({"training/status": status, "training/reason": reason})
    Storage(session(AwsSettings())).write(f"{build.artifacts}/{name}", text.encode())


def attempts(build: Build) -> list[str]:
    """The number of the attempt that each job is."""
    return sorted(
        entry["value"]
        for job in jobs(build)
        for entry in job["container"]["environment"]
        if entry["name"] == "ATTEMPT"
    )


def test_retried_step_goes_on_after_failure(
    build: Build, agent: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A training that has failed is attempted again by a retried step, once, under the same model id."""
    build.train(environment={"ACT": "fail"})
    wait_for(build, "FAILED")
    put_result(build, "result.json", "failed")
    agent.meta_data |= {"training/status": "failed"}
    build.train()
    assert attempts(build) == ["1", "2"]
    assert json.loads(stored(build, "job.json"))["attempt"] == 2
    assert agent.meta_data["train/attempt"] == "2"
    output = capsys.readouterr().out
    assert "Attempt    2, which goes on from the last good step" in output
    assert "was unblocked by an earlier attempt: retry the steps behind it" in output
    assert "An earlier attempt unblocked step <code>training_finished</code>" in agent.annotations[-1].body
    assert "retry the step behind it" in agent.annotations[-1].body
    build.train()
    assert attempts(build) == ["1", "2"]


def test_model_that_nobody_heard_of_is_told(
    build: Build, agent: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A training that ended when its build was over: a retried step does not leave the block waiting."""
    build.train(environment={})
    wait_for(build, "SUCCEEDED")
    put_result(build, "result.json", "succeeded")
    put_result(build, "delivered.json", "succeeded")
    build.train()
    assert attempts(build) == ["1", "2"]
    assert agent.meta_data["train/attempt"] == "2"
    output = capsys.readouterr().out
    assert "attempt 1 made the model when its build was over: the next attempt delivers it" in output
    assert "step 'training_finished' is unblocked" in output


def test_record_says_with_what_an_attempt_was_submitted(build: Build) -> None:
    """Options of the job may differ between attempts: each is written down with its own."""
    build.train(timeout=120, environment={"ACT": "fail"}, resources={"train": {"memory": 9000}})
    wait_for(build, "FAILED")
    build.train(tags={"team": "comments"})
    first, second = (json.loads(stored(build, f"attempts/{number}.json"))["options"] for number in (1, 2))
    assert first["environment"] == {"ACT": "fail"}
    assert first["resources"] == {"train": {"memory": 9000}}
    assert (first["timeout"], second["timeout"]) == (120, 86400)
    assert (second["queue"], second["tags"]) == ("modelbuild-head", {"team": "comments"})


@pytest.mark.parametrize(("status", "code"), [("failed", 13), ("cancelled", 143)])
def test_failure_that_a_step_waited_for_is_on_the_page(
    build: Build, agent: Any, monkeypatch: pytest.MonkeyPatch, status: str, code: int
) -> None:
    """A step that waits fails before what is behind it is reached: it says itself how the training ended."""
    monkeypatch.setattr(follow, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(follow, "_LAST_LINES_SECONDS", 0.0)
    put_result(build, "result.json", status, "step train failed: ValueError: <no> rows")
    with pytest.raises((TrainingFailed, SystemExit)) as caught:
        build.train(wait=True)
    assert (getattr(caught.value, "exit_code", None) or getattr(caught.value, "code", None)) == code
    during, after = agent.annotations
    assert [during.style, after.style] == ["info", "error"]
    assert "The step waits for it." in during.body
    assert "step train failed: ValueError: &lt;no&gt; rows" in after.body
    assert agent.meta_data["train/job/url"].replace("&", "&amp;") in after.body


class Killed(BaseException):
    """The agent's machine went away; not an ``Exception``, so that nothing is tidied up."""


@pytest.mark.parametrize(
    "effect",
    [
        "source.tar.gz",
        "request.json",
        "RegisterJobDefinition",
        "attempts/1.json",
        "SubmitJob",
        "job.json",
        "train/job/id",
    ],
)
def test_step_that_was_killed_is_finished_by_its_retry(
    build: Build, agent: Any, monkeypatch: pytest.MonkeyPatch, effect: str
) -> None:
    """Whatever the last thing was that a killed step had done, its retry ends with one head that can train,
    and with a build that knows it.
    """
    clients: Any = BaseClient
    call, set_meta_data = clients._make_api_call, build_agent.set_meta_data

    def calls(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        answer = call(client, operation, parameters)
        written = parameters.get("Key", "") if operation == "PutObject" else operation
        if written == effect or written.endswith(f"/{effect}"):
            raise Killed
        return answer

    def sets(values: dict[str, str]) -> None:
        if effect in values:
            set_meta_data({effect: values[effect]})
            raise Killed
        set_meta_data(values)

    # An image of its own, so that the definition is registered here.
    build.options["image"]["default"] = f"modelbuild/{'default' if 'Def' in effect else 'other'}:9"
    with monkeypatch.context() as patched:
        patched.setattr(clients, "_make_api_call", calls)
        patched.setattr(build_agent, "set_meta_data", sets)
        with pytest.raises(Killed):
            build.train()
    monkeypatch.setattr(attempt, "_PATIENCE_SECONDS", 0.2)
    build.train()
    record = json.loads(stored(build, "job.json"))
    storage = Storage(session(AwsSettings()))
    heads = {
        job["jobId"]
        for job in jobs(build)
        for entry in job["container"]["environment"]
        if entry["name"] == "ATTEMPT"
        and not storage.exists(f"{build.artifacts}/attempts/{entry['value']}.head")
    }
    assert heads == {record["job_id"]} == {agent.meta_data["train/job/id"]}
    assert agent.meta_data["train/attempt"] == str(record["attempt"])
    assert len(agent.annotations) == 1


def test_head_that_died_after_success_is_not_replaced(build: Build) -> None:
    """What counts is the result: a model that was published is not trained again because its head broke."""
    build.train(environment={"ACT": "fail"})
    wait_for(build, "FAILED")
    put_result(build, "result.json", "succeeded")
    build.train()
    assert attempts(build) == ["1"]


def test_refused_submission_leaves_the_attempt_to_nobody(build: Build) -> None:
    """A step whose submission Batch refused can be retried at once."""
    with pytest.raises(ConfigurationError, match="variables of the job take"):
        build.train(environment={"A": "x" * 9000})
    before = time.monotonic()
    build.train()
    assert attempts(build) == ["2"]
    assert time.monotonic() - before < 10


def test_steps_have_their_sizes_and_tags(build: Build) -> None:
    """The head is tagged, and told the sizes of steps and the tags of their jobs."""
    build.train(
        tags={"team": "comments"}, resources={"train": {"memory": 9000, "gpu": 0}, "prepare": {"cpu": 3}}
    )
    (job,) = jobs(build)
    variables = {entry["name"]: entry["value"] for entry in job["container"]["environment"]}
    sizes = {"train": {"memory": 9000, "gpu": 0}, "prepare": {"cpu": 3}}
    assert json.loads(variables["STEP_RESOURCES"]) == sizes
    assert variables["METAFLOW_BATCH_EMIT_TAGS"] == "true"
    assert json.loads(variables["METAFLOW_BATCH_DEFAULT_TAGS"]) == job["tags"]
    assert job["tags"]["team"] == "comments"
    assert job["tags"]["modelbuild:pipeline"] == "demo"


def test_definition_is_reused(build: Build, repository: Any) -> None:
    """Two builds with one image share the job definition that was registered for it."""
    build.train()
    second = Build(repository, next(_numbers))
    second.train()
    assert jobs(build)[0]["jobDefinition"] == jobs(second)[0]["jobDefinition"]
    assert "/modelbuild-head-" in jobs(build)[0]["jobDefinition"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flow": "flows/absent.py"}, "option flow is flows/absent.py, but commit .* has no such file"),
        (
            {"params": {"training.epoch": 1}},
            r"training.epoch is 1, .* did you mean training.epochs, which is a whole number\?",
        ),
        ({"queue": "no-such-queue"}, "no active Batch job definition no-such-queue in us-east-1"),
        ({"environment": {"A": "x" * 9000}}, "the variables of the job take [0-9]+ bytes"),
        (
            {"environment": {"A": "x" * 4000}},
            "take 9[0-9]+ bytes with 5000 for Metaflow, and Batch takes 8192",
        ),
    ],
)
def test_users_mistake_submits_nothing(build: Build, options: dict[str, Any], message: str) -> None:
    """A wrong option is one sentence, before anything is submitted."""
    with pytest.raises((ConfigurationError, AwsError), match=message):
        build.train(**options)
    assert jobs(build) == []


def test_used_number_is_not_overwritten(build: Build) -> None:
    """A source that lies there from something else stops the step."""
    Storage(session(AwsSettings())).write(f"{build.artifacts}/source.tar.gz", b"something else")
    with pytest.raises(ConfigurationError, match="has other bytes than this commit's files"):
        build.train()
    assert jobs(build) == []


def test_outside_a_build_it_says_what_is_missing(build: Build) -> None:
    """Without the agent's variables the step names the first that is missing, or not one of Buildkite's."""
    del build.environ["BUILDKITE_BUILD_URL"]
    with pytest.raises(ConfigurationError, match="BUILDKITE_BUILD_URL is not set"):
        build.train()
    build.environ |= {"BUILDKITE_BUILD_URL": "http://buildkite.example", "BUILDKITE_BUILD_NUMBER": "first"}
    with pytest.raises(ConfigurationError, match="the build's number is 'first', which Buildkite never sets"):
        build.train()


def test_annotation_escapes_what_people_write(request_for: Any) -> None:
    """Branch names and parameters are text on the build page, never markup, even after a blank line."""
    text = "</code><script>alert(1)</script>\n\n# A heading"
    request = request_for(f"{BUCKET}/models/demo/sentiment/7", parameters={"text": text})
    request = request.model_copy(update={"build": request.build.model_copy(update={"branch": "<img src=x>"})})
    links = {"job_url": "https://console.example/#job", "logs_url": "https://console.example/#logs"}
    job = BatchJob("an-id", "RUNNING", "", "", {})
    record = JobRecord(job_id="an-id", queue="modelbuild-head", region="us-east-1")
    repository = "git@github.com:your-org/your-repository.git"
    body = page.training(request, record, job, links, repository)
    assert "\n\n" not in body
    assert "# A heading" in body
    assert "<script" not in body
    assert "<img" not in body
    assert "&lt;img src=x&gt;" in body
    assert 'href="https://console.example/#job"' in body
    assert f'href="https://github.com/your-org/your-repository/commit/{request.build.commit}"' in body


def test_job_name_keeps_to_batchs_letters(request_for: Any) -> None:
    """Any pipeline gives a name that Batch takes, and long ones that begin alike stay apart."""
    request = request_for(f"{BUCKET}/models/demo/sentiment/7")

    def name(pipeline: str, model_id: str) -> str:
        build = request.build.model_copy(update={"pipeline": pipeline})
        return submission.job_name(request.model_copy(update={"build": build, "model_id": model_id}))

    assert name("demo", "7.12") == "demo-sentiment-7_12"
    assert len(name("p" * 200, "7")) == 128
    assert name("p" * 200, "7") != name("p" * 200, "8")


def test_policy_is_what_the_step_calls(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy ``docs/iam/train.json`` allows each call of a first and of a retried step, and no other."""
    policy = Path(__file__).parents[2] / "docs" / "iam" / "train.json"
    statements = json.loads(policy.read_text())["Statement"]
    needed: set[tuple[str, str]] = set()
    clients: Any = BaseClient
    call = clients._make_api_call

    def noted(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        needed.update(permissions(operation, parameters))
        return call(client, operation, parameters)

    # An image of its own, so that a definition is registered here and not by another test.
    build.options["image"]["default"] = "modelbuild/other:1"
    with monkeypatch.context() as patched:
        patched.setattr(clients, "_make_api_call", noted)
        build.train()
        build.train()
        bucket, key = f"{build.artifacts.removeprefix('s3://')}/job.json".split("/", 1)
        with monkeypatch.context() as unnoted:
            unnoted.setattr(clients, "_make_api_call", call)
            boto3.client("s3").delete_object(Bucket=bucket, Key=key)
        build.train()
    unused = {action for statement in statements for action in listed(statement["Action"])}
    for action, resource in needed:
        assert any(
            action in listed(statement["Action"])
            and any(fnmatchcase(resource, pattern) for pattern in listed(statement["Resource"]))
            for statement in statements
        ), f"{action} on {resource} is not allowed"
        unused.discard(action)
    # Needed so that S3 answers 404, and not 403, for what is not there.
    assert unused == {"s3:ListBucket"}


def listed(value: str | list[str]) -> list[str]:
    """What stands in a statement, which may be one or several."""
    return [value] if isinstance(value, str) else value


def permissions(operation: str, parameters: dict[str, Any]) -> list[tuple[str, str]]:
    """The actions and resources that AWS asks for before it makes a call."""
    batch = "arn:aws:batch:us-east-1:123456789012:"
    match operation:
        case "GetObject" | "PutObject":
            return [(f"s3:{operation}", f"arn:aws:s3:::{parameters['Bucket']}/{parameters['Key']}")]
        case "RegisterJobDefinition":
            name, container = parameters["jobDefinitionName"], parameters["containerProperties"]
            roles = [container["jobRoleArn"], container["executionRoleArn"]]
            return [
                ("batch:RegisterJobDefinition", f"{batch}job-definition/{name}"),
                *(("iam:PassRole", role) for role in roles),
            ]
        case "SubmitJob":
            return [
                ("batch:SubmitJob", parameters["jobDefinition"]),
                ("batch:SubmitJob", f"{batch}job-queue/{parameters['jobQueue']}"),
                ("batch:TagResource", f"{batch}job/an-id"),
            ]
        case _:
            return [(f"batch:{operation}", "*")]
