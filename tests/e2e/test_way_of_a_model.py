"""The way of two models from a commit to traced predictions, with the real agent, Metaflow and trainings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest

from laptop import PREPARED, Laptop
from modelbuild.contract import Predictions, TrainingResult
from modelbuild.flow.convergence import of_curves
from request_faults import injected_faults
from running_build import Running, eventually
from waiting import SECONDS

pytestmark = pytest.mark.e2e

_UNBLOCK_LOOKUP = "GET */jobs?step_key=training_finished"

TEXTS = {
    "sentiment": ["What a wonderful day, thank you all!", "This is a terrible idea."],
    "topics": ["The striker scored twice in the second half.", "Shares fell after the bank reported a loss."],
}
"""What the endpoint of each model of this repository's own pipeline is asked."""

LABELS = {"sentiment": ["positive", "negative"], "topics": ["sports", "business"]}

each_model = pytest.mark.parametrize("model", list(TEXTS))


@pytest.fixture(scope="module")
def served(laptop: Laptop) -> Iterator[Running]:
    """The build of this repository's own pipeline, both models approved, and over."""
    with laptop.build() as build:
        for model in TEXTS:
            build.reaches(f"{model}_approve", "blocked", "broken", seconds=300)
        again = build.jobs("sentiment_train")[-1]
        laptop.client.put(f"{build.path}/jobs/{again['id']}/retry", {})
        build.reaches("sentiment_train", "passed", "failed")
        for model in TEXTS:
            build.unblock(f"{model}_approve")
        build.over()
        build.process.wait(SECONDS)
        yield build


@pytest.fixture(scope="module")
def repeated(laptop: Laptop, served: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The same request for sentiment in the next build, whose only model it is, and which is green while all
    services fail again and again.

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
        aws = stack.enter_context(injected_faults(laptop.state.aws_url, laptop.state.aws_secret))
        buildkite = stack.enter_context(injected_faults(laptop.state.buildkite_url, laptop.state.api_token))
        stack.callback(aws.limit_key_lifetime, 43200)
        aws.limit_key_lifetime(5)
        aws.add("batch POST /v1/submitjob", status=429, code="TooManyRequestsException", every=2)
        aws.add("batch *", status=400, code="ThrottlingException", every=5)
        # The step that asks writes it, and the head reads it.
        aws.add("s3 * */request.json", status=503, code="SlowDown", every=2)
        aws.add("s3 *", status=503, code="SlowDown", every=150)
        aws.add("athena *", status=400, code="ThrottlingException", every=3)
        aws.add("secretsmanager *", status=400, code="ThrottlingException", every=2)
        # The log of the step is no sign of it: Metaflow uploads the last lines once, and a refused upload
        # comes again with the next line only.
        buildkite.add(_UNBLOCK_LOOKUP, status=500, count=1)
        build = stack.enter_context(laptop.build("--pipeline", PREPARED))
        eventually(lambda: buildkite.struck()[0] or None, "delivery of the result", 400)
        assert build.jobs("training_finished")[-1]["state"] != "blocked"
        assert json.loads(build.object("result.json"))["training/status"] == "succeeded", build.object(
            "result.json"
        )
        buildkite.add(_UNBLOCK_LOOKUP, status=429, headers={"Retry-After": "1"}, count=1)
        buildkite.add(_UNBLOCK_LOOKUP, silence=2, count=1)
        gate.touch()
        build.reaches("approve", "blocked", "broken", seconds=300)
        assert all(aws.struck())
        assert buildkite.struck() == [1, 1, 1]
        aws.clear()
        aws.limit_key_lifetime(43200)
        build.put_object("model.tar.gz", build.object("model.tar.gz")[:-1] + b"!")
        build.unblock("approve")
        build.over()
        yield build


@each_model
def test_a_commit_becomes_served_models(laptop: Laptop, served: Running, model: str) -> None:
    """Every step passes, `local run` says so, and live predictions carry the model's name and the build's
    number.
    """
    build = served.get()
    assert build["state"] == "passed", served.log.read_text()
    assert served.process.returncode == 0
    answer = Predictions.model_validate_json(_invoke(laptop, model, TEXTS[model]))
    assert answer.model_id == served.model_id
    assert [one.output["label"] for one in answer.predictions] == LABELS[model]
    assert {(one.model, one.model_id) for one in answer.predictions} == {(model, served.model_id)}


@each_model
def test_the_block_hands_the_result_over(served: Running, model: str) -> None:
    """The API unblocks the step, and its fields are a whole TrainingResult."""
    own = served.of(model)
    (job,) = served.jobs(f"{model}_finished")
    assert job["state"] == "unblocked"
    fields = served.get()["meta_data"].items()
    result = TrainingResult.from_fields({key.removeprefix(f"{model}/"): value for key, value in fields})
    assert result.status == "succeeded"
    assert result.model_path == f"{own.artifacts}/model.tar.gz"
    assert result.model_sha256 == own.manifest().artifact.sha256
    assert (result.env["MODEL_NAME"], result.env["MODEL_ID"]) == (model, served.model_id)
    assert result.image == own.request().images.serve
    assert result.wandb_run_url.startswith("http://127.0.0.1:")


def test_the_models_are_better_than_what_needs_no_training(served: Running) -> None:
    """On held-out documents, macro-F1 of sentiment is at least 0.60 and above VADER's, that of topics is at
    least 0.80, and the majority of the labels is worse than any of them.
    """
    evaluation = served.manifest().evaluation
    vader, majority = (evaluation.baselines[name] for name in ("vader", "majority"))
    assert evaluation.overall.metrics["macro_f1"] >= 0.60
    assert vader.rows == evaluation.overall.rows
    assert evaluation.overall.metrics["macro_f1"] > vader.metrics["macro_f1"]
    assert vader.metrics["macro_f1"] > majority.metrics["macro_f1"]
    topics = served.of("topics").manifest().evaluation
    assert topics.overall.metrics["macro_f1"] >= 0.80
    assert topics.overall.metrics["macro_f1"] > topics.baselines["majority"].metrics["macro_f1"]


@each_model
def test_the_manifest_says_how_the_training_went(served: Running, model: str) -> None:
    """All rows of the snapshot are accounted for, no evaluation text was trained on, and the loss fell."""
    manifest = served.of(model).manifest()
    training = manifest.training
    assert training is not None
    evaluated, dropped = manifest.evaluation.overall.rows, sum(training.dropped.values())
    assert training.rows + evaluated + dropped == manifest.data.rows
    assert sum(training.labels.values()) == training.rows
    assert training.exact_duplicates == 0
    losses = [point.values["loss"] for point in training.curve]
    assert len(losses) == manifest.request.values_of(["training.epochs"])["training.epochs"]
    assert losses == sorted(losses, reverse=True)
    ended = of_curves({"loss": [*enumerate(losses)]})
    assert (training.converged, training.improving) == (ended.converged, ended.improving)
    assert [run.step for run in manifest.steps] == ["start", "train", "evaluate", "notify_buildkite"]
    assert all(run.seconds > 0 and run.cpu for run in manifest.steps)


@each_model
def test_no_agent_is_held_while_batch_trains(served: Running, model: str) -> None:
    """From the end of `train` to the unblock no agent has a job of the model, and that is when Batch does the
    steps.
    """
    first = served.jobs(f"{model}_train")[0]
    (block,) = served.jobs(f"{model}_finished")
    free = (_moment(first["finished_at"]), _moment(block["unblocked_at"]))
    scripts = [job for job in served.get()["jobs"] if job["type"] == "script"]
    others = tuple(f"{other}_" for other in TEXTS if other != model)
    busy = [
        (_moment(job["started_at"]), _moment(job["finished_at"]))
        for job in scripts
        if not (job["step_key"] or "").startswith(others)
    ]
    assert all(end <= free[0] or start >= free[1] for start, end in busy)
    worked = [(step["startedAt"] / 1000, step["stoppedAt"] / 1000) for step in served.of(model).steps()]
    assert len(worked) == 4
    # The last step is the one that unblocks, so it ends after that.
    assert all(free[0] < start and end < free[1] for start, end in sorted(worked)[:3])


def test_two_models_are_trained_at_the_same_time(served: Running) -> None:
    """The trainings of a build overlap: neither waits for the other."""
    ranges = [
        (min(step["startedAt"] for step in steps), max(step["stoppedAt"] for step in steps))
        for steps in (served.of(model).steps() for model in TEXTS)
    ]
    assert max(start for start, _ in ranges) < min(end for _, end in ranges)


def test_a_retried_step_trains_once(served: Running) -> None:
    """The retried `train` job attaches to the training that is there, and one head is all there ever was."""
    first, second = served.jobs("sentiment_train")
    assert (first["state"], second["state"]) == ("passed", "passed")
    (head,) = served.heads()
    assert head["jobId"] in served.job_log(first)
    assert f"attached to job {head['jobId']}" in served.job_log(second)


@each_model
def test_the_build_page_says_what_a_person_needs(served: Running, model: str) -> None:
    """For each model one annotation about the training, the W&B link before all else, and one about the
    endpoint.
    """
    notes = served.annotations()
    assert set(notes) == {f"{name}/{about}" for name in TEXTS for about in ("training", f"deployment/{name}")}
    html = notes[f"{model}/training"]["body_html"]
    manifest = served.of(model).manifest()
    assert html.index(manifest.wandb.url) == html.index("href=") + len('href="')
    assert manifest.request.parameters_sha256[:12] in html


@each_model
def test_a_prediction_leads_back_to_its_commit(
    laptop: Laptop, served: Running, model: str, tmp_path: Path
) -> None:
    """`modelbuild trace` goes from a stored answer to build, commit, approver and endpoint."""
    answer = tmp_path / "answer.json"
    answer.write_bytes(_invoke(laptop, model, TEXTS[model][:1]))
    artifacts = ("--artifacts", served.artifacts.rsplit("/", 2)[0])
    account = laptop.environment["PRODUCTION_ACCOUNT"]
    role = ("--production-role", f"arn:aws:iam::{account}:role/modelbuild-deploy")
    text = laptop.modelbuild("trace", "--prediction", str(answer), *artifacts, *role)
    assert served.get()["web_url"] in text
    assert served.get()["commit"] in text
    assert re.search(rf"endpoint {model} since \S+\n", text)
    traced = json.loads(laptop.modelbuild("trace", served.model_id, "--model", model, *artifacts, "--json"))
    assert traced["deployment"]["endpoint"] == model
    assert traced["deployment"]["approver"]["name"]


def test_faults_of_all_services_cost_no_step_twice(repeated: Running) -> None:
    """While services throttle, fail and stay silent and keys expire: one head, each step of the flow is done
    once, and notify is green.
    """
    (notify,) = repeated.jobs("notify")
    assert notify["state"] == "passed", repeated.job_log(notify)
    assert repeated.get()["meta_data"]["training/status"] == "succeeded"
    page = repeated.annotations()["training"]
    assert page["style"] == "info"
    assert "No difference from the live model sentiment" in page["body_html"]
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
        Prefix=f"models/{repeated.pipeline}/sentiment/{repeated.model_id}/",
    )
    assert copied["KeyCount"] == 0
    answer = _invoke(laptop, "sentiment", TEXTS["sentiment"])
    assert Predictions.model_validate_json(answer).model_id == served.model_id


def _invoke(laptop: Laptop, endpoint: str, texts: list[str]) -> bytes:
    answer = laptop.aws("sagemaker-runtime", laptop.production).invoke_endpoint(
        EndpointName=endpoint, ContentType="application/json", Body=json.dumps({"instances": texts})
    )
    body: bytes = answer["Body"].read()
    return body


def _moment(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
