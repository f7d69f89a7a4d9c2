from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

import http_api
from modelbuild.aws import storage as storage_module
from modelbuild.aws.identity import session
from modelbuild.aws.storage import NotFound, Storage
from modelbuild.errors import AwsError, ConfigurationError
from modelbuild.settings import AwsSettings


@pytest.fixture
def storage(cloud: str) -> Storage:
    """S3 as the default identity sees it."""
    assert cloud
    return Storage(session(AwsSettings()))


def test_what_is_written_is_read(storage: Storage, bucket: str) -> None:
    """Bytes come back as they were, and the last writer wins."""
    storage.write(f"{bucket}/a/b", b"first")
    storage.write(f"{bucket}/a/b", b"\0second")
    assert storage.read(f"{bucket}/a/b") == b"\0second"


def test_stream_is_in_chunks(storage: Storage, bucket: str) -> None:
    """An object of any size is read in chunks of at most 1 MiB."""
    body = os.urandom((5 << 19) + 17)
    storage.write(f"{bucket}/large", body)
    chunks = list(storage.stream(f"{bucket}/large"))
    assert b"".join(chunks) == body
    assert len(chunks) > 2
    assert max(len(chunk) for chunk in chunks) <= 1 << 20


@dataclass
class BreakingObject:
    """An object whose bytes break off after some of them, as often as ``breaks`` says, over HTTP."""

    content: bytes
    breaks: int
    after: int
    versions: list[str] = field(default_factory=lambda: ["first"])
    ranges: list[str | None] = field(default_factory=list)

    def handler(self) -> type[http_api.JsonHandler]:
        """The server of the object."""
        about = self

        class Handler(http_api.JsonHandler):
            def do_GET(self) -> None:
                asked, expected = self.headers["Range"], self.headers["If-Match"]
                about.ranges.append(asked)
                etag = f'"{about.versions[-1]}"'
                if expected not in (None, etag):
                    self._send(412, b"<Error><Code>PreconditionFailed</Code></Error>", etag)
                    return
                start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
                self._send(206 if asked else 200, about.content[start:], etag)

            def _send(self, status: int, body: bytes, etag: str) -> None:
                self.send_response(status)
                self.send_header("ETag", etag)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if status != 412 and about.breaks:
                    about.breaks -= 1
                    body, self.close_connection = body[: about.after], True
                self.wfile.write(body)

        return Handler


def reader(address: str, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """S3 at an address, whose reads are repeated without a pause."""
    for name, value in {"ENDPOINT_URL": address, "ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": "s"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(storage_module, "_BODY_WAIT_SECONDS", 0.0)
    return Storage(session(AwsSettings()))


@pytest.mark.parametrize("after", [0, 10, 1_500_000])
def test_a_body_that_breaks_off_is_continued(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the same object is asked for; no byte is there twice or missing."""
    broken = BreakingObject(os.urandom(4_000_000), breaks=2, after=after)
    with http_api.served(broken.handler()) as server:
        found = reader(http_api.url(server), monkeypatch).read("s3://bucket/model.tar.gz")
    assert found == broken.content
    assert len(broken.ranges) == 3
    assert broken.ranges[0] is None


def test_a_body_that_always_breaks_off_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some tries the error says which object could not be read."""
    broken = BreakingObject(b"0123456789", breaks=1000, after=1)
    with http_api.served(broken.handler()) as server:
        there = reader(http_api.url(server), monkeypatch)
        with pytest.raises(AwsError, match=r"could not read s3://bucket/model\.tar\.gz \("):
            there.read("s3://bucket/model.tar.gz")
    assert len(broken.ranges) == 6


def test_an_object_that_was_replaced_is_not_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of two versions are not one object."""
    broken = BreakingObject(os.urandom(3_000_000), breaks=1, after=1_500_000)
    with http_api.served(broken.handler()) as server:
        chunks = reader(http_api.url(server), monkeypatch).stream("s3://bucket/model.tar.gz")
        next(chunks)
        broken.versions.append("second")
        with pytest.raises(AwsError, match="PreconditionFailed"):
            list(chunks)


def test_first_writer_wins(storage: Storage, bucket: str) -> None:
    """write_once writes once: later calls say so and change nothing."""
    assert storage.write_once(f"{bucket}/once", b"first") is True
    assert storage.write_once(f"{bucket}/once", b"second") is False
    assert storage.read(f"{bucket}/once") == b"first"


def test_one_of_many_writers_wins(storage: Storage, bucket: str) -> None:
    """Of writers at the same time exactly one learns that it wrote, and its bytes are there."""
    bodies = [f"writer {number}".encode() for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        wrote = list(pool.map(lambda body: storage.write_once(f"{bucket}/race", body), bodies))
    assert wrote.count(True) == 1
    assert storage.read(f"{bucket}/race") == bodies[wrote.index(True)]


def test_conflict_is_repeated(cloud: str, bucket: str) -> None:
    """S3 answers 409 to a conditional write during another one: the write is repeated, not failed."""
    assert cloud
    made: Any = session(AwsSettings())
    conflict = b"<Error><Code>ConditionalRequestConflict</Code><Message>Conflict</Message></Error>"
    answers = [conflict, conflict]

    class Raw:
        def stream(self) -> Any:
            yield answers.pop()

    headers = HTTPHeaders.from_dict({"Content-Type": "application/xml"})

    def refuse(request: Any, **_: Any) -> Any:
        return AWSResponse(request.url, 409, headers, Raw()) if answers else None

    made.get_component("event_emitter").register("before-send.s3.PutObject", refuse)
    assert Storage(made).write_once(f"{bucket}/once", b"body") is True
    assert answers == []


def test_missing_object_is_not_found(storage: Storage, bucket: str) -> None:
    """Reading what is not there is NotFound; asking whether it exists is not an error."""
    with pytest.raises(NotFound, match=f"could not read {bucket}/absent"):
        storage.read(f"{bucket}/absent")
    assert storage.exists(f"{bucket}/absent") is False
    storage.write(f"{bucket}/present", b"")
    assert storage.exists(f"{bucket}/present") is True


@pytest.mark.parametrize(("size", "expected"), [(1 << 20, None), ((1 << 20) + 1, b"100-continue")])
def test_only_a_large_body_expects_100_continue(
    cloud: str, bucket: str, size: int, expected: bytes | None
) -> None:
    """A small object is written in one round trip; a large one is not sent where S3 refuses it."""
    assert cloud
    made: Any = session(AwsSettings())
    sent = []
    made.get_component("event_emitter").register(
        "before-send.s3.PutObject", lambda request, **_: sent.append(request.headers.get("Expect"))
    )
    assert Storage(made).write_once(f"{bucket}/once", b"0" * size) is True
    assert sent == [expected]


def test_files_travel_whole(storage: Storage, bucket: str, tmp_path: Path) -> None:
    """A file that is sent in parts comes back with the same bytes."""
    body = os.urandom(9 << 20)
    (tmp_path / "up").write_bytes(body)
    storage.upload(tmp_path / "up", f"{bucket}/file")
    assert storage.read(f"{bucket}/file") == body


def test_list_is_by_prefix_and_sorted(storage: Storage, bucket: str) -> None:
    """What begins with the prefix is listed with its size, in order; nothing else is."""
    for name, body in {"b/2": b"22", "b/1": b"1", "bc": b"333", "a": b""}.items():
        storage.write(f"{bucket}/{name}", body)
    assert storage.list(f"{bucket}/b/") == [(f"{bucket}/b/1", 1), (f"{bucket}/b/2", 2)]
    assert [uri for uri, _ in storage.list(bucket)] == [
        f"{bucket}/{name}" for name in ("a", "b/1", "b/2", "bc")
    ]
    assert storage.list(f"{bucket}/none") == []


@pytest.mark.parametrize("uri", ["bucket/key", "s3://", "s3://UPPER/key", "https://bucket/key"])
def test_wrong_location_is_the_users_mistake(storage: Storage, uri: str) -> None:
    """Something else than an S3 location is refused before any call."""
    with pytest.raises(ConfigurationError, match="is not an S3 location"):
        storage.read(uri)


def test_missing_bucket_has_its_fix(storage: Storage) -> None:
    """The error for a bucket that does not exist says what to do about it."""
    with pytest.raises(
        AwsError,
        match=r"could not write s3://no-such-bucket/key \(NoSuchBucket.*deploy the stack that makes it",
    ):
        storage.write("s3://no-such-bucket/key", b"")


def test_unreachable_endpoint_has_its_fix(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error for a refused connection says where to look."""
    assert storage
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(AwsError, match="check the region, AWS_ENDPOINT_URL and the network"):
            Storage(session(AwsSettings())).read("s3://bucket/key")


def test_missing_region_and_credentials_have_their_fix(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without credentials the message says how to give some."""
    assert storage
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(AwsError, match=r"no AWS credentials were found\): give the agent a role"):
        Storage(session(AwsSettings())).read("s3://bucket/key")
