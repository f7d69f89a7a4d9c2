from __future__ import annotations

import hashlib
import json
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

import models
from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.serving.description import ModelDescription
from modelbuild.serving.features import features
from modelbuild.serving.kinds.hashed_ngrams import KIND, HashedNgramsModel, HashedNgramsOptions
from modelbuild.serving.model import load_directory


def decode(description: ModelDescription, weights: bytes) -> HashedNgramsModel:
    """The model of these weights."""
    return KIND.load(description, {"model.safetensors": weights})


def with_options(description: ModelDescription, **options: Any) -> ModelDescription:
    """A description with other options."""
    return description.model_copy(update={"options": {**description.options, **options}})


def test_loads_what_was_approved(published: Any) -> None:
    """A model whose bytes have the approved hash answers with its labels and probabilities that sum to 1."""
    model = load_directory(published.directory, published.environment.description_sha256)
    first, second = model.predict(["good day", "!"])
    scores = first["scores"]
    assert first["label"] == max(scores, key=scores.__getitem__)
    assert {first["label"], second["label"]} <= set(published.description.output.labels)
    assert sum(scores.values()) == pytest.approx(1)


def test_refuses_changed_weights(published: Any) -> None:
    """One changed bit in the weights is found before anything is served."""
    path = published.directory / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(VerificationFailed, match=r"model\.safetensors has SHA-256"):
        load_directory(published.directory, published.environment.description_sha256)


def test_refuses_another_model(published: Any) -> None:
    """Files that fit each other but are not the approved ones are refused."""
    with pytest.raises(VerificationFailed, match=f"MODEL_DESCRIPTION_SHA256 says {'0' * 64}"):
        load_directory(published.directory, "0" * 64)


def test_a_machine_that_is_too_small_is_named(published: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server ends with what to change, and does not call it a defect of the model."""

    def fail(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(HashedNgramsModel, "predict", fail)
    with pytest.raises(ConfigurationError, match="not fit into the memory of this machine: deploy it to a"):
        load_directory(published.directory, published.environment.description_sha256)


def test_refuses_weights_that_do_not_fit_their_description(published: Any) -> None:
    """A description of another shape is refused, rather than answers from the wrong rows."""
    wrong = with_options(published.description, buckets=32)
    approved = models.describe(published.directory, wrong).environment.description_sha256
    with pytest.raises(VerificationFailed, match="shapes"):
        load_directory(published.directory, approved)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.full((64, 3), np.nan, np.float32), "the training diverged"),
        (np.full((64, 3), np.inf, np.float32), "the training diverged"),
        (np.zeros((64, 3), np.float64), "F64"),
    ],
)
def test_refuses_weights_that_nothing_can_be_predicted_with(
    published: Any, weight: Any, message: str
) -> None:
    """Weights of a training that diverged are not published as a model, nor served."""
    content = safetensors.numpy.save({"weight": weight, "bias": np.zeros(3, np.float32)})
    with pytest.raises(VerificationFailed, match=message):
        decode(published.description, content)


def safetensors_of(weight_dtype: str, weight_bytes: bytes) -> bytes:
    """A safetensors file as any library may write it, with a bias that fits."""
    offset = len(weight_bytes)
    header = {
        "weight": {"dtype": weight_dtype, "shape": [64, 3], "data_offsets": [0, offset]},
        "bias": {"dtype": "F32", "shape": [3], "data_offsets": [offset, offset + 12]},
    }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + weight_bytes + bytes(12)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [("BF16", 2), ("F16", 2), ("F8_E4M3", 1), ("F8_E5M2", 1), ("I8", 1), ("U16", 2), ("I64", 8), ("BOOL", 1)],
)
def test_refuses_other_types_of_weights(published: Any, dtype: str, size: int) -> None:
    """Weights of another type are refused in a sentence that names it, known to numpy or not."""
    with pytest.raises(VerificationFailed, match=f"'weight' {dtype} .*as float32 in these shapes"):
        decode(published.description, safetensors_of(dtype, bytes(64 * 3 * size)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"\xff" * 64,
        safetensors_of("COMPLEX64", bytes(64 * 3 * 8)),
        safetensors_of("F32", bytes(7)),
    ],
)
def test_refuses_what_is_not_safetensors(published: Any, content: bytes) -> None:
    """A torn file, and one with an unknown type, are refused in a sentence."""
    with pytest.raises(ConfigurationError, match=r"model\.safetensors is not a safetensors file"):
        decode(published.description, content)


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"weight": np.zeros((64, 3), np.float32)},
        {"weight": np.zeros((0, 3), np.float32), "bias": np.zeros(3, np.float32)},
        {"weight": np.zeros((3, 64), np.float32), "bias": np.zeros(3, np.float32)},
        {f"layer.{index}": np.zeros(1, np.float32) for index in range(200)},
    ],
)
def test_refuses_other_tensors(published: Any, tensors: dict[str, Any]) -> None:
    """Tensors that are missing, empty, turned around or of another model get one short sentence."""
    with pytest.raises(VerificationFailed, match="describes 'bias' F32") as refusal:
        decode(published.description, safetensors.numpy.save(tensors))
    assert len(str(refusal.value)) < 350


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output": {"type": "label", "labels": []}}, "labels: "),
        ({"output": {"type": "label", "labels": ["a", "b", "a"]}}, "the label 'a' occurs 2 times"),
        ({"output": {"type": "label", "labels": ["a", ""]}}, r"labels\.1: "),
        (
            {"output": {"type": "number"}},
            "declares input text and output number, which kind hashed",
        ),
        ({"output": {"type": "sound"}}, "output: "),
        (
            {"input": {"type": "tensor", "shape": [1000, 1000]}},
            "has more values than the 1,000,000 of a request",
        ),
        (
            {"input": {"type": "tensor", "shape": [10**9] * 8}},
            "has more values than the 1,000,000 of a request",
        ),
        ({"options": {"features": 3, "buckets": 0, "ngrams": 2}}, "wrong options.buckets"),
        ({"options": {"features": 3, "buckets": 64, "ngrams": 6}}, "wrong options.ngrams"),
        ({"options": {"features": 1, "buckets": 64, "ngrams": 2}}, "wrong options.features"),
        ({"options": {"buckets": 64, "ngrams": 2, "more": 1}}, "wrong options.more"),
        (
            {"kind": "flux"},
            "is of kind 'flux', and this image has the kinds hashed-ngrams-linear, onnx: ",
        ),
        ({"files": {}}, "files: "),
        ({"files": {"../model.safetensors": "0" * 64}}, "files"),
        ({"version": 1}, "has version 1, and this server reads version 3: serve the model with the image of"),
        ({"version": "x" * 5}, "has version 'xxxxx'"),
    ],
)
def test_refuses_a_description_that_fits_no_model(
    published: Any, change: dict[str, Any], message: str
) -> None:
    """A description without labels, with one twice, of another version, or of instances that no request can
    hold is refused when it is loaded.
    """
    values = {**json.loads(published.description.to_json()), **change}
    content = json.dumps(values).encode()
    (published.directory / "model.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        load_directory(published.directory, hashlib.sha256(content).hexdigest())


def test_refuses_more_buckets_than_there_can_be(published: Any) -> None:
    """A number of buckets that no machine has is a sentence, like any other that does not fit."""
    wrong = with_options(published.description, buckets=10**30)
    with pytest.raises(VerificationFailed, match=str(10**30)):
        decode(wrong, (published.directory / "model.safetensors").read_bytes())


@given(st.lists(st.text(max_size=40), min_size=1, max_size=6))
def test_a_batch_is_its_texts_one_by_one(texts: list[str]) -> None:
    """What is predicted together with a text does not change its scores, to the last bit."""
    random = np.random.default_rng(5)
    weight, bias = random.normal(size=(512, 3)), random.normal(size=3)
    options = HashedNgramsOptions(buckets=512, ngrams=3)
    model = HashedNgramsModel(("a", "b", "c"), options, weight.astype(np.float32), bias.astype(np.float32))
    large = [*texts, "long text " * 5_000, *texts]
    assert model.predict(large)[: len(texts)] == [model.predict([text])[0] for text in texts]


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_names_the_missing_file(published: Any, name: str) -> None:
    """A missing file is named in one sentence."""
    (published.directory / name).unlink()
    with pytest.raises(ConfigurationError, match=f"{name}: No such file"):
        load_directory(published.directory, published.environment.description_sha256)


def test_refuses_a_description_it_cannot_read(published: Any) -> None:
    """A model.json of another kind of model is refused."""
    content = b'{"kind": "pickle"}'
    (published.directory / "model.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match="does not describe a model"):
        load_directory(published.directory, hashlib.sha256(content).hexdigest())


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_scores_are_probabilities(texts: list[str]) -> None:
    """Any texts, even without a token, get finite probabilities that sum to 1, one row each."""
    weight = np.linspace(-300, 300, 16, dtype=np.float32).reshape(8, 2)
    options = HashedNgramsOptions(buckets=8, ngrams=2)
    scores = HashedNgramsModel(("a", "b"), options, weight, np.zeros(2, dtype=np.float32)).scores(texts)
    assert scores.shape == (len(texts), 2)
    assert np.isfinite(scores).all()
    assert scores.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("texts", [["the cat sat on a mat " * 476], ["the cat sat on a mat " * 4] * 120])
def test_memory_does_not_grow_with_the_labels(texts: list[str]) -> None:
    """One long text or many short ones, with weights of 300 labels: as much memory as with few labels."""
    labels, buckets = 300, 256
    weight = np.random.default_rng(1).normal(size=(buckets, labels)).astype(np.float32) / np.float32(1000)
    options = HashedNgramsOptions(buckets=buckets, ngrams=2, characters=6)
    model = HashedNgramsModel(tuple(map(str, range(labels))), options, weight, np.zeros(labels, np.float32))
    ids, offsets = features(texts, buckets=buckets, ngrams=2, characters=6)
    logits = np.add.reduceat(weight[ids].astype(np.float64), offsets[:-1], axis=0)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    tracemalloc.start()
    scores = model.scores(texts)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.allclose(scores, expected)
    assert most < 32 << 20
