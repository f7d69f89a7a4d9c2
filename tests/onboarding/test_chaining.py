from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

import standins
from modelbuild.onboarding.chaining import examine
from modelbuild.onboarding.pipeline import read

ROLE = "arn:aws:iam::123456789012:role/modelbuild-read"
NOTIFY = """
steps:
  - key: notify
    plugins:
      - ./plugins/notify:
          aws: {role-arn: "ROLE", role-session-duration: SECONDS, oidc: OIDC}
"""
DEPLOY = """
steps:
  - key: deploy
    plugins:
      - ./plugins/deploy:
          endpoint: e
          artifacts: s3://modelbuild-222222222222/models
          role: ROLE
          aws: {source: {role-arn: "ROLE", role-session-duration: SECONDS, oidc: OIDC}}
"""


COMPARE = """
steps:
  - key: notify
    plugins:
      - ./plugins/notify:
          compare-with:
            endpoint: e
            artifacts: s3://modelbuild-222222222222/models
            aws: {role-arn: "ROLE", role-session-duration: SECONDS, oidc: OIDC}
"""


@pytest.fixture
def in_role(on_stand_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be an agent that is itself in a role, as one with an instance profile is."""
    standins.create_role(on_stand_in, ROLE)
    credentials = boto3.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="i-0abc")["Credentials"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", credentials["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", credentials["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", credentials["SessionToken"])


def message(write: Callable[[str], Path], text: str, seconds: int, oidc: bool = False) -> list[str]:
    """What is wrong with the roles of a pipeline."""
    text = text.replace("ROLE", ROLE).replace("SECONDS", str(seconds)).replace("OIDC", str(oidc).lower())
    return [line.text for line in examine(read(write(text)).steps, {}) if not line.ok]


@pytest.mark.parametrize(
    ("text", "option"), [(NOTIFY, "aws"), (COMPARE, "compare-with.aws"), (DEPLOY, "aws.source")]
)
@pytest.mark.usefixtures("in_role")
def test_a_chained_role_lives_for_an_hour(write: Callable[[str], Path], text: str, option: str) -> None:
    """An agent in a role is given another role for an hour at most, in whichever plugin it is asked for."""
    (found,) = message(write, text, 3601)
    assert found.startswith(f"{option}.role-session-duration of step ")
    assert (
        "it is 3601, and this agent is arn:aws:sts::123456789012:assumed-role/modelbuild-read/i-0abc" in found
    )
    assert message(write, text, 3600) == []


@pytest.mark.usefixtures("in_role")
def test_a_token_is_no_role(write: Callable[[str], Path]) -> None:
    """With the agent's OIDC token there is no chain."""
    assert message(write, NOTIFY, 7200, oidc=True) == []


@pytest.mark.usefixtures("on_stand_in")
def test_a_user_may_ask_for_more(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, on_stand_in: str
) -> None:
    """An agent that is a user is in no role, and the role's own maximum counts."""
    assert on_stand_in
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    assert message(write, NOTIFY, 7200) == []
