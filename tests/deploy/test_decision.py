from __future__ import annotations

from typing import Any

import pytest

from modelbuild.contract import Decision, Manifest
from modelbuild.deploy import command
from modelbuild.errors import ConfigurationError, ModelbuildError, Rejected, VerificationFailed
from modelbuild.lineage.trace import render, trace
from modelbuild.store.decisions import DecisionStore
from modelbuild.store.model import ModelStore


def decided(deployer: Any, manifest: Manifest, endpoint: str) -> Any:
    """The decision on record for an endpoint."""
    return DecisionStore(deployer.lake, manifest.request.artifacts).read(endpoint)


def test_a_rejected_model_is_not_deployed_and_the_reason_is_on_record(deployer: Any) -> None:
    """The select of the block step decides; nothing reaches production, and trace tells who rejected it."""
    manifest = deployer.train(71)
    deployer.agent.meta_data |= {"deploy/decision": "reject", "deploy/reason": "worse on <tweets>"}
    with pytest.raises(Rejected, match=r"Grace Hopper rejected model sentiment 71 \(worse on <tweets>\)"):
        command.run(deployer.settings("rejected"))
    [(context, style, body)] = deployer.agent.annotations
    assert (context, style) == ("deployment/rejected", "warning")
    assert "worse on &lt;tweets&gt;" in body
    record = decided(deployer, manifest, "rejected")
    assert (record.decision, record.reason) == ("reject", "worse on <tweets>")
    assert record.approver.email == "grace@example.org"
    endpoints = deployer.sagemaker.list_endpoints()["Endpoints"]
    assert "rejected" not in [endpoint["EndpointName"] for endpoint in endpoints]
    root = manifest.request.artifacts.rsplit("/", 2)[0]
    lines = render(trace(root, "71", deployer.lake, deployer.production))
    assert "rejected      for endpoint rejected, by Grace Hopper" in lines
    assert "worse on <tweets>" in lines


def test_a_rejection_holds_for_a_retried_step(deployer: Any) -> None:
    """A decision is written once: another value in meta-data does not replace it."""
    deployer.train(72)
    deployer.agent.meta_data |= {"deploy/decision": "reject"}
    with pytest.raises(Rejected, match="no reason was given"):
        command.run(deployer.settings("rejected"))
    deployer.agent.meta_data |= {"deploy/decision": "deploy"}
    with pytest.raises(Rejected, match="no reason was given"):
        command.run(deployer.settings("rejected"))


@pytest.mark.parametrize(
    ("number", "forged"),
    [
        (76, {"decision": "deploy"}),
        (77, {"approver": {"name": "Ada Lovelace", "email": "ada@example.org"}}),
        (79, {"reason": "it was agreed"}),
        (80, {"manifest_sha256": "0" * 64}),
    ],
)
def test_a_decision_that_another_program_wrote_is_refused(
    deployer: Any, number: int, forged: dict[str, Any]
) -> None:
    """A file that differs from what this job knows of the decision neither deploys nor is on a page."""
    manifest = deployer.train(number)
    deployer.agent.meta_data |= {
        "deploy/decision": "reject" if "decision" in forged else "deploy",
        "deploy/reason": "as discussed",
        "notify/gates/failed": "macro-F1",
    }
    own = {
        "model": "sentiment",
        "model_id": str(number),
        "endpoint": f"forged-{number}",
        "manifest_sha256": deployer.agent.meta_data["notify/manifest/sha256"],
        "decision": "deploy",
        "reason": "as discussed",
        "failed_gates": "macro-F1",
        "approver": {"name": "Grace Hopper", "email": "grace@example.org"},
        "decided_at": "2026-01-02T03:04:05+00:00",
    }
    recorded = Decision.model_validate({**own, **forged})
    uri = f"{manifest.request.artifacts}/decisions/forged-{number}.json"
    deployer.lake.write(uri, recorded.to_json().encode())
    differing = next(iter(forged))
    with pytest.raises(VerificationFailed, match=rf"has another decision than this job \({differing} is"):
        command.run(deployer.settings(f"forged-{number}"))
    assert deployer.agent.annotations == []
    endpoints = deployer.sagemaker.list_endpoints()["Endpoints"]
    assert f"forged-{number}" not in [endpoint["EndpointName"] for endpoint in endpoints]


def test_an_approver_may_have_another_name_by_now(deployer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users choose their names, and may marry: the step of an old build, retried to bring its model back, is
    still approved by the same user. Another user is none, whatever the name.
    """
    deployer.train(84)
    command.run(deployer.settings("renamed"))
    monkeypatch.setenv("BUILDKITE_UNBLOCKER", "Grace Murray")
    command.run(deployer.settings("renamed"))
    monkeypatch.setenv("BUILDKITE_UNBLOCKER_EMAIL", "ada@example.org")
    with pytest.raises(VerificationFailed, match=r"has another decision than this job \(approver is"):
        command.run(deployer.settings("renamed"))


def test_each_endpoint_has_a_decision_of_its_own(deployer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One build deploys to staging and then to production, each after a block step of its own: another
    person decides there, and may reject what staging serves.
    """
    manifest = deployer.train(81)
    monkeypatch.setenv("BUILDKITE_UNBLOCKER", "Ada Lovelace")
    monkeypatch.setenv("BUILDKITE_UNBLOCKER_EMAIL", "ada@example.org")
    command.run(deployer.settings("staging"))
    monkeypatch.setenv("BUILDKITE_UNBLOCKER", "Grace Hopper")
    monkeypatch.setenv("BUILDKITE_UNBLOCKER_EMAIL", "grace@example.org")
    deployer.agent.meta_data |= {"deploy/reason": "after a week in staging"}
    command.run(deployer.settings("production"))
    deployer.agent.meta_data |= {"deploy/decision": "reject", "deploy/reason": "too slow there"}
    with pytest.raises(Rejected, match="too slow there"):
        command.run(deployer.settings("edge"))
    decisions = DecisionStore(deployer.lake, manifest.request.artifacts).all()
    assert {(one.endpoint, one.decision, one.approver.name, one.reason) for one in decisions} == {
        ("staging", "deploy", "Ada Lovelace", ""),
        ("production", "deploy", "Grace Hopper", "after a week in staging"),
        ("edge", "reject", "Grace Hopper", "too slow there"),
    }
    root = manifest.request.artifacts.rsplit("/", 2)[0]
    lines = render(trace(root, "81", deployer.lake, deployer.production))
    assert "rejected      for endpoint edge, by Grace Hopper" in lines
    assert "deployment    endpoint production since" in lines


def test_a_rejection_for_one_endpoint_is_not_what_was_decided_for_another(deployer: Any) -> None:
    """Fields whose keys carry the endpoint hold for it, also where another block step with plain keys, or
    with those of its own endpoint, was unblocked before the job of this one began.
    """
    manifest = deployer.train(83)
    deployer.agent.meta_data |= {
        "deploy/eu/decision": "reject",
        "deploy/eu/reason": "too slow there",
        "deploy/us/decision": "deploy",
        "deploy/us/reason": "fine here",
        "deploy/decision": "deploy",
        "deploy/reason": "fine in staging",
        "notify/gates/failed": "macro-F1",
    }
    with pytest.raises(Rejected, match=r"Grace Hopper rejected model sentiment 83 \(too slow there\)"):
        command.run(deployer.settings("eu"))
    assert decided(deployer, manifest, "eu").decision == "reject"
    # The person left the reason empty, and the reason of another endpoint is none for this one.
    deployer.agent.meta_data |= {"deploy/us/reason": "", "deploy/us/decision": ""}
    with pytest.raises(Rejected, match="gave no reason to deploy it in field deploy/us/reason"):
        command.run(deployer.settings("us"))


def test_a_retried_step_reads_the_fields_of_its_own_block_step(deployer: Any) -> None:
    """Where the block step of the next endpoint has set the same keys since, the retry of the first
    deployment deploys what was decided for it, under the reason that was given for it.
    """
    stored = deployer.sweep(341)
    deployer.agent.meta_data |= {"deploy/candidate": "2", "deploy/reason": "the smallest of them"}
    command.run(deployer.settings("staged"))
    deployer.agent.meta_data |= {"deploy/candidate": "3", "deploy/reason": "the fastest of them"}
    command.run(deployer.settings("staged"))
    second, third = (one.request.artifacts for one in stored.manifests[1:])
    assert DecisionStore(deployer.lake, third).all() == ()
    [recorded] = DecisionStore(deployer.lake, second).all()
    assert (recorded.endpoint, recorded.reason) == ("staged", "the smallest of them")


def test_the_gates_of_a_retried_notify_replace_those_on_record(deployer: Any) -> None:
    """No person decided them. Their change blocks no deployment for which a reason is given, and without one
    an earlier record lets no model through.
    """
    manifest = deployer.train(82)
    command.run(deployer.settings("gates"))
    deployer.agent.meta_data |= {"notify/gates/failed": "macro-F1"}
    with pytest.raises(Rejected, match=r"does not meet the gates of this pipeline \(macro-F1\).*no reason"):
        command.run(deployer.settings("gates"))
    assert decided(deployer, manifest, "gates").failed_gates == "macro-F1"
    deployer.agent.meta_data |= {"notify/gates/failed": "none"}
    command.run(deployer.settings("gates"))
    assert decided(deployer, manifest, "gates").failed_gates == ""


def test_gates_of_another_endpoint_do_not_keep_a_model_from_coming_back(deployer: Any) -> None:
    """A build deploys to one region, and then a second notify step checks gates against the live model of
    the next one. They are for that deployment, and not for a retry of the first.
    """
    manifest = deployer.train(86)
    deployer.agent.meta_data |= {"notify/gates/failed": "none", "notify/gates/endpoint": "east"}
    command.run(deployer.settings("east"))
    deployer.agent.meta_data |= {"notify/gates/failed": "macro-F1", "notify/gates/endpoint": "west"}
    command.run(deployer.settings("east"))
    assert decided(deployer, manifest, "east").failed_gates == ""
    with pytest.raises(Rejected, match=r"does not meet the gates of this pipeline \(macro-F1\).*no reason"):
        command.run(deployer.settings("west"))
    # A decision is no deployment: a retry of the step that was refused is refused again.
    deployer.agent.meta_data |= {"notify/gates/endpoint": "east"}
    with pytest.raises(Rejected, match="does not meet the gates"):
        command.run(deployer.settings("west"))


def test_a_decision_that_is_no_option_is_an_error_of_the_pipeline(deployer: Any) -> None:
    """A select with other values must not deploy by accident."""
    deployer.train(73)
    deployer.agent.meta_data |= {"deploy/decision": "yes"}
    with pytest.raises(ConfigurationError, match="deploy/decision is 'yes': give the field"):
        command.run(deployer.settings("rejected"))


def test_a_model_that_misses_gates_needs_a_reason(deployer: Any) -> None:
    """With on-failure block, an approver may override a gate, in words that stay on record."""
    deployer.train(74)
    # Of a model of no sweep, notify notes no gates of candidates: only who made the build can have set them.
    deployer.agent.meta_data |= {
        "notify/gates/failed": "macro-F1",
        "notify/candidates/gates": '{"required": false, "failed": {}}',
        "deploy/decision": "deploy",
    }
    with pytest.raises(Rejected, match=r"does not meet the gates of this pipeline \(macro-F1\).*no reason"):
        command.run(deployer.settings("rejected"))


def test_the_reason_of_a_deployment_is_on_record(deployer: Any) -> None:
    """The endpoint's history, the page and trace have the approver's own words."""
    manifest = deployer.train(75)
    reason = "the gate is about to be lowered"
    deployer.agent.meta_data |= {
        "notify/gates/failed": "macro-F1",
        "deploy/decision": "deploy",
        "deploy/reason": reason,
    }
    command.run(deployer.settings("reasoned"))
    assert reason in deployer.agent.annotations[-1][2]
    store = ModelStore(deployer.lake, manifest.request.artifacts)
    deployment = store.deployment()
    assert deployment is not None
    assert deployment.reason == reason
    assert decided(deployer, manifest, "reasoned").failed_gates == "macro-F1"


def test_exit_codes_are_documented() -> None:
    """A pipeline may soft-fail a rejection by its code."""
    assert Rejected.exit_code == 17
    assert issubclass(Rejected, ModelbuildError)


def test_a_folder_that_a_person_made_in_s3_is_no_decision(deployer: Any) -> None:
    """The console of S3 leaves an empty object with the folder's name."""
    manifest = deployer.train(85)
    deployer.agent.meta_data |= {"deploy/decision": "reject"}
    deployer.lake.write(f"{manifest.request.artifacts}/decisions/", b"")
    with pytest.raises(Rejected):
        command.run(deployer.settings("folder"))
    (recorded,) = DecisionStore(deployer.lake, manifest.request.artifacts).all()
    assert recorded.endpoint == "folder"
