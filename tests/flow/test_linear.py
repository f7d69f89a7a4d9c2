"""Models of hashed n-grams, as a flow makes them from its weights."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.numpy

from modelbuild.contract import sha256_of_json
from modelbuild.errors import VerificationFailed
from modelbuild.flow import linear
from modelbuild.flow.packaging import golden
from modelbuild.serving.description import ModelDescription
from modelbuild.serving.features import features
from modelbuild.serving.model import Model, load

Floats = npt.NDArray[np.float64]

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
    model = load(made(weights()))
    found = golden(model, texts)
    assert len(found) == expected
    positions = [texts.index(str(one.input)) for one in found]
    assert positions == sorted(set(positions))
    assert [one.output for one in found] == model.predict([str(one.input) for one in found])


WORDS = ["fine", "bad", "odd"]
SHOWN = [(f"{word} number {n}", word) for word in WORDS for n in range(5)]


def fitted(rows: list[tuple[str, str]] = SHOWN, **changes: Any) -> bytes:
    """Weights of the labels bad, fine and odd."""
    how = {"epochs": 10, "batch_size": 4, "learning_rate": 0.2, "seed": 1, "buckets": 2**16, "ngrams": 2}
    return linear.fit(rows, labels=["bad", "fine", "odd"], **{**how, **changes})


def served(content: bytes) -> Model:
    """The model of such weights."""
    return load(linear.files(content, labels=["bad", "fine", "odd"], parameters={}, buckets=2**16, ngrams=2))


def test_a_fitted_model_knows_what_it_was_shown() -> None:
    """Words that only one label has decide, whatever the texts are; one without a token teaches nothing."""
    assert [one["label"] for one in served(fitted()).predict(WORDS)] == WORDS
    with_empty = fitted([(" ", "odd"), *SHOWN, ("", "odd")])
    assert served(with_empty).predict(["fine"])[0]["label"] == "fine"


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 11},
        {"batch_size": 5},
        {"learning_rate": 0.3},
        {"seed": 2},
        {"buckets": 2**15},
        {"ngrams": 1},
    ],
    ids=str,
)
def test_every_argument_matters(changes: dict[str, Any]) -> None:
    """The same arguments give the same bytes, and another value of each gives others."""
    assert fitted() == fitted()
    assert fitted(**changes) != fitted()


def test_gradients_are_those_of_the_loss() -> None:
    """One step on one batch goes down the slope of the mean cross-entropy, computed by differences."""
    rows = [("a b", "fine"), ("a", "bad"), ("c c", "odd")]
    first = safetensors.numpy.load(fitted(rows, epochs=1, batch_size=3, learning_rate=1e-3, ngrams=1))
    ids, offsets = features([text for text, _ in rows], buckets=2**16, ngrams=1)
    truth = [["bad", "fine", "odd"].index(label) for _, label in rows]

    def loss(weight: Floats) -> float:
        logits = np.array([weight[ids[offsets[n] : offsets[n + 1]]].sum(axis=0) for n in range(len(rows))])
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return -float(np.log(chances[np.arange(len(rows)), truth]).mean())

    start = np.zeros((2**16, 3))
    for bucket in set(ids.tolist()):
        slope = np.zeros(3)
        for label in range(3):
            moved = start.copy()
            moved[bucket, label] = 1e-6
            slope[label] = (loss(moved) - loss(start)) / 1e-6
        step = first["weight"][bucket]
        cosine = -(step @ slope) / (np.linalg.norm(step) * np.linalg.norm(slope))
        assert cosine == pytest.approx(1.0, abs=1e-4)


def test_memory_does_not_grow_with_n_grams_times_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the n-grams, many labels need little memory: 40 MB here if each n-gram had a number for each."""
    random = np.random.default_rng(7)
    labels = [f"l{number}" for number in range(40)]
    words = [random.integers(0, 300, random.integers(1, 64)) for _ in range(2000)]
    rows = [(" ".join(f"w{n}" for n in some), labels[number % 40]) for number, some in enumerate(words)]
    counted = features([text for text, _ in rows], buckets=512, ngrams=2)
    assert 40 * 8 * len(counted[0]) > 36_000_000
    # Memory of the features themselves is measured elsewhere.
    monkeypatch.setattr(linear, "features", lambda *_, **__: counted)
    how: dict[str, Any] = {"epochs": 1, "batch_size": 64, "learning_rate": 0.1, "seed": 1}
    tracemalloc.start()
    try:
        linear.fit(rows, labels=labels, buckets=512, ngrams=2, **how)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12_000_000
