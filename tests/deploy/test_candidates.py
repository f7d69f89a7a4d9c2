"""A candidate of a sweep in production: the one whose rank a person chose, and no other."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelbuild.contract import CandidateGates, Deployment, Predictions
from modelbuild.deploy import command
from modelbuild.errors import ConfigurationError, Rejected
from modelbuild.lineage.trace import render, trace
from modelbuild.store.decisions import DecisionStore
from modelbuild.store.deployments import DeploymentHistory
from modelbuild.store.model import ModelStore

MODELS = "s3://modelbuild-222222222222/models"


def test_the_chosen_candidate_is_served_and_traced(deployer: Any) -> None:
    """Its id is in predictions, tags, history and records, and leads back to the sweep of its build."""
    stored = deployer.sweep(301)
    chosen = stored.manifests[1].request
    deployer.agent.meta_data |= {"deploy/candidate": "2", "deploy/reason": "the smallest of them"}
    command.run(deployer.settings("candidates"))

    answer = deployer.account.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="candidates",
        ContentType="application/json",
        Body=json.dumps({"instances": ["fine"]}),
    )
    assert Predictions.model_validate_json(answer["Body"].read()).model_id == chosen.model_id
    current = DeploymentHistory(deployer.production, MODELS, "candidates").current()
    assert current is not None
    assert current.model_id == chosen.model_id
    assert current.endpoint_config.startswith(f"candidates-{chosen.model_id.replace('.', '-')}-")
    assert current.model_path == f"{MODELS}/comments/sentiment/{chosen.model_id}/model.tar.gz"
    assert current.model_sha256 == stored.manifests[1].artifact.sha256
    endpoint = deployer.sagemaker.describe_endpoint(EndpointName="candidates")
    tags = deployer.sagemaker.list_tags(ResourceArn=endpoint["EndpointArn"])["Tags"]
    assert {"Key": "MODEL_ID", "Value": chosen.model_id} in tags

    store = ModelStore(deployer.lake, chosen.artifacts)
    [decided] = DecisionStore(deployer.lake, chosen.artifacts).all()
    assert (decided.model_id, decided.decision) == (chosen.model_id, "deploy")
    assert store.deployment() == current
    assert DecisionStore(deployer.lake, stored.request.artifacts).all() == ()
    others = {one.request.model_id for one in stored.manifests} - {chosen.model_id}
    assert not any(deployer.production.list(f"{MODELS}/comments/sentiment/{one}/") for one in others)

    deployer.lake.write(f"{stored.request.artifacts}/result.json", stored.result.to_json().encode())
    root = stored.request.artifacts.rsplit("/", 2)[0]
    text = render(trace(root, chosen.model_id, deployer.lake, deployer.production))
    number = chosen.model_id.partition(".")[2]
    assert f"sweep         candidate {number} of the sweep of build 301, which set\n" in text
    assert f"seed: {chosen.parameters['seed']}\n" in text
    assert stored.request.build.url in text
    assert "c" * 40 in text
    assert "training      of the sweep: succeeded" in text
    assert "approver      Grace Hopper <grace@example.org>" in text
    assert "endpoint candidates since" in text
    sweep = render(trace(root, "301", deployer.lake, deployer.production))
    assert f"best          model {stored.manifests[0].request.model_id}\n" in sweep


def test_the_best_is_served_where_the_step_does_not_ask(deployer: Any) -> None:
    """A block step without the field deploys what the page was about."""
    stored = deployer.sweep(311)
    command.run(deployer.settings("best-one"))
    current = DeploymentHistory(deployer.production, MODELS, "best-one").current()
    assert isinstance(current, Deployment)
    assert current.model_id == stored.manifests[0].request.model_id


def test_a_rank_that_was_not_offered_reaches_no_production(deployer: Any) -> None:
    """Nothing is copied, and nothing decided."""
    stored = deployer.sweep(321)
    deployer.agent.meta_data |= {"deploy/candidate": "4"}
    with pytest.raises(ConfigurationError, match="notify offered 3 candidates"):
        command.run(deployer.settings("no-rank"))
    assert deployer.production.list(f"{MODELS}/comments/sentiment/321") == []
    assert all(DecisionStore(deployer.lake, one.request.artifacts).all() == () for one in stored.manifests)


@pytest.mark.parametrize(
    ("required", "message"),
    [(True, "and choose a candidate that meets them"), (False, "gave no reason to deploy it")],
)
def test_a_gate_holds_for_the_candidate_that_is_chosen(deployer: Any, required: bool, message: str) -> None:
    """That the best one meets the gates lets no other one through."""
    stored = deployer.sweep(331 + required)
    second = stored.manifests[1].request.model_id
    gates = CandidateGates(required=required, failed={second: "macro-F1"})
    deployer.agent.meta_data |= {
        "deploy/candidate": "2",
        "notify/gates/failed": "none",
        "notify/candidates/gates": gates.model_dump_json(),
    }
    with pytest.raises(Rejected, match=rf"does not meet the gates.*\(macro-F1.*{message}"):
        command.run(deployer.settings("gated"))
    page = deployer.agent.annotations[-1]
    assert (page.context, page.style) == ("deployment/gated", "warning")
    assert "does not meet the gates" in page.body
    [decided] = DecisionStore(deployer.lake, stored.manifests[1].request.artifacts).all()
    assert (decided.decision, decided.failed_gates) == ("deploy", "macro-F1")
    endpoints = deployer.sagemaker.list_endpoints()["Endpoints"]
    assert "gated" not in [endpoint["EndpointName"] for endpoint in endpoints]
