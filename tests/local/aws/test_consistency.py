"""The S3 stand-in is as consistent as S3 where requests for one object come at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from moto.s3.models import FakeKey, S3Backend
from moto.s3.responses import S3Response

from modelbuild_local.aws import consistency


@pytest.fixture(autouse=True)
def original(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test installs is gone after it."""
    for owner, name in ((S3Response, "put_object"), (FakeKey, "dispose"), (FakeKey, "__new__")):
        monkeypatch.setattr(owner, name, getattr(owner, name))


def test_one_writer_looks_and_stores_before_the_next_one_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two requests at the same time do not both find that there is no object yet."""
    keys: list[str] = []
    another = threading.Event()
    looking = threading.Semaphore(1)

    def put_object(self: Any) -> bool:
        found = list(keys)
        # Without a lock, the second request arrives here while the first one waits.
        alone = looking.acquire(blocking=False)
        if not alone:
            another.set()
        another.wait(0.3)
        keys.append(self)
        if alone:
            looking.release()
        return not found

    monkeypatch.setattr(S3Response, "put_object", put_object)
    consistency.install()
    put: Any = S3Response.put_object
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(put, ("one writer", "another"))) == [False, True]


def test_an_object_that_is_replaced_or_deleted_is_read_to_its_end() -> None:
    """A request that has found the object answers with its content, whatever other requests do meanwhile.

    Once nothing reads it, its content is closed.
    """
    consistency.install()
    backend = S3Backend("us-east-1", "123456789012")
    backend.create_bucket("bucket", "us-east-1")
    for change in (
        lambda: backend.put_object("bucket", "key", b"new"),
        lambda: backend.delete_object("bucket", "key"),
    ):
        backend.put_object("bucket", "key", b"old")
        found = backend.get_object("bucket", "key")
        assert found is not None
        content = found._value_buffer
        change()
        assert found.value == b"old"
        del found
        assert content.closed
