from __future__ import annotations

import gzip
import hashlib
import io
import tarfile

import pytest

from modelbuild.aws.storage import Storage
from modelbuild.contract import (
    DataSnapshot,
    Evaluation,
    GoldenPrediction,
    Manifest,
    Runtime,
    TrainingRequest,
    TrainingResult,
    WandbRun,
)
from modelbuild.errors import VerificationFailed
from modelbuild.flow.publish import archive, publish, upload

FILES = {"model.safetensors": b"weights", "model.json": b"{}"}


def manifest_of(
    storage: Storage, asked: TrainingRequest, evaluation: Evaluation, created_at: str
) -> Manifest:
    """A manifest about the uploaded FILES."""
    return Manifest(
        request=asked,
        data=DataSnapshot(query="SELECT 1", execution_id="e", objects=(), rows=1, sha256="2" * 64),
        evaluation=evaluation,
        wandb=WandbRun(id="comments-12", url="https://wandb.example/runs/comments-12"),
        artifact=upload(storage, asked.artifacts, FILES),
        runtime=Runtime(
            image="i", python="3.11", packages={}, gpu="", driver="", deterministic=True, threads=1
        ),
        golden=(GoldenPrediction(text="a", label="positive", scores={"positive": 1.0}),),
        timings={"train": 1.0},
        created_at=created_at,
    )


def test_an_archive_is_a_function_of_its_files() -> None:
    """Neither the order of the files, nor the time, nor the user is in the bytes."""
    content = archive(FILES)
    assert content == archive(dict(reversed(FILES.items())))
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(content))) as tar:
        assert tar.getnames() == sorted(FILES)
        assert {(one.mtime, one.uid, one.uname, one.mode) for one in tar} == {(0, 0, "", 0o644)}
    assert content[4:8] == b"\0\0\0\0"


def test_the_result_says_where_the_model_is(
    storage: Storage, asked: TrainingRequest, evaluation: Evaluation
) -> None:
    """What the build gets is where the model lies, its hash, and the environment that verifies it."""
    result = publish(storage, manifest_of(storage, asked, evaluation, "2026-01-01T00:00:00+00:00"))
    content = storage.read(result.model_path)
    assert result.status == "succeeded"
    assert result.model_sha256 == hashlib.sha256(content).hexdigest()
    assert result.env["MODEL_WEIGHTS_SHA256"] == hashlib.sha256(b"weights").hexdigest()
    assert (result.env["MODEL_ID"], result.env["MODEL_PIPELINE"], result.image) == (
        "12",
        "comments",
        "serve:1",
    )
    assert TrainingResult.model_validate_json(storage.read(f"{asked.artifacts}/result.json")) == result


def test_publishing_again_changes_nothing(
    storage: Storage, asked: TrainingRequest, evaluation: Evaluation
) -> None:
    """A retried step finds its manifest and result as they were written first."""
    first = publish(storage, manifest_of(storage, asked, evaluation, "2026-01-01T00:00:00+00:00"))
    before = storage.read(first.manifest)
    second = manifest_of(storage, asked, evaluation, "2026-02-02T00:00:00+00:00")
    assert publish(storage, second.model_copy(update={"wandb": WandbRun(id="other", url="")})) == first
    assert storage.read(first.manifest) == before


def test_a_training_that_was_declared_failed_stays_failed(
    storage: Storage, asked: TrainingRequest, evaluation: Evaluation
) -> None:
    """The first result stands: a late success does not contradict what the build was told."""
    failed = TrainingResult(status="failed", reason="the host was lost")
    storage.write_once(f"{asked.artifacts}/result.json", failed.to_json().encode())
    assert publish(storage, manifest_of(storage, asked, evaluation, "2026-01-01T00:00:00+00:00")) == failed


def test_each_attempt_has_its_own_result(
    storage: Storage, asked: TrainingRequest, evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure of an earlier attempt does not stand in the way of a later one's success."""
    failed = TrainingResult(status="failed", reason="the host was lost")
    storage.write_once(f"{asked.artifacts}/result.json", failed.to_json().encode())
    monkeypatch.setenv("ATTEMPT", "2")
    result = publish(storage, manifest_of(storage, asked, evaluation, "2026-01-01T00:00:00+00:00"))
    assert result.status == "succeeded"
    second = storage.read(f"{asked.artifacts}/attempts/2/result.json")
    assert TrainingResult.model_validate_json(second) == result


def test_another_model_in_the_same_place_is_refused(storage: Storage, artifacts: str) -> None:
    """A model that exists is never replaced; the same one again is fine."""
    first = upload(storage, artifacts, FILES)
    assert upload(storage, artifacts, FILES) == first
    with pytest.raises(VerificationFailed, match=r"model\.tar\.gz is there with SHA-256"):
        upload(storage, artifacts, {**FILES, "model.safetensors": b"others"})
