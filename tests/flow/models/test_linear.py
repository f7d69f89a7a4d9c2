"""Models of hashed n-grams, as a flow makes them from its weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from modelbuild.contract import sha256_of_json
from modelbuild.errors import VerificationFailed
from modelbuild.flow.models import linear
from modelbuild.flow.packaging import golden
from modelbuild.serving.description import ModelDescription
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


@pytest.mark.parametrize("characters", [0, 4])
def test_only_a_model_of_characters_names_them(characters: int) -> None:
    """A model without them is described as before there were any, so that an older image can serve it."""
    files = linear.files(
        weights(), labels=["n", "p"], buckets=16, ngrams=2, parameters=PARAMETERS, characters=characters
    )
    options = {"features": 3, "buckets": 16, "ngrams": 2} | ({"characters": 4} if characters else {})
    assert ModelDescription.model_validate_json(files["model.json"]).options == options
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
    """Words that only one label has decide, whatever the texts are."""
    rows = [(f"{word} number {n}", word) for word in ("good", "bad", "odd") for n in range(5)]
    shape: dict[str, Any] = {"buckets": 2**16, "ngrams": 2}
    labels = ["bad", "good", "odd"]
    content = linear.fit(rows, labels=labels, epochs=20, batch_size=4, learning_rate=0.5, seed=1, **shape)
    served = load(linear.files(content, labels=labels, parameters={}, **shape))
    assert [answer["label"] for answer in served.predict(["good", "bad", "odd"])] == ["good", "bad", "odd"]
