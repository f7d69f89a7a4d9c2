"""S3's conditional writes, on which it depends who trains: the first writer wins, whoever else is there."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from moto.s3.responses import S3Response

from modelbuild_local.aws import conditional_writes


def test_one_writer_looks_and_stores_before_the_next_one_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two requests at the same time do not both find that there is no object yet."""
    stored: list[str] = []
    another = threading.Event()
    looking = threading.Semaphore(1)

    def put_object(self: Any) -> bool:
        found = list(stored)
        # A second request that looks meanwhile is what must not be: it would be let through here.
        if not looking.acquire(blocking=False):
            another.set()
        another.wait(0.3)
        stored.append(self)
        looking.release()
        return not found

    monkeypatch.setattr(S3Response, "put_object", put_object)
    conditional_writes.install()
    put: Any = S3Response.put_object
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(put, ("one writer", "another"))) == [False, True]
