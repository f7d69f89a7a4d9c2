from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from evaluate import evaluate
from model import Classifier, fit
from modelbuild.contract import sha256_of_json
from modelbuild.flow import linear
from modelbuild.serving.features import features
from modelbuild.serving.model import Model, load
from parameters import Parameters, parse
from rows import LABELS, Labelled, Rated, labelled, split

SENTIMENT = Path(__file__).parents[3] / "flows" / "sentiment"

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
    files = linear.files(
        classifier.to_safetensors(),
        labels=LABELS,
        buckets=parameters.model.buckets,
        ngrams=parameters.model.ngrams,
        parameters={},
    )
    return load(files)


@pytest.fixture(scope="session")
def classifier(halves: Halves, parameters: Parameters) -> Classifier:
    """The model of the repository's own parameters and the real data."""
    return trained(halves[0], parameters)


def made(rated: list[Rated], values: dict[str, Any]) -> tuple[str, bytes]:
    """The hash of a parameter file's values, and the weights that they make of some rated texts."""
    parsed = Parameters.model_validate(parse(yaml.safe_dump(values)))
    train, _ = split(labelled(rated, parsed.labels.tau), parsed.split.test_percent, parsed.seed)
    return sha256_of_json(values), trained(train, parsed).to_safetensors()


@pytest.fixture(scope="session")
def small() -> dict[str, Any]:
    """The repository's own parameters, but for a model that trains in a moment."""
    values: dict[str, Any] = yaml.safe_load((SENTIMENT / "params.yaml").read_text())
    values["model"]["buckets"] = 4096
    return values


@pytest.fixture(scope="session")
def few(all_rated: list[Rated]) -> list[Rated]:
    """Some of the real texts."""
    return all_rated[:3_000]


@pytest.fixture(scope="session")
def first(few: list[Rated], small: dict[str, Any]) -> tuple[str, bytes]:
    """The hash of the small parameters and the weights of their model."""
    return made(few, small)


def test_quality_on_documents_it_never_saw(
    halves: Halves, classifier: Classifier, parameters: Parameters
) -> None:
    """Macro-F1 is at least 0.60 as served, above VADER's and the majority's on the same rows."""
    train, test = halves
    answers = served(classifier, parameters).predict([item.row.text for item in test])
    majority = int(np.bincount([item.target for item in train]).argmax())
    found = evaluate(test, answers, majority).evaluation
    own, vader, frequent = (
        quality.metrics["macro_f1"]
        for quality in (found.overall, found.baselines["vader"], found.baselines["majority"])
    )
    assert own >= 0.60
    assert own > vader > frequent


def test_serving_answers_as_torch_does(
    halves: Halves, classifier: Classifier, parameters: Parameters
) -> None:
    """What is served is what was trained: probabilities differ by at most one in a million."""
    texts = [item.row.text for item in halves[1]] + ["", "\U0001f600", "word " * 2_000]
    ids, offsets = features(texts, buckets=parameters.model.buckets, ngrams=parameters.model.ngrams)
    with torch.no_grad():
        logits = classifier(torch.from_numpy(ids), torch.from_numpy(offsets))
    expected = torch.softmax(logits.double(), dim=1).numpy()
    answers = served(classifier, parameters).predict(texts)
    found = np.array([[answer["scores"][label] for label in LABELS] for answer in answers])
    assert found == pytest.approx(expected, abs=1e-6)


def test_twice_the_same_bytes(halves: Halves, classifier: Classifier, parameters: Parameters) -> None:
    """The real training again on a CPU gives the same file, even after other random numbers were drawn."""
    torch.rand(3)
    assert trained(halves[0], parameters).to_safetensors() == classifier.to_safetensors()


def test_what_is_written_otherwise_and_means_the_same_is_the_same(
    few: list[Rated], small: dict[str, Any], first: tuple[str, bytes]
) -> None:
    """The order of the parameters is neither in their hash nor in the model."""
    assert made(few, dict(reversed(small.items()))) == first


@pytest.mark.parametrize(
    ("dotted", "value"),
    [
        ("seed", 2),
        ("labels.tau", 0.6),
        ("split.test_percent", 30),
        ("model.ngrams", 1),
        ("model.buckets", 4095),
        ("training.epochs", 2),
        ("training.batch_size", 100),
        ("training.learning_rate", 0.02),
        ("training.weight_decay", 0.5),
        ("training.balance", 0.0),
    ],
)
def test_every_parameter_matters(
    few: list[Rated], small: dict[str, Any], first: tuple[str, bytes], dotted: str, value: float
) -> None:
    """One parameter changed is another hash of the parameters and another model."""
    values = deepcopy(small)
    section = values
    *path, last = dotted.split(".")
    for name in path:
        section = section[name]
    section[last] = value
    digest, weights = made(few, values)
    assert digest != first[0]
    assert weights != first[1]


def test_the_seed_is_also_the_order_of_rows(few: list[Rated], small: dict[str, Any]) -> None:
    """The same rows with another seed make another model."""
    parameters = Parameters.model_validate(parse(yaml.safe_dump(small)))
    rows = labelled(few, parameters.labels.tau)
    other = parameters.model_copy(update={"seed": parameters.seed + 1})
    assert trained(rows, other).to_safetensors() != trained(rows, parameters).to_safetensors()


def test_only_training_needs_torch() -> None:
    """The image of the other steps has no torch: the flow loads without it."""
    program = "import sys; sys.modules['torch'] = None; import flow; flow.SentimentFlow"
    subprocess.run([sys.executable, "-c", program], cwd=SENTIMENT, check=True)
