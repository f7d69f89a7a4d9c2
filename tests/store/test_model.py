"""The files of a model while two trainings of it write."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

import recorded
from memory import MemoryObjects
from modelbuild.contract import Manifest
from modelbuild.errors import VerificationFailed
from modelbuild.store.attempts import JobRecord
from modelbuild.store.model import ModelStore

PREFIX = recorded.manifest("12").request.artifacts
FIRST, SECOND = b"of the first training", b"of the second training"
PREDICTIONS = b"predictions"


class OneAtATime(MemoryObjects):
    """Objects, before a certain call on which another program writes."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[tuple[str, str], Callable[[], object]] = {}

    def replace(self, uri: str, body: bytes, tag: str, content_type: str = "application/json") -> str | None:
        """Write an object in place of the bytes with this tag."""
        self._turn("replace", uri)
        return super().replace(uri, body, tag, content_type)

    def write_once(self, uri: str, body: bytes, content_type: str = "application/json") -> bool:
        """Write an object unless one is there."""
        self._turn("write_once", uri)
        return super().write_once(uri, body, content_type)

    def _turn(self, call: str, uri: str) -> None:
        if turn := self.before.pop((call, uri.rpartition("/")[2]), None):
            turn()


@pytest.fixture
def objects() -> OneAtATime:
    """S3."""
    return OneAtATime()


@pytest.fixture
def store(objects: OneAtATime) -> ModelStore:
    """The model, as both trainings see it."""
    return ModelStore(objects, PREFIX)


def head(attempt: int) -> JobRecord:
    """The head of an attempt."""
    return JobRecord(job_id=f"job-{attempt}", queue="heads", region="us-east-1", attempt=attempt)


def test_the_newest_head_stays_on_record(objects: OneAtATime, store: ModelStore) -> None:
    """A newer head may be recorded between the look of a late program and its write."""
    store.record_job(head(1))
    objects.before["replace", "job.json"] = lambda: store.record_job(head(3))
    store.record_job(head(2))
    assert store.job() == head(3)
    store.record_job(head(1))
    assert store.job() == head(3)
    store.record_job(head(4))
    assert store.job() == head(4)


def manifest_of(model: bytes, predictions: bytes = PREDICTIONS) -> Manifest:
    """The manifest of a training."""
    made = recorded.manifest("12")
    found = [hashlib.sha256(content).hexdigest() for content in (model, predictions)]
    artifact = made.artifact.model_copy(update={"sha256": found[0]})
    answers = made.predictions.model_copy(update={"sha256": found[1]})
    return made.model_copy(update={"artifact": artifact, "predictions": answers})


def publish_first(store: ModelStore) -> None:
    """All that the first training writes."""
    store.write_model(FIRST)
    store.write_predictions(PREDICTIONS)
    store.publish_manifest(manifest_of(FIRST))


@pytest.mark.parametrize("left", [FIRST, b"of a training that died"])
def test_a_model_stays_that_is_published_while_another_one_replaces_it(
    left: bytes, objects: OneAtATime, store: ModelStore
) -> None:
    """The second training found no manifest, and the first one writes it before the second one's model."""
    store.write_model(left)
    objects.before["replace", "model.tar.gz"] = lambda: publish_first(store)
    with pytest.raises(VerificationFailed, match=r"model\.tar\.gz is there with SHA-256"):
        store.write_model(SECOND)
    store.require_files(manifest_of(FIRST))
    assert store.manifest() == manifest_of(FIRST)


def test_predictions_stay_that_are_published_while_others_replace_them(
    objects: OneAtATime, store: ModelStore
) -> None:
    """The predictions of the first training are those of its manifest, as its model is."""
    store.write_predictions(PREDICTIONS)
    objects.before["replace", "predictions.parquet"] = lambda: publish_first(store)
    with pytest.raises(VerificationFailed, match=r"predictions\.parquet is there with SHA-256"):
        store.write_predictions(b"others")
    store.require_files(manifest_of(FIRST))


def test_a_model_that_another_training_has_just_written_stays(objects: OneAtATime, store: ModelStore) -> None:
    """Of two trainings that replace what an interrupted one left, the later one is refused."""
    store.write_model(b"of a training that died")
    objects.before["replace", "model.tar.gz"] = lambda: store.write_model(FIRST)
    with pytest.raises(VerificationFailed, match=r"model\.tar\.gz is there with SHA-256"):
        store.write_model(SECOND)
    assert objects.read(store.model_uri) == FIRST


def test_a_training_whose_model_was_replaced_publishes_none(store: ModelStore) -> None:
    """It writes no manifest; the training that replaced its model publishes its own."""
    store.write_model(FIRST)
    store.write_predictions(PREDICTIONS)
    store.write_model(SECOND)
    with pytest.raises(VerificationFailed, match="another training of the model has replaced the file"):
        store.publish_manifest(manifest_of(FIRST))
    assert store.manifest() is None
    assert store.publish_manifest(manifest_of(SECOND)) == manifest_of(SECOND)


def test_neither_training_succeeds_with_a_manifest_of_other_bytes(
    objects: OneAtATime, store: ModelStore
) -> None:
    """Where the second training replaces the model between the first one's last look and its manifest, both
    are refused, and so is who trains again; the first one's bytes make the model good.
    """
    store.write_model(FIRST)
    store.write_predictions(PREDICTIONS)
    objects.before["write_once", "manifest.json"] = lambda: store.write_model(SECOND)
    for mine in (FIRST, SECOND):
        with pytest.raises(VerificationFailed, match="another training of the model has replaced the file"):
            store.publish_manifest(manifest_of(mine))
    store.write_model(FIRST)
    assert store.publish_manifest(manifest_of(FIRST)) == manifest_of(FIRST)


def test_a_lost_answer_is_no_other_training(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request is sent again whose answer was lost, and S3 then says that the bytes are others."""
    replace = OneAtATime.replace

    def lost(self: OneAtATime, uri: str, body: bytes, tag: str, content_type: str = "") -> str | None:
        replace(self, uri, body, tag, content_type)
        return replace(self, uri, body, tag, content_type)

    monkeypatch.setattr(OneAtATime, "replace", lost)
    store.write_model(FIRST)
    store.write_model(SECOND)
    assert store.objects.read(store.model_uri) == SECOND
