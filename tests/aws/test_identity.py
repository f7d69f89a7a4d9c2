from __future__ import annotations

from datetime import datetime, timedelta, timezone

import boto3
import pytest

from modelbuild.aws.batch import Batch
from modelbuild.aws.identity import account, session
from modelbuild.errors import AwsError
from modelbuild.settings import AwsSettings

ROLE = "arn:aws:iam::222222222222:role/modelbuild-deploy"


def arn(made: boto3.Session) -> str:
    """Who a session calls as."""
    return made.client("sts").get_caller_identity()["Arn"]


def test_default_is_the_agents_own_identity(cloud: str) -> None:
    """Without a role, calls are made with the environment's credentials."""
    assert cloud
    assert account(session(AwsSettings())) == "123456789012"


def test_role_is_assumed_for_the_build(cloud: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a role, calls are made in its account, under a name that leads back to the build."""
    assert cloud
    monkeypatch.setenv("BUILDKITE_PIPELINE_SLUG", "sentiment")
    monkeypatch.setenv("BUILDKITE_BUILD_NUMBER", "1234")
    made = session(AwsSettings(role_arn=ROLE))
    assert account(made) == "222222222222"
    assert arn(made).endswith(":assumed-role/modelbuild-deploy/modelbuild-sentiment-1234")


def test_two_identities_do_not_mix(cloud: str) -> None:
    """A session of a role leaves every other session of the process as it was."""
    assert cloud
    role, own = session(AwsSettings(role_arn=ROLE)), session(AwsSettings())
    assert (account(role), account(own)) == ("222222222222", "123456789012")


def test_credentials_of_a_role_are_renewed(cloud: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortly before the credentials of a role end, the next call fetches new ones."""
    assert cloud
    made = session(AwsSettings(role_arn=ROLE))
    client = made.client("sts")
    assert client.get_caller_identity()["Account"] == "222222222222"
    first = made.get_credentials()
    assert first is not None
    before = first.get_frozen_credentials().access_key
    later = datetime.now(timezone.utc) + timedelta(minutes=49)
    monkeypatch.setattr(first, "_time_fetcher", lambda: later)
    assert client.get_caller_identity()["Account"] == "222222222222"
    assert first.get_frozen_credentials().access_key != before


def test_region_of_the_settings_comes_first(cloud: str) -> None:
    """The option's region is used, not the environment's."""
    assert cloud
    made = session(AwsSettings(region="eu-west-1"))
    assert made.client("s3").meta.region_name == "eu-west-1"
    assert session(AwsSettings()).client("s3").meta.region_name == "us-east-1"


def test_no_region_has_its_fix(cloud: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """A call that needs a region and has none says where to set it."""
    assert cloud
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", f"{tmp_path}/none")
    with pytest.raises(
        AwsError, match=r"no AWS region is set\): set option aws.region or AWS_DEFAULT_REGION"
    ):
        Batch(session(AwsSettings()))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AWS_PROFILE", "nobody", r"could not set up a session of AWS \(.*nobody.* could not be found\)"),
        ("AWS_ENDPOINT_URL", "nowhere", r"could not set up a client for Batch \(Invalid endpoint: nowhere\)"),
        ("AWS_DEFAULT_REGION", "us_east", r"could not set up a client for Batch \(.*'us_east'.*\)"),
    ],
)
def test_wrong_environment_is_a_sentence(
    cloud: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    """What the agent's environment says wrong about AWS is told in one line, not as a traceback."""
    assert cloud
    monkeypatch.setenv(name, value)
    with pytest.raises(AwsError, match=said):
        Batch(session(AwsSettings()))
