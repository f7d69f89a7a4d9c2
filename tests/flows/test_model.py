from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluate import evaluate
from model import Classifier, fit
from modelbuild.contract import ModelDescription
from modelbuild.serving.features import features
from modelbuild.serving.model import Model, decode
from parameters import Parameters
from rows import LABELS, Labelled

SENTIMENT = Path(__file__).parents[2] / "flows" / "sentiment"

Halves = tuple[list[Labelled], list[Labelled]]


def trained(rows: list[Labelled], parameters: Parameters) -> Classifier:
    """A classifier of the rows."""
    return fit(
        [item.row.text for item in rows],
        np.array([item.target for item in rows]),
        len(LABELS),
        shape=parameters.model,
        training=parameters.training,
        seed=parameters.seed,
    )


def served(classifier: Classifier, parameters: Parameters) -> Model:
    """The classifier as the serving image has it."""
    weights = classifier.to_safetensors()
    description = ModelDescription(
        kind="hashed-ngrams-linear",
        labels=LABELS,
        buckets=parameters.model.buckets,
        ngrams=parameters.model.ngrams,
        parameters_sha256="0" * 64,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )
    return decode(description, weights)


@pytest.fixture(scope="session")
def classifier(halves: Halves, parameters: Parameters) -> Classifier:
    """The model of the repository's own parameters and the real data."""
    return trained(halves[0], parameters)


@pytest.fixture(scope="session")
def small(parameters: Parameters) -> Parameters:
    """The same parameters for a model that trains in a moment."""
    shape = parameters.model.model_copy(update={"buckets": 4096})
    return parameters.model_copy(update={"model": shape})


def test_quality_on_documents_it_never_saw(
    halves: Halves, classifier: Classifier, parameters: Parameters
) -> None:
    """Macro-F1 is at least 0.60 as served, above VADER's and the majority's on the same rows."""
    train, test = halves
    guesses = served(classifier, parameters).scores([item.row.text for item in test]).argmax(axis=1)
    majority = int(np.bincount([item.target for item in train]).argmax())
    found = evaluate(test, guesses, majority)
    assert found.overall.macro_f1 >= 0.60
    assert found.overall.macro_f1 > found.baselines["vader"].macro_f1 > found.baselines["majority"].macro_f1


def test_serving_answers_as_torch_does(
    halves: Halves, classifier: Classifier, parameters: Parameters
) -> None:
    """What is served is what was trained: probabilities differ by at most one in a million."""
    texts = [item.row.text for item in halves[1]] + ["", "\U0001f600", "word " * 2_000]
    ids, offsets = features(texts, buckets=parameters.model.buckets, ngrams=parameters.model.ngrams)
    with torch.no_grad():
        logits = classifier(torch.from_numpy(ids), torch.from_numpy(offsets))
    expected = torch.softmax(logits.double(), dim=1).numpy()
    assert served(classifier, parameters).scores(texts) == pytest.approx(expected, abs=1e-6)


def test_twice_the_same_bytes(halves: Halves, small: Parameters) -> None:
    """Training again on a CPU gives the same file, even after other random numbers were drawn."""
    rows = halves[0][:3_000]
    first = trained(rows, small).to_safetensors()
    torch.rand(3)
    assert trained(rows, small).to_safetensors() == first


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 2), ("batch_size", 100), ("learning_rate", 0.02), ("weight_decay", 0.5), ("balance", 0.0)],
)
def test_every_training_parameter_matters(halves: Halves, small: Parameters, name: str, value: float) -> None:
    """One parameter changed is another model."""
    rows = halves[0][:3_000]
    training = small.training.model_copy(update={name: value})
    other = small.model_copy(update={"training": training})
    assert trained(rows, other).to_safetensors() != trained(rows, small).to_safetensors()


def test_the_seed_matters(halves: Halves, small: Parameters) -> None:
    """Another seed is another order of rows, hence another model."""
    rows = halves[0][:3_000]
    other = small.model_copy(update={"seed": small.seed + 1})
    assert trained(rows, other).to_safetensors() != trained(rows, small).to_safetensors()


def test_only_training_needs_torch() -> None:
    """The image of the other steps has no torch: the flow loads without it."""
    program = "import sys; sys.modules['torch'] = None; import flow; flow.SentimentFlow"
    subprocess.run([sys.executable, "-c", program], cwd=SENTIMENT, check=True)
