"""Objects in S3, as the job that scores rows reads and writes them over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

import http_api
from modelbuild.errors import AwsError
from modelbuild.serving.scoring import objects
from modelbuild.serving.scoring.objects import RoleObjects

CONTENT = bytes(range(256)) * 5_000


@dataclass
class Bucket:
    """One object, and how S3 answers the next requests: with a status, or with a body that breaks off."""

    faults: list[int | None] = field(default_factory=list)
    requests: int = 0
    written: list[bytes] = field(default_factory=list)


@pytest.fixture
def bucket() -> Bucket:
    """What S3 has."""
    return Bucket()


@pytest.fixture
def of_role(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[RoleObjects]:
    """The job's access to S3, without a pause before it tries again."""

    class Handler(http_api.JsonHandler):
        def do_GET(self) -> None:
            if self.path == "/keys":
                self.answer({"AccessKeyId": "k", "SecretAccessKey": "s", "Token": "t"})
                return
            self._object(CONTENT)

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not bucket.faults:
                bucket.written.append(body)
            self._object(b"")

        def _object(self, body: bytes) -> None:
            bucket.requests += 1
            fault = bucket.faults.pop(0) if bucket.faults else 200
            self.send_response(fault or 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            # The client closes the connection of an answer that is an error.
            with suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(body if fault else body[:100_000])
            self.close_connection = True

    monkeypatch.setattr(objects, "_FIRST_PAUSE_SECONDS", 0.0)
    with http_api.served(Handler) as server:
        yield RoleObjects(
            {
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ENDPOINT_URL": http_api.url(server),
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{http_api.url(server)}/keys",
            }
        )


@pytest.mark.parametrize("fault", [429, 500, 503, None])
def test_a_read_is_repeated(bucket: Bucket, of_role: RoleObjects, fault: int | None) -> None:
    """S3 that is busy, and a body that breaks off, cost a pause; the bytes are whole."""
    bucket.faults = [fault, fault]
    assert of_role.read("s3://bucket/rows.jsonl") == CONTENT
    assert bucket.requests == 3


@pytest.mark.parametrize("fault", [409, 429, 503])
def test_a_write_is_repeated(bucket: Bucket, of_role: RoleObjects, fault: int) -> None:
    """S3 answers 409 to a conditional write during another one, and asks to try again."""
    bucket.faults = [fault, fault]
    assert of_role.write_once("s3://bucket/scores.json", b"scores") is True
    assert bucket.written == [b"scores"]


def test_the_first_writer_wins(bucket: Bucket, of_role: RoleObjects) -> None:
    """An object that is there stays, which is no error."""
    bucket.faults = [412]
    assert of_role.write_once("s3://bucket/scores.json", b"scores") is False
    assert bucket.written == []


@pytest.mark.parametrize(("fault", "requests"), [(403, 1), (503, 4), (None, 4)])
def test_what_does_not_pass_is_an_error(
    bucket: Bucket, of_role: RoleObjects, fault: int | None, requests: int
) -> None:
    """A refusal at once, and the others after some tries; the error names the object."""
    bucket.faults = [fault] * 9
    with pytest.raises(AwsError, match=r"could not read s3://bucket/rows\.jsonl"):
        of_role.read("s3://bucket/rows.jsonl")
    assert bucket.requests == requests
