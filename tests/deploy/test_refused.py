"""AWS refuses what the deploy step asks while an endpoint is updated, verified and put back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelbuild.aws.sagemaker import Endpoint, SageMaker
from modelbuild.contract import Predictions
from modelbuild.deploy import command
from modelbuild.errors import AwsError, EndpointFailed
from modelbuild.store.deployments import DeploymentHistory
from modelbuild.store.model import ModelStore


def served_by(deployer: Any, endpoint: str) -> str:
    """The id of the model that answers."""
    answer = deployer.account.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=endpoint, ContentType="application/json", Body=json.dumps({"instances": ["fine"]})
    )
    return Predictions.model_validate_json(answer["Body"].read()).model_id


def history(deployer: Any, endpoint: str) -> list[str]:
    """The ids of the models in the history of an endpoint."""
    found = DeploymentHistory(deployer.production, "s3://modelbuild-222222222222/models", endpoint)
    newest = found.newest()
    numbers = range(1, newest.number + 1) if newest else ()
    return [one.model_id for number in numbers if (one := found.read(number))]


def refuse(*_: object, **__: object) -> None:
    """What a call gets that AWS refuses."""
    raise AwsError("could not (AccessDenied)")


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """SageMaker answers each look at an endpoint with the next of these errors, from its first update on."""
    errors: list[str] = []
    waiting: list[str] = []
    update, look = SageMaker.update_endpoint, SageMaker.endpoint

    def updates(self: SageMaker, name: str, config: str) -> None:
        update(self, name, config)
        waiting.extend(errors)
        errors.clear()

    def looks(self: SageMaker, name: str) -> Endpoint:
        if waiting:
            raise AwsError(f"could not look at endpoint {name} ({waiting.pop(0)})")
        return look(self, name)

    monkeypatch.setattr(SageMaker, "update_endpoint", updates)
    monkeypatch.setattr(SageMaker, "endpoint", looks)
    return errors


def test_an_update_that_could_not_be_followed_is_undone(deployer: Any, refused: list[str]) -> None:
    """Without that, SageMaker ends the update and serves a model whose answers were not verified."""
    deployer.train(201)
    command.run(deployer.settings("lost"))
    deployer.train(202)
    refused.append("ExpiredToken")
    message = r"\(ExpiredToken\), so its answers were not verified; endpoint lost was put back to lost-201-"
    with pytest.raises(AwsError, match=message):
        command.run(deployer.settings("lost"))
    assert served_by(deployer, "lost") == "201"
    assert "was put back to lost-201-" in deployer.agent.annotations[-1].body
    command.run(deployer.settings("lost"))
    assert served_by(deployer, "lost") == "202"


def test_the_command_that_puts_back_is_shown_where_aws_refuses_the_way_back(
    deployer: Any, refused: list[str]
) -> None:
    """The command names the endpoint and its previous configuration, for a person who may run it."""
    deployer.train(205)
    command.run(deployer.settings("stuck"))
    good = deployer.sagemaker.describe_endpoint(EndpointName="stuck")["EndpointConfigName"]
    deployer.train(206)
    refused.extend(["ExpiredToken", "ExpiredToken again"])
    shown = f"aws sagemaker update-endpoint --endpoint-name stuck --endpoint-config-name {good}"
    with pytest.raises(AwsError, match=rf"not put back .*ExpiredToken again.*{shown}"):
        command.run(deployer.settings("stuck"))
    assert shown in deployer.agent.annotations[-1].body


def test_the_command_is_shown_where_answers_and_the_way_back_are_refused(
    deployer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The credentials that expire before the answers are verified are those of the way back."""
    deployer.train(207)
    command.run(deployer.settings("expired"))
    good = deployer.sagemaker.describe_endpoint(EndpointName="expired")["EndpointConfigName"]
    deployer.train(208)

    def refuse(*_: object) -> None:
        raise AwsError("could not look at endpoint expired (ExpiredToken)")

    def expire(*_: object) -> None:
        monkeypatch.setattr(SageMaker, "endpoint", refuse)
        raise AwsError("could not have endpoint expired answer (ExpiredToken)")

    monkeypatch.setattr(SageMaker, "invoke", expire)
    shown = f"aws sagemaker update-endpoint --endpoint-name expired --endpoint-config-name {good}"
    with pytest.raises(AwsError, match=rf"answer \(ExpiredToken\); it was not put back to {good}.*{shown}"):
        command.run(deployer.settings("expired"))
    assert shown in deployer.agent.annotations[-1].body


def test_a_verified_model_stays_where_the_retry_cannot_verify_it(
    deployer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run verified the model and put it into the history, and could not write everything. If the
    endpoint does not answer the retry, it goes on serving what its history says.
    """
    deployer.train(211)
    command.run(deployer.settings("verified"))
    deployer.train(212)
    with monkeypatch.context() as patched:
        patched.setattr(ModelStore, "write_deployment", refuse)
        with pytest.raises(AwsError, match="could not be recorded"):
            command.run(deployer.settings("verified"))
    with monkeypatch.context() as patched:
        patched.setattr(SageMaker, "invoke", refuse)
        with pytest.raises(
            AwsError, match=r"endpoint verified was left as it is, because it has served this"
        ):
            command.run(deployer.settings("verified"))
    assert served_by(deployer, "verified") == "212"
    assert history(deployer, "verified") == ["211", "212"]


def test_a_retried_step_does_not_replace_a_later_model(
    deployer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that has failed tells to retry it; by then, another build may have deployed a newer model."""
    first = deployer.train(213)
    with monkeypatch.context() as patched:
        patched.setattr(ModelStore, "write_deployment", refuse)
        with pytest.raises(AwsError, match="retry this step"):
            command.run(deployer.settings("newer"))
    meta_data = deployer.agent.meta_data
    deployer.train(214)
    command.run(deployer.settings("newer"))
    deployer.join(first, meta_data)
    with pytest.raises(
        EndpointFailed, match=r"served model sentiment 214 since .*builds/214.*start a new build"
    ):
        command.run(deployer.settings("newer"))
    assert "nothing was changed" in deployer.agent.annotations[-1].body
    assert served_by(deployer, "newer") == "214"
    assert history(deployer, "newer") == ["213", "214"]


def test_a_step_that_has_passed_serves_its_model_again(deployer: Any) -> None:
    """A person retries it to go back to an earlier model, which is verified and recorded as before."""
    first = deployer.train(215)
    command.run(deployer.settings("again"))
    meta_data = deployer.agent.meta_data
    deployer.train(216)
    command.run(deployer.settings("again"))
    deployer.join(first, meta_data)
    command.run(deployer.settings("again"))
    assert served_by(deployer, "again") == "215"
    assert history(deployer, "again") == ["215", "216", "215"]
