from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter, ValidationError

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
from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.flow.publish import archive, publish, upload_model, upload_predictions
from modelbuild.serving.description import FileName
from modelbuild.store.model import ModelStore

FILES = {"model.safetensors": b"weights", "model.json": b"{}"}


def predictions(answer: str = "p") -> bytes:
    """A Parquet file with one prediction."""
    buffer = io.BytesIO()
    pq.write_table(pa.table({"id": ["1"], "truth": ["p"], "prediction": [answer]}), buffer)
    return buffer.getvalue()


def manifest_of(
    store: ModelStore, asked: TrainingRequest, evaluation: Evaluation, created_at: str
) -> Manifest:
    """A manifest about the uploaded FILES."""
    return Manifest(
        request=asked,
        data=DataSnapshot(source="SELECT 1", athena_execution_id="e", objects=(), rows=1, sha256="2" * 64),
        evaluation=evaluation,
        predictions=upload_predictions(store, predictions()),
        wandb=WandbRun(id="comments-12", url="https://wandb.example/runs/comments-12"),
        artifact=upload_model(store, FILES),
        runtime=Runtime(
            image="i", python="3.11", packages={}, gpu="", driver="", deterministic=True, threads=1
        ),
        golden=(GoldenPrediction(input="a", output={"label": "positive", "scores": {"positive": 1.0}}),),
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


def test_the_archive_takes_every_name_that_a_model_may_have() -> None:
    """A name that is too long is refused when the model is packaged, and not after its training."""
    names: TypeAdapter[str] = TypeAdapter(FileName)
    assert archive({names.validate_python("w" * 100): b""})
    with pytest.raises(ValidationError):
        names.validate_python("w" * 101)


def test_the_result_says_where_the_model_is(
    store: ModelStore, asked: TrainingRequest, evaluation: Evaluation
) -> None:
    """What the build gets is where the model lies, its hash, and the environment that verifies it."""
    result = publish(store, manifest_of(store, asked, evaluation, "2026-01-01T00:00:00+00:00"))
    content = store.objects.read(result.model_path)
    assert result.status == "succeeded"
    assert result.model_sha256 == hashlib.sha256(content).hexdigest()
    assert result.env["MODEL_DESCRIPTION_SHA256"] == hashlib.sha256(b"{}").hexdigest()
    assert result.env["MODEL_NAME"] == "sentiment"
    assert (result.env["MODEL_ID"], result.env["MODEL_PIPELINE"], result.image) == (
        "12",
        "comments",
        "serve:1",
    )
    assert TrainingResult.model_validate_json(store.objects.read(f"{asked.artifacts}/result.json")) == result


def test_publishing_again_changes_nothing(
    store: ModelStore, asked: TrainingRequest, evaluation: Evaluation
) -> None:
    """A retried step finds its manifest and result as they were written first."""
    first = publish(store, manifest_of(store, asked, evaluation, "2026-01-01T00:00:00+00:00"))
    before = store.objects.read(first.manifest)
    second = manifest_of(store, asked, evaluation, "2026-02-02T00:00:00+00:00")
    assert publish(store, second.model_copy(update={"wandb": WandbRun(id="other", url="")})) == first
    assert store.objects.read(first.manifest) == before


def test_a_training_that_was_declared_failed_stays_failed(
    store: ModelStore, asked: TrainingRequest, evaluation: Evaluation
) -> None:
    """The first result stands: a late success does not contradict the result that the build has."""
    failed = TrainingResult(status="failed", reason="the host was lost")
    store.objects.write_once(f"{asked.artifacts}/result.json", failed.to_json().encode())
    assert publish(store, manifest_of(store, asked, evaluation, "2026-01-01T00:00:00+00:00")) == failed


def test_checkpoints_go_when_the_model_is_published(
    store: ModelStore, asked: TrainingRequest, evaluation: Evaluation, tmp_path: Path
) -> None:
    """A training whose model is refused leaves them to the other one, which may still need them."""
    (tmp_path / "tensors").write_bytes(b"tensors")
    store.checkpoints().write(tmp_path / "tensors", step=1, inputs_sha256="1" * 64, progress={})
    manifest = manifest_of(store, asked, evaluation, "2026-01-01T00:00:00+00:00")
    others = manifest.artifact.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(VerificationFailed, match="another training of the model has replaced"):
        publish(store, manifest.model_copy(update={"artifact": others}))
    read = store.checkpoints().read_newest("1" * 64, tmp_path / "read")
    assert read is not None
    publish(store, manifest)
    assert store.checkpoints().read_newest("1" * 64, tmp_path / "read") is None


def test_each_attempt_has_its_own_result(
    store: ModelStore, asked: TrainingRequest, evaluation: Evaluation
) -> None:
    """The failure of an earlier attempt does not stand in the way of a later one's success."""
    failed = TrainingResult(status="failed", reason="the host was lost")
    store.objects.write_once(f"{asked.artifacts}/result.json", failed.to_json().encode())
    manifest = manifest_of(store, asked, evaluation, "2026-01-01T00:00:00+00:00")
    result = publish(store, manifest, attempt=2)
    assert result.status == "succeeded"
    second = store.objects.read(f"{asked.artifacts}/attempts/2/result.json")
    assert TrainingResult.model_validate_json(second) == result


def test_another_model_under_the_same_prefix_is_refused(
    store: ModelStore, asked: TrainingRequest, evaluation: Evaluation
) -> None:
    """A model with a manifest is never replaced; the same one again is fine."""
    store.write_manifest_once(manifest_of(store, asked, evaluation, "2026-01-01T00:00:00+00:00"))
    first = upload_model(store, FILES)
    assert upload_model(store, FILES) == first
    with pytest.raises(VerificationFailed, match=r"model\.tar\.gz is there with SHA-256"):
        upload_model(store, {**FILES, "model.safetensors": b"others"})
    assert hashlib.sha256(store.objects.read(first.path)).hexdigest() == first.sha256


def test_what_an_interrupted_training_left_is_replaced(store: ModelStore) -> None:
    """Without a manifest no program has used the model: one that is trained again takes its place."""
    upload_model(store, FILES)
    upload_predictions(store, predictions())
    model = upload_model(store, {**FILES, "model.safetensors": b"others"})
    answers = upload_predictions(store, predictions("n"))
    for written in (model, answers):
        assert hashlib.sha256(store.objects.read(written.path)).hexdigest() == written.sha256


def test_predictions_lie_beside_the_model(
    store: ModelStore, asked: TrainingRequest, evaluation: Evaluation
) -> None:
    """Those that a manifest names are not replaced by others."""
    first = upload_predictions(store, predictions())
    assert (first.path, first.rows) == (f"{store.prefix}/predictions.parquet", 1)
    assert hashlib.sha256(store.objects.read(first.path)).hexdigest() == first.sha256
    store.write_manifest_once(manifest_of(store, asked, evaluation, "2026-01-01T00:00:00+00:00"))
    assert upload_predictions(store, predictions()) == first
    with pytest.raises(VerificationFailed, match=r"predictions\.parquet is there with SHA-256"):
        upload_predictions(store, predictions("n"))


def test_a_model_without_its_description_is_refused(store: ModelStore) -> None:
    """A server could not know what it is."""
    with pytest.raises(ConfigurationError, match=r"files are model\.safetensors: model\.json must be among"):
        upload_model(store, {"model.safetensors": b"weights"})
