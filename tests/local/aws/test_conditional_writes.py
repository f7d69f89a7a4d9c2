"""Conditional writes of the S3 stand-in are atomic: exactly one of several writers creates the object."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from moto.s3.responses import S3Response

from modelbuild_local.aws import conditional_writes


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
    conditional_writes.install()
    put: Any = S3Response.put_object
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(put, ("one writer", "another"))) == [False, True]
