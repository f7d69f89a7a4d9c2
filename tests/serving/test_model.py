from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.contract import ModelDescription
from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.serving.model import Model, decode, load


def test_loads_what_was_approved(published: Any) -> None:
    """A model whose bytes have the approved hash answers with its labels and probabilities that sum to 1."""
    model = load(published.directory, published.environment.weights_sha256)
    (label, scores), (other, _) = model.predict(["good day", "!"])
    assert label == max(scores, key=scores.__getitem__)
    assert {label, other} <= set(published.description.labels)
    assert sum(scores.values()) == pytest.approx(1)


def test_refuses_changed_weights(published: Any) -> None:
    """One changed bit in the weights is found before anything is served."""
    path = published.directory / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(VerificationFailed, match=r"model\.safetensors have SHA-256"):
        load(published.directory, published.environment.weights_sha256)


def test_refuses_another_model(published: Any) -> None:
    """Weights that fit their own description but are not the approved ones are refused."""
    with pytest.raises(VerificationFailed, match=f"MODEL_WEIGHTS_SHA256 says {'0' * 64}"):
        load(published.directory, "0" * 64)


def test_refuses_weights_that_do_not_fit_their_description(published: Any) -> None:
    """A description of another shape is refused, rather than answers from the wrong rows."""
    wrong = published.description.model_copy(update={"buckets": 32})
    (published.directory / "model.json").write_text(wrong.to_json())
    with pytest.raises(VerificationFailed, match="shapes"):
        load(published.directory, published.environment.weights_sha256)


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (np.full((64, 3), np.nan, np.float32), "the training diverged"),
        (np.full((64, 3), np.inf, np.float32), "the training diverged"),
        (np.zeros((64, 3), np.float64), "F64"),
    ],
)
def test_refuses_weights_that_nothing_can_be_predicted_with(published: Any, weight: Any, said: str) -> None:
    """Weights of a training that diverged are not published as a model, nor served."""
    content = safetensors.numpy.save({"weight": weight, "bias": np.zeros(3, np.float32)})
    with pytest.raises(VerificationFailed, match=said):
        decode(published.description, content)


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_names_the_missing_file(published: Any, name: str) -> None:
    """A missing file is named in one sentence."""
    (published.directory / name).unlink()
    with pytest.raises(ConfigurationError, match=f"{name}: No such file"):
        load(published.directory, published.environment.weights_sha256)


def test_refuses_a_description_it_cannot_read(published: Any) -> None:
    """A model.json of another kind of model is refused."""
    (published.directory / "model.json").write_text('{"kind": "pickle"}')
    with pytest.raises(ConfigurationError, match="does not describe a model"):
        load(published.directory, published.environment.weights_sha256)


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_scores_are_probabilities(texts: list[str]) -> None:
    """Any texts, even without a token, get finite probabilities that sum to 1, one row each."""
    description = ModelDescription(
        kind="hashed-ngrams-linear",
        labels=("a", "b"),
        buckets=8,
        ngrams=2,
        parameters_sha256="0" * 64,
        weights_sha256="0" * 64,
    )
    weight = np.linspace(-300, 300, 16, dtype=np.float32).reshape(8, 2)
    scores = Model(description, weight, np.zeros(2, dtype=np.float32)).scores(texts)
    assert scores.shape == (len(texts), 2)
    assert np.isfinite(scores).all()
    assert scores.sum(axis=1) == pytest.approx(1)
