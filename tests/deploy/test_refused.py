"""AWS refuses what the deploy step asks while an endpoint is updated, verified and put back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelbuild.aws.sagemaker import Endpoint, SageMaker
from modelbuild.contract import Predictions
from modelbuild.deploy import command
from modelbuild.errors import AwsError


def served_by(deployer: Any, endpoint: str) -> str:
    """The id of the model that answers."""
    answer = deployer.account.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=endpoint, ContentType="application/json", Body=json.dumps({"instances": ["fine"]})
    )
    return Predictions.model_validate_json(answer["Body"].read()).model_id


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
