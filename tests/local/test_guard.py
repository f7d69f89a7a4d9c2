"""What the stand-ins refuse: other hosts, other sites, large bodies, and requests without a key."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

import standins
from modelbuild_local.service import web_identity
from modelbuild_local.service.guard import Guard
from modelbuild_local.service.session import PageSession, with_key
from waiting import SECONDS, wait_until

URL = "http://127.0.0.1:4000"
CLAIMS = {"aud": "sts.amazonaws.com", "nbf": 0, "exp": 1 << 40}
ROLE = "arn:aws:iam::123456789012:role/anything"


@pytest.fixture(scope="module", params=["aws", "buildkite", "wandb"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Each of the three stand-ins."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "aws":
        with standins.started_aws(folder) as running:
            yield running
    else:
        with standins.started(request.param, "--data", folder) as running:
            yield running


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the AWS stand-in."""
    with standins.started_aws(tmp_path_factory.mktemp("aws-keys")) as running:
        yield running.url


def client(url: str, service: str, key: str = standins.KEY_ID, secret: str = standins.SECRET) -> Any:
    """A client that does not repeat what was refused."""
    made: Any = boto3.Session(key, secret, region_name="us-east-1")
    config = Config(retries={"max_attempts": 0}, signature_version="s3v4" if service == "s3" else None)
    return made.client(service, endpoint_url=url, config=config)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "127.0.0.1:4000"}, None),
        ({"host": "localhost:4000", "origin": "http://localhost:4000"}, None),
        ({"host": "127.0.0.1:4001"}, 403),
        ({"host": "evil.example:4000"}, 403),
        ({"host": "127.0.0.1:4000.evil.example"}, 403),
        ({}, 403),
        ({"host": "127.0.0.1:4000", "origin": "null"}, 403),
        ({"host": "127.0.0.1:4000", "origin": "http://127.0.0.1:4001"}, 403),
        ({"host": "127.0.0.1:4000", "origin": "https://evil.example"}, 403),
        ({"host": "127.0.0.1:4000", "content-length": "10"}, None),
        ({"host": "127.0.0.1:4000", "content-length": "11"}, 413),
        ({"host": "127.0.0.1:4000", "content-length": "-1"}, 413),
        ({"host": "127.0.0.1:4000", "content-length": 5_000 * "9"}, 413),
        ({"host": "127.0.0.1:4000", "content-length": "\u0661"}, 413),
    ],
)
def test_guard_judges_the_head_of_a_request(headers: dict[str, str], status: int | None) -> None:
    """Only the server's own host and origin are let through, with a body up to the limit."""
    refusal = Guard(URL, lambda _method, _path: 10).refusal("POST", "/", headers)
    assert (refusal.status if refusal else None) == status


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}])
def test_requests_of_other_sites_are_refused(service: Any, headers: dict[str, str]) -> None:
    """A page of another site reaches no stand-in, and no answer allows it to read one."""
    for method, path in (("GET", "/"), ("POST", "/"), ("OPTIONS", "/"), ("POST", "/laptop/faults")):
        answer = httpx.request(method, service.url + path, headers=headers, content=b"x")
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_large_body_is_refused_before_it_is_read(service: Any) -> None:
    """The server answers a request that announces 100 GB at once."""
    connection = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=SECONDS)
    connection.putrequest("POST", "/graphql")
    connection.putheader("Content-Length", str(100 << 30))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_arguments_of_the_processes_hold_no_secret(service: Any) -> None:
    """What every user of the machine can read of a stand-in holds none of its tokens."""
    shown = subprocess.run(
        ["ps", "-o", "args=", "-p", str(service.process.pid)], capture_output=True, text=True, check=True
    ).stdout
    assert "modelbuild_local" in shown
    assert not [value for value in standins.SECRETS.values() if value in shown]


@pytest.mark.parametrize("name", ["aws", "buildkite", "wandb"])
@pytest.mark.parametrize("line", [b"", b"\n", b"[]\n", b'{"agent_token": "a"}\n'])
def test_a_service_without_its_secrets_says_what_is_missing(name: str, line: bytes, tmp_path: Path) -> None:
    """A stand-in ends with a sentence that names the secrets when the first line does not hold them."""
    of_aws: list[str | Path] = ["--scratch", tmp_path, "--images", tmp_path, "--bin", tmp_path]
    folders: list[str | Path] = of_aws if name == "aws" else ["--data", tmp_path]
    command = [sys.executable, "-m", f"modelbuild_local.{name}", *folders]
    done = subprocess.run(command, input=line, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"The first line of standard input must be the secrets of this service: {")


@pytest.mark.parametrize("name", ["buildkite", "wandb"])
def test_pages_want_the_key_once(name: str, tmp_path: Path) -> None:
    """The address with the key sets a cookie that scripts and other sites do not get; without it, 401."""
    with standins.started(name, "--data", tmp_path) as running:
        assert httpx.get(running.url).status_code == 401
        assert httpx.get(running.url, params={"key": "wrong"}).status_code == 401
        assert (
            httpx.get(running.url, cookies=dict.fromkeys(standins.PAGE_COOKIES, "wrong")).status_code == 401
        )
        with httpx.Client(base_url=running.url) as browser:
            answer = browser.get("/", params={"key": standins.PAGE_KEY, "page": "2"})
            assert answer.status_code == 303
            assert answer.headers["location"] == "/?page=2"
            assert {"httponly", "samesite=strict"} <= set(answer.headers["set-cookie"].lower().split("; "))
            assert browser.get("/").status_code == 200


def test_pages_of_two_runs_are_open_in_one_browser() -> None:
    """A browser that opens the pages of a second run keeps the key of the first: cookies have no ports."""

    async def page(_: Request) -> Response:
        return PlainTextResponse("the page")

    first, second = (
        TestClient(Starlette(routes=[Route("/", PageSession(key).required(page))])) for key in ("one", "two")
    )
    second.cookies = first.cookies
    for client, key in ((first, "one"), (second, "two")):
        assert client.get(with_key("/", key)).text == "the page"
    assert first.get("/").text == second.get("/").text == "the page"


def test_faults_want_the_token(tmp_path: Path, aws: str) -> None:
    """Outages are rehearsed by the owner of the run only."""
    with standins.started("buildkite", "--data", tmp_path) as running:
        for url, token in ((running.url, "the-rest-token"), (aws, standins.SECRET)):
            assert httpx.get(f"{url}/laptop/faults").status_code == 401
            wrong = {"Authorization": "Bearer wrong"}
            assert httpx.get(f"{url}/laptop/faults", headers=wrong).status_code == 401
            right = {"Authorization": f"Bearer {token}"}
            assert httpx.get(f"{url}/laptop/faults", headers=right).status_code == 200


@pytest.mark.parametrize(
    ("service", "call", "code"),
    [
        ("s3", "list_buckets", "InvalidAccessKeyId"),
        ("batch", "describe_jobs", "UnrecognizedClientException"),
        ("secretsmanager", "list_secrets", "UnrecognizedClientException"),
        ("cloudformation", "list_stacks", "UnrecognizedClientException"),
        ("sts", "get_caller_identity", "InvalidClientTokenId"),
    ],
)
def test_foreign_keys_are_refused(aws: str, service: str, call: str, code: str) -> None:
    """A request that another key signed does nothing, with the error that the service has for it."""
    arguments = {"jobs": ["x"]} if call == "describe_jobs" else {}
    with pytest.raises(ClientError) as caught:
        getattr(client(aws, service, "x", "x"), call)(**arguments)
    assert caught.value.response["Error"]["Code"] == code
    with pytest.raises(ClientError) as caught:
        getattr(client(aws, service, secret="guessed"), call)(**arguments)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    getattr(client(aws, service), call)(**arguments)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/", None),
        ("GET", "/moto-api/data.json", None),
        ("POST", "/moto-api/reset", b""),
        ("POST", "/", b"Action=CreateStack&StackName=x&TemplateBody={}"),
        ("POST", "/v1/submitjob", b"{}"),
        ("PUT", "/laptop/credentials", b'{"seconds": 1}'),
    ],
)
def test_unsigned_requests_are_refused(aws: str, method: str, path: str, body: bytes | None) -> None:
    """Without a signature nothing is answered, moto's own paths included."""
    assert httpx.request(method, aws + path, content=body).status_code in (401, 403)


@pytest.mark.parametrize(
    "changes", [{"X-Amz-Signature": "\u00e9"}, {"X-Amz-Expires": 5_000 * "9"}, {"X-Amz-Expires": "\u0661"}]
)
def test_malformed_signatures_are_refused(aws: str, changes: dict[str, str]) -> None:
    """What no client sends as a signature is one that does not match, and no fault of the server."""
    query = {
        "X-Amz-Credential": f"{standins.KEY_ID}/20260101/us-east-1/s3/aws4_request",
        "X-Amz-Date": "20990101T000000Z",
        "X-Amz-Expires": "60",
        "X-Amz-SignedHeaders": "host",
        "X-Amz-Signature": 64 * "0",
        **changes,
    }
    assert httpx.get(f"{aws}/bucket/key", params=query).status_code == 403


def test_signatures_hold_for_what_was_signed(aws: str) -> None:
    """Names that need quoting, bodies and presigned addresses are verified, and a change is seen."""
    s3 = client(aws, "s3")
    s3.create_bucket(Bucket="signed")
    for key in ("plain", "a b/ü?&=+%25.txt", "two//slashes/../up", "~tilde*'()"):
        s3.put_object(Bucket="signed", Key=key, Body=key.encode())
        assert s3.get_object(Bucket="signed", Key=key)["Body"].read() == key.encode()
        address = s3.generate_presigned_url("get_object", {"Bucket": "signed", "Key": key})
        with urllib.request.urlopen(address) as answer:
            assert answer.read() == key.encode()
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(address.replace("X-Amz-Expires=3600", "X-Amz-Expires=7200"))
    arn = "arn:aws:batch:us-east-1:123456789012:job-queue/none"
    client(aws, "batch").list_tags_for_resource(resourceArn=arn)


def test_a_presigned_address_ends(aws: str) -> None:
    """A presigned address is refused once its lifetime is over."""
    s3 = client(aws, "s3")
    s3.create_bucket(Bucket="ends")
    s3.put_object(Bucket="ends", Key="x", Body=b"x")
    address = s3.generate_presigned_url("get_object", {"Bucket": "ends", "Key": "x"}, ExpiresIn=1)

    wait_until(lambda: httpx.get(address).status_code != 200, "the end of the address")
    assert httpx.get(address).status_code == 403


@pytest.mark.parametrize(
    ("claims", "key", "valid"),
    [
        (CLAIMS, "k", True),
        (CLAIMS, "other", False),
        ({**CLAIMS, "exp": 1}, "k", False),
        ({**CLAIMS, "aud": "other"}, "k", False),
    ],
)
def test_web_identity_is_of_this_run(claims: dict[str, Any], key: str, valid: bool) -> None:
    """A token counts when the run's key signed it, for AWS, and it has not expired."""
    assert web_identity.is_valid(web_identity.sign(claims, key), "k") is valid


@pytest.mark.parametrize("token", ["", ".", "a.b.c", "x" * 1000])
def test_what_is_no_token_is_not_valid(token: str) -> None:
    """Anything else than a signed token is refused, also where there is no key."""
    assert not web_identity.is_valid(token, "k")
    assert not web_identity.is_valid(token, "")


def test_roles_are_assumed_with_a_token_of_this_run(aws: str) -> None:
    """STS gives keys for an unsigned request with a token of the local Buildkite, and for no other."""
    standins.create_role(aws, ROLE)

    def ask(token: str) -> httpx.Response:
        asked = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": ROLE,
            "RoleSessionName": "test",
            "WebIdentityToken": token,
        }
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return httpx.post(aws, content=urlencode(asked), headers=kind)

    assert ask("header.payload.1").status_code == 403
    assert ask(web_identity.sign(CLAIMS, "other")).status_code == 403
    answer = ask(web_identity.sign(CLAIMS, standins.WEB_IDENTITY_KEY))
    assert answer.status_code == 200, answer.text
    assert "<AccessKeyId>" in answer.text


def test_secrets_are_read_without_the_rest_of_the_input(tmp_path: Path) -> None:
    """A service that has read its secrets still ends with its standard input."""
    with standins.started("wandb", "--data", tmp_path, secrets={"api_key": json.dumps("ü")}) as running:
        assert running.stop() == 0
