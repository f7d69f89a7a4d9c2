"""The whole deploy step, from one account to another, against SageMaker with real server processes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from modelbuild.contract import Deployment, Manifest, Predictions
from modelbuild.deploy import command, smoke
from modelbuild.errors import AwsError, EndpointFailed, TrainingFailed, VerificationFailed
from modelbuild.store.deployments import DeploymentHistory
from samples import WRONG

MODELS = "s3://modelbuild-222222222222/models"
PREFIX = f"{MODELS}/comments/sentiment"


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def served_by(deployer: Any, endpoint: str) -> str:
    """The id of the model that answers."""
    answer = deployer.account.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=endpoint, ContentType="application/json", Body=json.dumps({"instances": ["fine"]})
    )
    return Predictions.model_validate_json(answer["Body"].read()).model_id


def names(deployer: Any, endpoint: str) -> set[str]:
    """The models and endpoint configurations that were made for an endpoint."""
    models = deployer.sagemaker.list_models()["Models"]
    configs = deployer.sagemaker.list_endpoint_configs()["EndpointConfigs"]
    found = {item["ModelName"] for item in models} | {item["EndpointConfigName"] for item in configs}
    return {name for name in found if name.startswith(f"{endpoint}-")}


def test_model_is_copied_served_checked_and_recorded(
    deployer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a deployment the approved bytes lie in production, answer there, and are on record twice."""
    manifest: Manifest = deployer.train(101)
    command.run(deployer.settings("first"))

    assert digest(deployer.production.read(f"{PREFIX}/101/model.tar.gz")) == manifest.artifact.sha256
    assert deployer.production.read(f"{PREFIX}/101/manifest.json") == manifest.to_json().encode()
    assert served_by(deployer, "first") == "101"

    record = deployer.production.read(f"{PREFIX}/101/deployment.json")
    assert deployer.lake.read(f"{manifest.request.artifacts}/deployment.json") == record
    deployment = Deployment.model_validate_json(record)
    endpoint = deployer.sagemaker.describe_endpoint(EndpointName="first")
    assert deployment.endpoint_config == endpoint["EndpointConfigName"]
    assert deployment.previous_endpoint_config == ""
    assert (deployment.approver.name, deployment.approver.email) == ("Grace Hopper", "grace@example.org")

    tags = deployer.sagemaker.list_tags(ResourceArn=endpoint["EndpointArn"])["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {
        "MODEL_ID": "101",
        "modelbuild:pipeline": "comments",
        "modelbuild:model": "sentiment",
        "modelbuild:commit": "c" * 40,
        "modelbuild:build": "https://buildkite.example/acme/comments/builds/101",
    }
    assert deployer.agent.meta_data["deploy/endpoint"] == "first"
    assert deployer.agent.meta_data["deploy/endpoint-config"] == deployment.endpoint_config
    annotation = deployer.agent.annotations[-1]
    assert (annotation.context, annotation.style) == ("deployment/first", "success")
    assert "Grace Hopper" in annotation.body
    assert deployment.endpoint_config in annotation.body
    log = capsys.readouterr().out
    assert log.count("\n---") + log.startswith("---") >= 5
    assert log.count("InService") == 1, "progress is said when it changes, not at each look"


def test_update_and_same_again(deployer: Any) -> None:
    """A second model replaces the first behind an endpoint; deploying it again changes nothing."""
    deployer.train(111)
    command.run(deployer.settings("second"))
    before = deployer.sagemaker.describe_endpoint(EndpointName="second")
    deployer.train(112)
    command.run(deployer.settings("second"))
    after = deployer.sagemaker.describe_endpoint(EndpointName="second")
    assert served_by(deployer, "second") == "112"
    assert after["EndpointArn"] == before["EndpointArn"]
    deployment = Deployment.model_validate_json(deployer.production.read(f"{PREFIX}/112/deployment.json"))
    assert deployment.previous_endpoint_config == before["EndpointConfigName"]

    made = names(deployer, "second")
    command.run(deployer.settings("second"))
    assert deployer.sagemaker.describe_endpoint(EndpointName="second") | {"ResponseMetadata": 0} == after | {
        "ResponseMetadata": 0
    }
    assert names(deployer, "second") == made
    again = Deployment.model_validate_json(deployer.production.read(f"{PREFIX}/112/deployment.json"))
    assert again == deployment
    history = DeploymentHistory(deployer.production, MODELS, "second")
    assert history.current() == deployment
    assert [one and (one.number, one.model_id) for one in map(history.read, (1, 2, 3))] == [
        (1, "111"),
        (2, "112"),
        None,
    ]


def test_bytes_that_changed_after_training_are_refused(deployer: Any) -> None:
    """Of a model whose bytes are not those of its manifest, nothing reaches production."""
    manifest: Manifest = deployer.train(121)
    content = deployer.lake.read(manifest.artifact.path)
    tampered = content[:-1] + bytes([content[-1] ^ 1])
    deployer.lake.write(manifest.artifact.path, tampered, "application/gzip")
    with pytest.raises(VerificationFailed, match=f"{digest(tampered)}.*{digest(content)}.*changed after"):
        command.run(deployer.settings("tampered"))
    assert deployer.production.list(f"{PREFIX}/121/") == []
    assert names(deployer, "tampered") == set()
    assert deployer.agent.annotations[-1].style == "error"


def test_a_model_without_golden_predictions_changes_nothing(deployer: Any) -> None:
    """No answer of it can be verified, so the endpoint never comes to serve it."""
    deployer.train(132, golden=())
    with pytest.raises(VerificationFailed, match="model 132 records no predictions to compare with"):
        command.run(deployer.settings("golden"))
    assert names(deployer, "golden") == set()
    assert deployer.production.list(f"{PREFIX}/132/") == []


def test_other_bytes_in_production_stay(deployer: Any) -> None:
    """What lies in production under this model's name and is another file is neither replaced nor served."""
    deployer.train(131)
    deployer.production.write(f"{PREFIX}/131/model.tar.gz", b"another model")
    with pytest.raises(VerificationFailed, match=r"131/model\.tar\.gz"):
        command.run(deployer.settings("occupied"))
    assert deployer.production.read(f"{PREFIX}/131/model.tar.gz") == b"another model"
    assert names(deployer, "occupied") == set()


def test_manifest_of_another_build_is_refused(deployer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build serves the model that it trained and no other."""
    deployer.train(141)
    monkeypatch.setenv("BUILDKITE_BUILD_NUMBER", "142")
    with pytest.raises(VerificationFailed, match="141"):
        command.run(deployer.settings("stranger"))
    assert deployer.production.list(f"{PREFIX}/14") == []


def test_failed_training_is_not_deployed(deployer: Any) -> None:
    """Without a training that succeeded there is nothing to deploy, and the reason is said again."""
    deployer.agent.meta_data = {"training/status": "failed", "training/reason": "out of memory"}
    with pytest.raises(TrainingFailed, match="out of memory"):
        command.run(deployer.settings("untrained"))
    assert names(deployer, "untrained") == set()


@pytest.mark.parametrize(("number", "image"), [(151, "team/broken:1"), (152, "team/absent:1")])
def test_container_that_does_not_start(deployer: Any, number: int, image: str) -> None:
    """A new endpoint whose container does not start fails the step with SageMaker's reason."""
    deployer.train(number, image=image)
    with pytest.raises((EndpointFailed, AwsError)) as caught:
        command.run(deployer.settings(f"dead-{number}"))
    reason = deployer.sagemaker.describe_endpoint(EndpointName=f"dead-{number}")["FailureReason"]
    assert isinstance(caught.value, EndpointFailed)
    assert reason.rstrip(".") in str(caught.value)
    assert reason[:20] in deployer.agent.annotations[-1].body
    assert not deployer.production.exists(f"{PREFIX}/{number}/deployment.json")


def test_container_that_never_answers(deployer: Any) -> None:
    """Waiting ends with option timeout, and a retried step goes on waiting for the same endpoint."""
    deployer.train(155, image="team/silent:1")
    options = deployer.settings("silent").model_copy(update={"timeout": 0.3})
    for _ in range(2):
        with pytest.raises(EndpointFailed, match=r"still Creating.*timeout"):
            command.run(options)
    assert len(names(deployer, "silent")) == 1


def test_an_update_that_does_not_end_in_time_is_not_left_to_itself(deployer: Any) -> None:
    """SageMaker goes on with it, so the step shows the command that puts the endpoint back, where the wait
    for the update, as long again, is over as well.
    """
    deployer.train(156)
    command.run(deployer.settings("slow"))
    good = deployer.sagemaker.describe_endpoint(EndpointName="slow")["EndpointConfigName"]
    deployer.train(157, image="team/silent:1")
    shown = f"aws sagemaker update-endpoint --endpoint-name slow --endpoint-config-name {good}"
    with pytest.raises(EndpointFailed, match=rf"still Updating.*so its answers were not verified; .*{shown}"):
        command.run(deployer.settings("slow").model_copy(update={"timeout": 0.3}))
    assert shown in deployer.agent.annotations[-1].body


def test_what_was_served_before_is_served_again(deployer: Any) -> None:
    """Neither an update that SageMaker undoes nor a model that answers otherwise replaces a good one."""
    deployer.train(161)
    command.run(deployer.settings("kept"))
    good = deployer.sagemaker.describe_endpoint(EndpointName="kept")["EndpointConfigName"]

    deployer.train(162, image="team/broken:1")
    with pytest.raises(EndpointFailed, match="rolled back"):
        command.run(deployer.settings("kept"))
    assert served_by(deployer, "kept") == "161"

    deployer.train(163, golden=(WRONG,))
    with pytest.raises(VerificationFailed, match=f'"positive": 1.0.*was put back to {good}') as caught:
        command.run(deployer.settings("kept"))
    assert str(caught.value).count('"scores"') == 2, "both answers are shown"
    assert f"was put back to {good}" in deployer.agent.annotations[-1].body
    assert served_by(deployer, "kept") == "161"
    current = DeploymentHistory(deployer.production, MODELS, "kept").current()
    assert current is not None
    assert (current.number, current.model_id) == (1, "161")
    for number in (162, 163):
        assert not deployer.production.exists(f"{PREFIX}/{number}/deployment.json")


def test_a_new_endpoint_that_answers_otherwise_is_not_relied_on(deployer: Any) -> None:
    """Where nothing was served before, the step says that nothing may rely on what is served now."""
    deployer.train(171, golden=(WRONG,))
    with pytest.raises(VerificationFailed, match=r"nothing may rely on endpoint liar .*delete-endpoint"):
        command.run(deployer.settings("liar"))
    assert not deployer.production.exists(f"{PREFIX}/171/deployment.json")


def test_a_step_that_stops_after_the_update_still_knows_the_way_back(
    deployer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The retry finds the endpoint updated already, its answers wrong, and puts it back all the same."""
    deployer.train(191)
    command.run(deployer.settings("stopped"))
    deployer.train(192, golden=(WRONG,))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(smoke, "check", stop)
        with pytest.raises(KeyboardInterrupt):
            command.run(deployer.settings("stopped"))
    assert served_by(deployer, "stopped") == "192"
    with pytest.raises(VerificationFailed, match="was put back to stopped-191-"):
        command.run(deployer.settings("stopped"))
    assert served_by(deployer, "stopped") == "191"


def test_a_page_that_cannot_be_written_hides_no_failure(
    deployer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the agent fails, the step still ends with why the model is not deployed."""
    deployer.train(195, golden=(WRONG,))
    deployer.agent.refuse("annotate")
    with pytest.raises(VerificationFailed, match="nothing may rely on endpoint unseen"):
        command.run(deployer.settings("unseen"))
    assert "the page does not show why the model is not deployed: 'buildkite-agent annotate" in (
        capsys.readouterr().err
    )
