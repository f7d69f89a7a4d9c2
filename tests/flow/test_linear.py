"""Models of hashed n-grams, as a flow makes them from its weights."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from modelbuild.contract import sha256_of_json
from modelbuild.errors import VerificationFailed
from modelbuild.flow import linear
from modelbuild.flow.packaging import golden
from modelbuild.serving.description import ModelDescription
from modelbuild.serving.features import features
from modelbuild.serving.model import load

PARAMETERS: dict[str, Any] = {"seed": 1}


def weights(buckets: int = 16, labels: int = 2) -> bytes:
    """Weights of a small model."""
    random = np.random.default_rng(1)
    return safetensors.numpy.save(
        {
            "weight": random.normal(size=(buckets, labels)).astype(np.float32),
            "bias": np.zeros(labels, np.float32),
        }
    )


def made(content: bytes) -> dict[str, bytes]:
    """The files of a model with these weights."""
    return linear.files(content, labels=["n", "p"], buckets=16, ngrams=2, parameters=PARAMETERS)


def test_files_are_what_the_server_reads() -> None:
    """The description beside the weights is enough to answer as the flow's model does."""
    files = made(weights())
    assert sorted(files) == ["model.json", "model.safetensors"]
    description = ModelDescription.model_validate_json(files["model.json"])
    assert description.parameters_sha256 == sha256_of_json(PARAMETERS)
    assert load(files).predict(["a text"])[0]["label"] in ("n", "p")


def test_weights_of_another_shape_are_refused() -> None:
    """A flow that mixes up its parameters fails where it trains, and not where the model is served."""
    with pytest.raises(VerificationFailed):
        made(weights(buckets=8))


@pytest.mark.parametrize(("rows", "expected"), [(1, 1), (8, 8), (20, 8), (100, 8)])
def test_golden_predictions_are_spread_over_the_texts(rows: int, expected: int) -> None:
    """There are at most eight, in the order of the texts, each with the model's own answer."""
    texts = [f"text number {n}" for n in range(rows)]
    served = load(made(weights()))
    found = golden(served, texts)
    assert len(found) == expected
    positions = [texts.index(str(one.input)) for one in found]
    assert positions == sorted(set(positions))
    assert [one.output for one in found] == served.predict([str(one.input) for one in found])


def test_a_fitted_model_knows_what_it_was_shown() -> None:
    """Words that only one label has decide, whatever the texts are; the same rows give the same bytes."""
    rows = [(f"{word} number {n}", word) for word in ("good", "bad", "odd") for n in range(5)]
    shape = {"buckets": 2**20, "ngrams": 2}
    content = linear.fit(rows, labels=["bad", "good", "odd"], epochs=50, learning_rate=5.0, **shape)
    files = linear.files(content, labels=["bad", "good", "odd"], parameters={}, **shape)
    served = load(files)
    assert [answer["label"] for answer in served.predict(["good", "bad", "odd"])] == ["good", "bad", "odd"]
    assert linear.fit(rows, labels=["bad", "good", "odd"], epochs=50, learning_rate=5.0, **shape) == content


LABELS = ["a", "b", "c"]
SHAPE: dict[str, Any] = {"labels": LABELS, "buckets": 512, "ngrams": 2, "epochs": 3, "learning_rate": 0.5}


def texts(count: int, words: int) -> list[tuple[str, str]]:
    """Texts of random words, some of them empty, each with a label."""
    random = np.random.default_rng(7)
    return [
        (
            " ".join(f"w{word}" for word in random.integers(0, 300, random.integers(0, words))),
            LABELS[number % 3],
        )
        for number in range(count)
    ]


def fitted(rows: list[tuple[str, str]]) -> bytes:
    """The same regression as the textbook writes it, with one number for each n-gram and label in memory."""
    ids, offsets = features([text for text, _ in rows], buckets=SHAPE["buckets"], ngrams=SHAPE["ngrams"])
    owner = np.repeat(np.arange(len(rows)), np.diff(offsets))
    goal = np.eye(len(LABELS))[[LABELS.index(label) for _, label in rows]]
    weight, bias = np.zeros((SHAPE["buckets"], len(LABELS))), np.zeros(len(LABELS))
    for _ in range(SHAPE["epochs"]):
        logits = np.tile(bias, (len(rows), 1))
        np.add.at(logits, owner, weight[ids])
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        error = (powers / powers.sum(axis=1, keepdims=True) - goal) / len(rows)
        np.subtract.at(weight, ids, SHAPE["learning_rate"] * error[owner])
        bias -= SHAPE["learning_rate"] * error.sum(axis=0)
    return safetensors.numpy.save({"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)})


@pytest.mark.parametrize("numbers", [1, 30, 1000, 1 << 20])
def test_chunks_do_not_change_the_weights(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few n-grams are looked at together, the weights have the same bytes."""
    rows = texts(200, 40)
    monkeypatch.setattr(linear, "_CHUNK_NUMBERS", numbers)
    assert linear.fit(rows, **SHAPE) == linear.fit(rows, **SHAPE) == fitted(rows)


def test_memory_does_not_grow_with_n_grams_times_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the n-grams, many labels need little memory: 40 MB here if each n-gram had a number for each."""
    labels = [f"l{number}" for number in range(40)]
    rows = [(text, labels[number % 40]) for number, (text, _) in enumerate(texts(2000, 64))]
    counted = features([text for text, _ in rows], buckets=512, ngrams=2)
    assert 40 * 8 * len(counted[0]) > 36_000_000
    # Memory of the features themselves is measured elsewhere.
    monkeypatch.setattr(linear, "features", lambda *_, **__: counted)
    monkeypatch.setattr(linear, "_CHUNK_NUMBERS", 1 << 15)
    tracemalloc.start()
    try:
        linear.fit(rows, **{**SHAPE, "labels": labels, "epochs": 1})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12_000_000
