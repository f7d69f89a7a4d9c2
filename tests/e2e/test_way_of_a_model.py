"""The way of a model from a commit to a traced prediction, with the real agent, Metaflow and training."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest
from laptop import PREPARED, Laptop, Running, eventually

from modelbuild.contract import LOG_GROUP, Predictions, TrainingResult
from weather import changing

pytestmark = pytest.mark.e2e

_UNBLOCK_LOOKUP = "GET */jobs?step_key=training_finished"

COMMENTS = ["What a wonderful day, thank you all!", "This is a terrible idea.", "The parcel came on Tuesday."]


@pytest.fixture(scope="module")
def served(laptop: Laptop) -> Iterator[Running]:
    """The build of this repository's own pipeline, approved and over."""
    with laptop.build() as build:
        build.reaches("approve", "blocked", "broken", seconds=180)
        again = build.jobs("train")[-1]
        laptop.client.put(f"{build.path}/jobs/{again['id']}/retry", {})
        build.reaches("train", "passed", "failed")
        build.unblock("approve")
        build.over()
        build.process.wait(30)
        yield build


@pytest.fixture(scope="module")
def repeated(laptop: Laptop, served: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The same request in the next build, which is green while all services fail again and again.

    Batch, S3, Athena and Secrets Manager throttle hook, head and steps; the keys of head and steps expire
    again and again; the block is not reached yet when the training is over; then Buildkite refuses with 429,
    fails and falls silent. Once the build waits for a person, its model is changed, and a person approves it.
    """
    del served
    laptop.commit_prepared_pipelines()
    gate = tmp_path_factory.mktemp("gate") / "open"

    def behind_gate(text: str) -> str:
        steps = json.loads(text)["steps"]
        steps.insert(1, {"key": "slow", "command": f"until [ -e {gate} ]; do sleep 0.2; done"})
        steps[2]["depends_on"] = ["train", "slow"]
        return json.dumps({"steps": steps})

    with ExitStack() as stack:
        stack.enter_context(laptop.changed("A slow step before the block", {PREPARED: behind_gate}))
        aws = stack.enter_context(changing(laptop.state.aws_url, laptop.state.aws_secret))
        buildkite = stack.enter_context(changing(laptop.state.buildkite_url, laptop.state.api_token))
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
        build = stack.enter_context(laptop.build("--pipeline", PREPARED))
        eventually(lambda: _waits_for_block(build), "end of the training", 900)
        assert build.jobs("training_finished")[-1]["state"] != "blocked"
        assert json.loads(build.object("result.json"))["training/status"] == "succeeded", build.object(
            "result.json"
        )
        buildkite.add(_UNBLOCK_LOOKUP, status=429, headers={"Retry-After": "1"}, count=1)
        buildkite.add(_UNBLOCK_LOOKUP, status=500, count=1)
        buildkite.add(_UNBLOCK_LOOKUP, silence=2, count=1)
        gate.touch()
        build.reaches("approve", "blocked", "broken", seconds=300)
        assert all(aws.struck())
        assert buildkite.struck() == [1, 1, 1]
        aws.clear()
        aws.keys_live(43200)
        build.put_object("model.tar.gz", build.object("model.tar.gz")[:-1] + b"!")
        build.unblock("approve")
        build.over()
        yield build


def test_a_commit_becomes_a_served_model(laptop: Laptop, served: Running) -> None:
    """Every step passes, `local run` says so, and live predictions carry the build's number."""
    build = served.get()
    assert build["state"] == "passed", served.log.read_text()
    assert served.process.returncode == 0
    body = _invoke(laptop, COMMENTS)
    answer = Predictions.model_validate_json(body)
    assert answer.model_id == served.model_id
    assert [one.output["label"] for one in answer.predictions][:2] == ["positive", "negative"]
    named = {(one.model, one.model_id) for one in answer.predictions}
    assert named == {("sentiment", served.model_id)}


def test_the_block_hands_the_result_over(served: Running) -> None:
    """The API unblocks the step, and its fields are a whole TrainingResult."""
    (job,) = served.jobs("training_finished")
    assert job["state"] == "unblocked"
    result = TrainingResult.from_fields(served.get()["meta_data"])
    assert result.status == "succeeded"
    assert result.model_path == f"{served.artifacts}/model.tar.gz"
    assert result.model_sha256 == served.manifest().artifact.sha256
    assert result.env["MODEL_ID"] == served.model_id
    assert result.image == served.request().images.serve
    assert result.wandb_run_url.startswith("http://127.0.0.1:")


def test_the_model_is_better_than_what_needs_no_training(served: Running) -> None:
    """Macro-F1 on held-out documents is at least 0.60, above VADER's and the majority's on the same rows."""
    evaluation = served.manifest().evaluation
    vader, majority = (evaluation.baselines[name] for name in ("vader", "majority"))
    assert evaluation.overall.metrics["macro_f1"] >= 0.60
    assert vader.rows == evaluation.overall.rows
    assert evaluation.overall.metrics["macro_f1"] > vader.metrics["macro_f1"]
    assert vader.metrics["macro_f1"] > majority.metrics["macro_f1"]


def test_no_agent_is_held_while_batch_trains(served: Running) -> None:
    """From the end of `train` to the unblock no agent has a job, and that is when Batch does the steps."""
    first, _ = served.jobs("train")
    (block,) = served.jobs("training_finished")
    free = (_moment(first["finished_at"]), _moment(block["unblocked_at"]))
    scripts = [job for job in served.get()["jobs"] if job["type"] == "script"]
    busy = [(_moment(job["started_at"]), _moment(job["finished_at"])) for job in scripts]
    assert all(end <= free[0] or start >= free[1] for start, end in busy)
    worked = [(step["startedAt"] / 1000, step["stoppedAt"] / 1000) for step in served.steps()]
    assert len(worked) == 4
    # The last step is the one that unblocks, so it ends after that.
    assert all(free[0] < start and end < free[1] for start, end in sorted(worked)[:3])


def test_a_retried_step_trains_once(served: Running) -> None:
    """The retried `train` job attaches to the training that is there, and one head is all there ever was."""
    first, second = served.jobs("train")
    assert (first["state"], second["state"]) == ("passed", "passed")
    (head,) = served.heads()
    assert head["jobId"] in served.job_log(first)
    assert f"attached to job {head['jobId']}" in served.job_log(second)


def test_the_build_page_says_what_a_person_needs(served: Running) -> None:
    """One annotation about the training, the W&B link before all else, and one about the endpoint."""
    notes = served.annotations()
    assert set(notes) == {"training", "deployment"}
    html = notes["training"]["body_html"]
    assert html.index(served.manifest().wandb.url) == html.index("href=") + len('href="')
    assert served.manifest().request.parameters_sha256[:12] in html


def test_a_prediction_leads_back_to_its_commit(laptop: Laptop, served: Running, tmp_path: Path) -> None:
    """`modelbuild trace` goes from a stored answer to build, commit, approver and endpoint."""
    answer = tmp_path / "answer.json"
    answer.write_bytes(_invoke(laptop, COMMENTS[:1]))
    artifacts = ("--artifacts", served.artifacts.rsplit("/", 2)[0])
    account = laptop.environment["PRODUCTION_ACCOUNT"]
    role = ("--production-role", f"arn:aws:iam::{account}:role/modelbuild-deploy")
    text = laptop.modelbuild("trace", "--prediction", str(answer), *artifacts, *role)
    assert served.get()["web_url"] in text
    assert served.get()["commit"] in text
    assert re.search(r"endpoint sentiment since \S+\n", text)
    traced = json.loads(laptop.modelbuild("trace", served.model_id, *artifacts, "--json"))
    assert traced["deployment"]["endpoint"] == "sentiment"
    assert traced["deployment"]["approver"]["name"]


def test_faults_of_all_services_cost_no_step_twice(repeated: Running) -> None:
    """While services throttle, fail and stay silent and keys expire: one head, each step of the flow is done
    once, and notify is green.
    """
    (notify,) = repeated.jobs("notify")
    assert notify["state"] == "passed", repeated.job_log(notify)
    assert repeated.get()["meta_data"]["training/status"] == "succeeded"
    assert repeated.annotations()["training"]["style"] == "success"
    (head,) = repeated.heads()
    assert (head["status"], len(head["attempts"])) == ("SUCCEEDED", 1)
    done = sorted(job["jobName"].split("-")[3] for job in repeated.steps())
    assert done == ["evaluate", "notify_buildkite", "start", "train"]


def test_the_same_request_gives_the_same_bytes(served: Running, repeated: Running) -> None:
    """Two trainings with the same parameters and data end in byte-identical weights."""
    one, two = served.manifest(), repeated.manifest()
    assert one.request.parameters_sha256 == two.request.parameters_sha256
    assert one.data.sha256 == two.data.sha256
    assert one.artifact.files["model.safetensors"] == two.artifact.files["model.safetensors"]


def test_deploy_refuses_a_model_that_was_changed(laptop: Laptop, served: Running, repeated: Running) -> None:
    """Bytes that do not match the manifest stop the deployment; the endpoint goes on as before."""
    (deploy,) = repeated.jobs("deploy")
    assert (deploy["state"], deploy["exit_status"]) == ("failed", 14)
    assert "SHA-256" in repeated.job_log(deploy)
    assert repeated.get()["state"] == "failed"
    copied = laptop.aws("s3", laptop.production).list_objects_v2(
        Bucket=f"modelbuild-{laptop.environment['PRODUCTION_ACCOUNT']}",
        Prefix=f"models/{repeated.pipeline}/{repeated.model_id}/",
    )
    assert copied["KeyCount"] == 0
    assert Predictions.model_validate_json(_invoke(laptop, COMMENTS)).model_id == served.model_id


def _invoke(laptop: Laptop, texts: list[str]) -> bytes:
    answer = laptop.aws("sagemaker-runtime", laptop.production).invoke_endpoint(
        EndpointName="sentiment", ContentType="application/json", Body=json.dumps({"instances": texts})
    )
    body: bytes = answer["Body"].read()
    return body


def _waits_for_block(build: Running) -> bool | None:
    """True once the head's log says that it waits for the block step."""
    streams = [head["container"].get("logStreamName") for head in build.heads_now()]
    if not any(streams):
        return None
    events = build.laptop.aws("logs").filter_log_events(logGroupName=LOG_GROUP, logStreamNames=streams)
    return any("waiting until it is blocked" in event["message"] for event in events["events"]) or None


def _moment(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
