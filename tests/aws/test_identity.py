from __future__ import annotations

import ast
import json
import os
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.loaders import Loader

import modelbuild.aws
import standins
from modelbuild.aws.batch.jobs import Batch
from modelbuild.aws.identity import account, session
from modelbuild.aws.storage import Storage
from modelbuild.buildkite.agent import oidc_token
from modelbuild.errors import AwsError
from modelbuild.process import startup
from modelbuild.settings import AwsSettings
from modelbuild_local.service import web_identity

ROLE = "arn:aws:iam::222222222222:role/of-another-account"


def arn(made: boto3.Session) -> str:
    """The ARN of the identity of a session."""
    return made.client("sts").get_caller_identity()["Arn"]


@pytest.fixture
def cloud(cloud: str) -> str:
    """AWS, where the role exists; its address."""
    standins.create_role(cloud, ROLE)
    return cloud


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
    assert arn(made).endswith(":assumed-role/of-another-account/modelbuild-sentiment-1234")


def test_a_long_session_name_keeps_the_number_of_the_build(
    cloud: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STS takes 64 characters, and slugs of pipelines have up to 100."""
    assert cloud
    monkeypatch.setenv("BUILDKITE_PIPELINE_SLUG", "a-pipeline" * 10)
    monkeypatch.setenv("BUILDKITE_BUILD_NUMBER", "1234")
    name = arn(session(AwsSettings(role_arn=ROLE))).rsplit("/", 1)[1]
    assert name == ("modelbuild-" + "a-pipeline" * 10)[:59] + "-1234"


def test_oidc_needs_a_token_provider() -> None:
    """Settings with OIDC and no provider of tokens are refused before AWS is called."""
    with pytest.raises(ValueError, match="need request_token"):
        session(AwsSettings(role_arn=ROLE, oidc=True))


def test_each_caller_with_options_passes_the_agents_tokens() -> None:
    """Settings that come from a plugin's options may have OIDC, so the call passes a provider of tokens."""
    package = Path(modelbuild.aws.__path__[0]).parent
    sources = {file: file.read_text(encoding="utf-8") for file in package.rglob("*.py")}
    calls = {
        f"{file.relative_to(package)}: {ast.unparse(node)}": node
        for file, source in sources.items()
        if "session(" in source
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "session"
    }
    from_options = {
        location: call for location, call in calls.items() if isinstance(call.args[0], ast.Attribute)
    }
    assert len(from_options) >= 5
    assert [location for location, call in from_options.items() if len(call.args) < 2] == []


def test_sessions_find_every_service() -> None:
    """The quick list of services lacks none that botocore's own has."""
    quick = startup.botocore_session().get_component("data_loader")
    own = Loader().list_available_services("service-2")
    assert {"s3", "batch", "sts"} <= set(own) <= set(quick.list_available_services("service-2"))


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


AGENT = """#!{python}
import json, pathlib, sys
folder = pathlib.Path({folder!r})
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps([sys.argv[1:], sys.stdin.read()]) + chr(10))
if (folder / "refuse").exists():
    sys.exit("the job is over")
if sys.argv[1] == "oidc":
    print((folder / "tokens").read_text().splitlines()[len((folder / "calls").read_text().splitlines()) - 1])
"""
CLAIMS = {"aud": "sts.amazonaws.com", "nbf": 0, "exp": 1 << 40}


class Agent:
    """A recorder in the place of ``buildkite-agent`` that gives a new token each time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        script = folder / "buildkite-agent"
        script.write_text(AGENT.format(python=sys.executable, folder=str(folder)))
        script.chmod(0o755)
        self.tokens = [
            web_identity.sign({**CLAIMS, "jti": number}, standins.WEB_IDENTITY_KEY) for number in range(4)
        ]
        (folder / "tokens").write_text("\n".join(self.tokens))

    @property
    def calls(self) -> list[Any]:
        """Each call's arguments and standard input."""
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Agent:
    """The recorder, first on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return Agent(tmp_path)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What roles STS is asked for, while it answers."""
    found: list[tuple[str, dict[str, Any]]] = []
    client: Any = BaseClient
    call = client._make_api_call

    def recorded(self: Any, operation: str, values: dict[str, Any]) -> Any:
        if operation.startswith("Assume"):
            found.append((operation, values))
        return call(self, operation, values)

    monkeypatch.setattr(client, "_make_api_call", recorded)
    return found


def test_oidc_token_is_exchanged_without_keys(
    cloud: str, agent: Agent, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent without AWS keys gets a role's for its token, which the log redacts; nothing is exported."""
    assert cloud
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    before = dict(os.environ)
    made = session(
        AwsSettings(role_arn=ROLE, oidc=True, session_tags=["pipeline_slug", "build_branch"]), oidc_token
    )
    assert account(made) == "222222222222"
    tags = ["--aws-session-tag", "pipeline_slug", "--aws-session-tag", "build_branch"]
    assert agent.calls == [
        [["oidc", "request-token", "--audience", "sts.amazonaws.com", *tags], ""],
        [["redactor", "add"], agent.tokens[0]],
    ]
    operation, values = asked[0]
    assert (operation, values["WebIdentityToken"]) == ("AssumeRoleWithWebIdentity", agent.tokens[0])
    assert dict(os.environ) == before


def test_each_renewal_has_its_own_token(cloud: str, agent: Agent, asked: list[Any]) -> None:
    """A token lives for minutes: when the role's credentials are renewed, a new one is asked for."""
    assert cloud
    made = session(AwsSettings(role_arn=ROLE, oidc=True), oidc_token)
    assert account(made) == "222222222222"
    credentials: Any = made.get_credentials()
    later = datetime.now(timezone.utc) + timedelta(minutes=49)
    credentials._time_fetcher = lambda: later
    assert account(made) == "222222222222"
    tokens = [values["WebIdentityToken"] for _, values in asked]
    assert tokens == [agent.tokens[0], agent.tokens[2]]
    assert [stdin for argv, stdin in agent.calls if argv[0] == "redactor"] == tokens


def test_token_that_is_refused_is_reported(cloud: str, agent: Agent) -> None:
    """Where Buildkite gives no token, the call to AWS fails, and the agent's own words say why."""
    assert cloud
    (agent.folder / "refuse").write_text("")
    with pytest.raises(AwsError, match=rf"role {ROLE}.*oidc request-token --audience.* the job is over"):
        account(session(AwsSettings(role_arn=ROLE, oidc=True), oidc_token))


def test_token_that_is_refused_later_fails_the_call(cloud: str, agent: Agent) -> None:
    """Where Buildkite gives no token for a renewal, the call that needs it raises what calls to AWS raise."""
    assert cloud
    made = session(AwsSettings(role_arn=ROLE, oidc=True), oidc_token)
    storage = Storage(made)
    storage.exists("s3://bucket/key")
    credentials: Any = made.get_credentials()
    later = datetime.now(timezone.utc) + timedelta(hours=2)
    credentials._time_fetcher = lambda: later
    (agent.folder / "refuse").write_text("")
    with pytest.raises(AwsError, match="the job is over"):
        storage.exists("s3://bucket/key")


def test_options_of_the_role_reach_sts(cloud: str, asked: list[Any]) -> None:
    """Name, duration and external id are those of the settings, and what is not set is AWS's own."""
    assert cloud
    named: Any = {"role_session_name": "a-name", "role_session_duration": 7200, "external_id": "abc"}
    assert arn(session(AwsSettings(role_arn=ROLE, **named))).endswith("/a-name")
    expected = {"RoleArn": ROLE, "RoleSessionName": "a-name", "DurationSeconds": 7200, "ExternalId": "abc"}
    assert asked[0] == ("AssumeRole", expected)
    asked.clear()
    arn(session(AwsSettings(role_arn=ROLE)))
    assert sorted(asked[0][1]) == ["RoleArn", "RoleSessionName"]


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
    ("name", "value", "message"),
    [
        ("AWS_PROFILE", "nobody", r"could not set up a session of AWS \(.*nobody.* could not be found\)"),
        ("AWS_ENDPOINT_URL", "nowhere", r"could not set up a client for Batch \(Invalid endpoint: nowhere\)"),
        ("AWS_DEFAULT_REGION", "us_east", r"could not set up a client for Batch \(.*'us_east'.*\)"),
    ],
)
def test_wrong_environment_is_a_sentence(
    cloud: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    """Wrong AWS settings in the agent's environment are an error of one line, not a traceback."""
    assert cloud
    monkeypatch.setenv(name, value)
    with pytest.raises(AwsError, match=message):
        Batch(session(AwsSettings()))
