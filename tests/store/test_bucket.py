"""What all trainings of one bucket share."""

from __future__ import annotations

import pytest

import samples
from memory import MemoryObjects
from modelbuild.store.bucket import BucketStore
from modelbuild.store.records import InvalidRecord

ARTIFACTS = "s3://bucket/models/shop/mail/7"


def test_cancelled_builds_are_read_as_they_were_written() -> None:
    """The first head of a time slice asks; the others find its answer, also where no build was cancelled."""
    store, build = BucketStore(MemoryObjects(), ARTIFACTS), samples.build(7, "shop")
    assert store.cancelled(build, 1) is None
    assert store.claim_request(build, 1)
    assert not store.claim_request(build, 1)
    store.write_cancelled(build, 1, {9, 7})
    store.write_cancelled(build, 2, set())
    assert store.cancelled(build, 1) == {7, 9}
    assert store.cancelled(build, 2) == set()


@pytest.mark.parametrize("content", [b"[7", b'{"7": 1}', b'["seven"]', b"\xff", b"[" * 100_000])
def test_an_answer_that_is_none_is_a_sentence(content: bytes) -> None:
    """The job of a training may write to the bucket, so what lies there may be anything."""
    objects, build = MemoryObjects(), samples.build(7, "shop")
    store = BucketStore(objects, ARTIFACTS)
    store.write_cancelled(build, 1, {7})
    [(uri, _)] = objects.list("s3://bucket/buildkite/cancelled/")
    objects.write(uri, content)
    with pytest.raises(InvalidRecord, match="is not a list of cancelled builds"):
        store.cancelled(build, 1)
