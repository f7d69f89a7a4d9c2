from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import recorded
import trained
from memory import MemoryObjects
from modelbuild.aws.storage import Storage
from modelbuild.contract import Decision, Deployment, TrainingRequest, TrainingResult, request_uri
from modelbuild.errors import AwsError, ConfigurationError, VerificationFailed
from modelbuild.lineage.trace import Trace, render, trace
from modelbuild.store.decisions import DecisionStore
from modelbuild.store.deployments import DeploymentHistory, root_of
from modelbuild.store.model import ModelStore

ROOT = "s3://modelbuild-123456789012/models/comments"
MODELS = f"{ROOT}/sentiment"
MODEL = Path(__file__).parents[1] / "data" / "model-12"


def test_a_deployed_model_leads_back_to_everything(lake: Storage, golden: Callable[[str, str], None]) -> None:
    """Build, commit, creator, parameters, data, query, image, quality, W&B, approver and endpoint."""
    golden("deployed.txt", render(trace(ROOT, "12", lake, lake)) + "\n")


def test_a_model_that_was_replaced_says_until_when(lake: Storage) -> None:
    """No trace says that a model is served after another took its place, nor where that cannot be known."""
    deployment = Deployment.model_validate_json(lake.read(f"{MODELS}/12/deployment.json"))
    history = DeploymentHistory(lake, root_of(deployment), "sentiment")
    history.append(deployment, changed=True)
    assert "endpoint sentiment since 2026-01-02T04:05:06+00:00\n" in render(trace(ROOT, "12", lake, lake))
    later = {"model_id": "15", "endpoint_config": "sentiment-15", "deployed_at": "2026-01-02T14:00:00+00:00"}
    history.append(deployment.model_copy(update=later), changed=True)
    text = render(trace(ROOT, "12", lake, lake))
    assert "endpoint sentiment, from 2026-01-02T04:05:06+00:00 until 2026-01-02T14:00:00+00:00\n" in text
    assert "replaced by model sentiment 15 of comments\n" in text
    elsewhere = deployment.model_copy(
        update={"model_path": "s3://modelbuild-nowhere/m/comments/sentiment/12/model.tar.gz"}
    )
    lake.write(f"{MODELS}/12/deployment.json", elsewhere.to_json().encode())
    text = render(trace(ROOT, "12", lake, lake))
    assert "since" not in text
    assert re.search(r"whether it still serves this model is not known: .*NoSuchBucket", text)


def test_a_model_that_came_back_is_served_by_the_history(lake: Storage) -> None:
    """A deploy step may be killed when the history has its record, before it writes the one beside the model:
    the model that the endpoint serves again was not replaced.
    """
    deployment = Deployment.model_validate_json(lake.read(f"{MODELS}/12/deployment.json"))
    history = DeploymentHistory(lake, root_of(deployment), "sentiment")
    for model_id, day in (("12", 1), ("13", 2), ("12", 3)):
        later = {"model_id": model_id, "endpoint_config": f"sentiment-{model_id}-{day}"}
        later["deployed_at"] = f"2026-01-0{day}T00:00:00+00:00"
        history.append(deployment.model_copy(update=later), changed=True)
    text = render(trace(ROOT, "12", lake, lake))
    assert "endpoint sentiment since 2026-01-03T00:00:00+00:00\n" in text
    assert "replaced" not in text


def test_a_missing_record_of_the_next_deployment_is_not_taken_for_none(lake: Storage) -> None:
    """Retention may delete the record of the deployment that replaced a model: later ones show that there was
    one.
    """
    deployment = Deployment.model_validate_json(lake.read(f"{MODELS}/12/deployment.json"))
    history = DeploymentHistory(lake, root_of(deployment), "sentiment")
    for model_id in ("12", "13", "14"):
        later = {"model_id": model_id, "endpoint_config": f"sentiment-{model_id}"}
        history.append(deployment.model_copy(update=later), changed=True)
    lake.delete(f"{history.folder}/2.json")
    text = render(trace(ROOT, "12", lake, lake))
    assert "since" not in text
    assert "is not known: " in text
    assert "has no deployment 2 any more, and ends with 3, of model sentiment 14" in text


def test_an_unreadable_record_of_the_next_deployment_hides_nothing_else(lake: Storage) -> None:
    """The trace of a model does not depend on the record of another one; it says what is not known."""
    deployment = Deployment.model_validate_json(lake.read(f"{MODELS}/12/deployment.json"))
    history = DeploymentHistory(lake, root_of(deployment), "sentiment")
    history.append(deployment, changed=True)
    lake.write(f"{history.folder}/2.json", b"{}")
    text = render(trace(ROOT, "12", lake, lake))
    assert re.search(r"whether it still serves this model is not known: .*/2\.json is not a deployment", text)


def test_each_endpoint_that_serves_a_model_is_named(lake: Storage) -> None:
    """A build may deploy its model to several endpoints, of which the model's own record names the last one:
    the histories of the others say which of them serve it now.
    """
    last = Deployment.model_validate_json(lake.read(f"{MODELS}/12/deployment.json"))
    decisions = DecisionStore(lake, f"{MODELS}/12")
    for endpoint in (last.endpoint, "eu", "us", "edge", "asia"):
        decisions.write(
            Decision.model_validate(
                {
                    **last.model_dump(include={"model", "model_id", "manifest_sha256", "approver", "reason"}),
                    "endpoint": endpoint,
                    "decision": "reject" if endpoint == "edge" else "deploy",
                    "decided_at": last.deployed_at,
                }
            )
        )
    for endpoint, model_ids in (("eu", ["11", "12"]), ("us", ["12", "13"]), ("asia", ["12"])):
        history = DeploymentHistory(lake, root_of(last), endpoint)
        for model_id in model_ids:
            own = {
                "endpoint": endpoint,
                "model_id": model_id,
                "deployed_at": f"2026-03-04T00:00:{model_id}+00:00",
            }
            history.append(last.model_copy(update=own), changed=True)
    asia = DeploymentHistory(lake, root_of(last), "asia")
    lake.delete(f"{asia.folder}/current.json")  # its writer was stopped after the record
    lake.write(f"{DeploymentHistory(lake, root_of(last), 'us').folder}/3.json", b"damaged")
    lines = render(trace(ROOT, "12", lake, lake)).splitlines()
    assert "                endpoint asia since 2026-03-04T00:00:12+00:00" in lines
    assert f"  deployment    endpoint sentiment since {last.deployed_at}" in lines
    assert "                endpoint eu since 2026-03-04T00:00:12+00:00" in lines
    assert (
        "                approved for endpoint us as well: it is not known to serve this model now" in lines
    )
    assert not any("endpoint edge" in line for line in lines if "rejected" not in line)


def test_a_manifest_with_facts_of_its_own_is_refused(lake: Storage) -> None:
    """Build, commit and creator of a model are those of its request, and not what the flow says."""
    uri = f"{MODELS}/12/manifest.json"
    document = json.loads(lake.read(uri))
    document["request"]["build"]["creator"] = "somebody else"
    lake.write(uri, json.dumps(document).encode())
    with pytest.raises(VerificationFailed, match=r"the build in .*12/manifest\.json is not the one of"):
        trace(ROOT, "12", lake, lake)


def test_a_slash_at_the_end_changes_nothing(lake: Storage) -> None:
    """People complete paths with a slash."""
    assert trace(ROOT + "/", "12", lake, lake) == trace(ROOT, "12", lake, lake)


@pytest.mark.parametrize(
    ("missing", "name"),
    [
        (["deployment.json"], "trained.txt"),
        (["deployment.json", "manifest.json", "result.json"], "training.txt"),
    ],
)
def test_missing_records_are_named(
    lake: Storage, missing: list[str], name: str, golden: Callable[[str, str], None]
) -> None:
    """A model that is trained, and one that is being trained, are traced as far as they came."""
    for file in missing:
        lake.delete(f"{MODELS}/12/{file}")
    golden(name, render(trace(ROOT, "12", lake, lake)) + "\n")


def test_the_newest_attempt_is_what_is_traced(lake: Storage, golden: Callable[[str, str], None]) -> None:
    """A training that failed and was attempted again has ended as its newest attempt did, or not yet."""
    failed = TrainingResult(status="failed", reason="ValueError: no rows")
    succeeded = lake.read(f"{MODELS}/12/result.json")
    lake.write(f"{MODELS}/12/result.json", failed.to_json().encode())
    lake.write(f"{MODELS}/12/job.json", b'{"job_id": "a-job", "queue": "q", "region": "r", "attempt": 2}')
    assert trace(ROOT, "12", lake, lake).result is None
    lake.write(f"{MODELS}/12/attempts/2/result.json", succeeded)
    golden("deployed.txt", render(trace(ROOT, "12", lake, lake)) + "\n")


def test_a_failed_training_is_traced_with_its_reason(lake: Storage) -> None:
    """There is no model, and the trace says why."""
    for file in ("deployment.json", "manifest.json"):
        lake.delete(f"{MODELS}/12/{file}")
    failed = TrainingResult(status="failed", reason="ValueError: no rows")
    lake.write(f"{MODELS}/12/result.json", failed.to_json().encode())
    text = render(trace(ROOT, "12", lake, lake))
    assert "failed: ValueError: no rows" in text
    assert "not deployed" in text


def test_a_trace_is_read_back_from_its_json(lake: Storage) -> None:
    """Programs get the very documents that lie in S3."""
    found = trace(ROOT, "12", lake, lake)
    document = json.loads(found.to_json())
    assert document["manifest"] == json.loads((MODEL / "manifest.json").read_bytes())
    assert document["deployment"]["approver"]["name"] == "Grace Hopper"
    assert Trace.model_validate_json(found.to_json()) == found


def test_an_unknown_model_is_a_sentence_with_the_newest_models(lake: Storage) -> None:
    """The error for an unknown id lists the ids by number, the newest first, and no other folders."""
    request = (MODEL / "request.json").read_bytes()
    for number in ("2", "9", "100", "100.2", "100.10", "1..2", ".", "007", "200.", "300/data"):
        lake.write(request_uri(f"{MODELS}/{number}"), request)
    with pytest.raises(
        ConfigurationError, match=r"no model 13 .*: it has sentiment 100\.10, 100\.2, 100, 12, 9, …$"
    ):
        trace(ROOT, "13", lake, lake)


def test_prefix_without_models_is_reported_as_wrong(lake: Storage) -> None:
    """A wrong pipeline is not a wrong id."""
    with pytest.raises(ConfigurationError, match="no model lies there, so correct --artifacts"):
        trace("s3://modelbuild-123456789012/models/reviews", "12", lake, lake)


@pytest.mark.parametrize("model_id", ["", "0", "abc", "12/../13", "12\n", "\uff11\uff12"])
def test_what_is_no_id_is_refused_before_anything_is_read(lake: Storage, model_id: str) -> None:
    """An id is a build's number; anything else never becomes part of a path."""
    with pytest.raises(ConfigurationError, match="is no model id"):
        trace(ROOT, model_id, lake, lake)


def test_no_bucket_is_a_sentence(lake: Storage) -> None:
    """What AWS refuses is not mistaken for a missing model."""
    with pytest.raises(AwsError, match="NoSuchBucket"):
        trace("s3://modelbuild-nowhere/models/comments", "12", lake, lake)


@pytest.mark.parametrize("name", ["request.json", "manifest.json", "deployment.json"])
def test_a_file_that_is_not_what_its_name_says_is_named(lake: Storage, name: str) -> None:
    """A damaged record is not passed over."""
    lake.write(f"{MODELS}/12/{name}", b'{"version": 2}')
    with pytest.raises(VerificationFailed, match=f"{MODELS}/12/{name} is not a "):
        trace(ROOT, "12", lake, lake)


def test_another_models_files_are_refused(lake: Storage) -> None:
    """A record that was moved would lead to the wrong build."""
    lake.write(f"{MODELS}/14/request.json", (MODEL / "request.json").read_bytes())
    with pytest.raises(
        VerificationFailed, match=r"request of another build .its model id is 12.: its files were moved"
    ):
        trace(ROOT, "14", lake, lake)


def test_a_result_that_cannot_be_read_is_a_failure(lake: Storage) -> None:
    """Whatever wrote it, it was no training that succeeded."""
    lake.write(f"{MODELS}/12/result.json", b'{"version": 2}')
    assert "failed: " in render(trace(ROOT, "12", lake, lake))


def test_models_of_one_build_are_reported_apart(lake: Storage) -> None:
    """An id that two models of a pipeline have needs the name of one; the name is no longer needed else."""
    request = TrainingRequest.model_validate_json((MODEL / "request.json").read_bytes())
    prefix = f"{ROOT}/topics/12"
    source = request.source.model_copy(update={"path": f"{prefix}/source.tar.gz"})
    other = request.model_copy(update={"model": "topics", "artifacts": prefix, "source": source})
    lake.write(f"{prefix}/request.json", other.to_json().encode())
    with pytest.raises(
        ConfigurationError, match=r"sentiment, topics of .* have id 12: say which with --model"
    ):
        trace(ROOT, "12", lake, lake)
    assert trace(ROOT, "12", lake, lake, model="topics").request == other
    assert trace(ROOT, "12", lake, lake, model="sentiment").request == request
    with pytest.raises(ConfigurationError, match=r"no model topics 13 in .*: it has topics 12$"):
        trace(ROOT, "13", lake, lake, model="topics")


def test_no_value_steers_a_terminal(lake: Storage) -> None:
    """A commit message with escape sequences is shown, not obeyed."""
    request = TrainingRequest.model_validate_json((MODEL / "request.json").read_bytes())
    build = request.build.model_copy(update={"message": "\x1b[2Jgone\x07"})
    hostile = request.model_copy(update={"build": build, "parameters": {"a": "\x1b]0;x\x07"}})
    lake.write(f"{MODELS}/12/request.json", hostile.to_json().encode())
    text = render(trace(ROOT, "12", lake, lake))
    assert "gone" in text
    assert not {"\x1b", "\x07"} & set(text)


@pytest.mark.parametrize(
    ("number", "name"), [(2, "candidate-offered.txt"), (3, "candidate.txt"), (4, "candidate-failed.txt")]
)
def test_each_candidate_of_a_sweep_is_traced(
    number: int, name: str, golden: Callable[[str, str], None]
) -> None:
    """Also one that did not become a model leads to its build, parameters, rank, data and W&B run."""
    objects, request = MemoryObjects(), recorded.sweep_request(12)
    board = recorded.put_sweep(
        objects,
        request,
        [
            recorded.row("12.2", 0.5, 0.652, rank=1, low=0.64, high=0.664, offered=True),
            recorded.row("12.3", 2.0, 0.641, rank=2, low=0.63, high=0.652),
            recorded.row("12.4", 0.1, None, status="failed", reason="ValueError: it diverged"),
        ],
    )
    recorded.put_ranked(objects, request, board.rows[1])
    best = recorded.candidate(request, 2, 0.5, metric=0.64)
    recorded.put(objects, best)
    ModelStore(objects, request.artifacts).attempt(1).write_result_once(trained.result_of(best))
    root = request.artifacts.rsplit("/", 2)[0]
    golden(name, render(trace(root, f"12.{number}", objects, objects)) + "\n")
    with pytest.raises(ConfigurationError, match=r"there is no model 12\.5 in "):
        trace(root, "12.5", objects, objects)


@pytest.mark.parametrize("env", [{}, {"MODEL_ID": "none"}, {"MODEL_ID": "12.2"}])
def test_a_sweep_whose_result_names_no_model_is_traced(env: dict[str, str]) -> None:
    """A flow can write the result, and nothing of it is relied on; the sweep itself leads to its build."""
    objects, request = MemoryObjects(), recorded.sweep_request(12)
    recorded.put_sweep(objects, request, [recorded.row("12.2", 0.5, 0.652, rank=1, offered=True)])
    result = TrainingResult(status="succeeded", env=env)
    ModelStore(objects, request.artifacts).attempt(1).write_result_once(result)
    text = render(trace(request.artifacts.rsplit("/", 2)[0], "12", objects, objects))
    assert (
        "best          model 12.2" if env.get("MODEL_ID") == "12.2" else "best          not known"
    ) in text


def test_manifest_of_a_candidate_is_of_its_sweep() -> None:
    """A manifest that a flow has written with another build is refused."""
    objects, request = MemoryObjects(), recorded.sweep_request(12)
    board = recorded.put_sweep(objects, request, [recorded.row("12.3", 2.0, 0.641, rank=1)])
    elsewhere = request.build.model_copy(update={"commit": "d" * 40})
    recorded.put_ranked(objects, request.model_copy(update={"build": elsewhere}), board.rows[0])
    root = request.artifacts.rsplit("/", 2)[0]
    with pytest.raises(VerificationFailed, match=r"^the manifest of candidate 12\.3 in .*/sweep is of model"):
        trace(root, "12.3", objects, objects)
