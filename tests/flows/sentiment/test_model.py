from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from evaluate import evaluate
from modelbuild.contract import sha256_of_json
from modelbuild.flow.models import linear
from modelbuild.serving.model import load
from parameters import LinearParameters, parse
from rows import LABELS, Labelled, Rated, labelled, split

SENTIMENT = Path(__file__).parents[3] / "flows" / "sentiment"

Halves = tuple[list[Labelled], list[Labelled]]


def trained(rows: list[Labelled], parameters: LinearParameters) -> bytes:
    """The weights that the flow makes of the rows."""
    return linear.fit(
        [(item.row.text, LABELS[item.target]) for item in rows],
        labels=LABELS,
        seed=parameters.seed,
        **parameters.model.model_dump(exclude={"kind"}),
        **parameters.training.model_dump(),
    )


def made(rated: list[Rated], values: dict[str, Any]) -> tuple[str, bytes]:
    """The hash of a parameter file's values, and the weights that they make of some rated texts."""
    parsed = LinearParameters.model_validate(parse(yaml.safe_dump(values)))
    train, _ = split(labelled(rated, parsed.labels.tau), parsed.split.test_percent, parsed.seed)
    return sha256_of_json(values), trained(train, parsed)


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


def test_quality_on_documents_it_never_saw(halves: Halves, parameters: LinearParameters) -> None:
    """Macro-F1 is at least 0.63 as served, above VADER's and the majority's; once more is the same file."""
    train, test = halves
    weights = trained(train, parameters)
    shape = parameters.model.model_dump(exclude={"kind"})
    model = load(linear.files(weights, labels=LABELS, parameters={}, **shape))
    answers = model.predict([item.row.text for item in test])
    majority = int(np.bincount([item.target for item in train]).argmax())
    found = evaluate(test, answers, majority).evaluation
    own, vader, frequent = (
        quality.metrics["macro_f1"]
        for quality in (found.overall, found.baselines["vader"], found.baselines["majority"])
    )
    assert own >= 0.63
    assert own > vader > frequent
    assert trained(train, parameters) == weights


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
        ("model.characters", 4),
        ("model.buckets", 4095),
        ("training.epochs", 2),
        ("training.batch_size", 100),
        ("training.learning_rate", 0.02),
        ("training.balance", 0.0),
        ("training.weight_decay", 0.1),
    ],
)
def test_every_parameter_matters(
    few: list[Rated], small: dict[str, Any], first: tuple[str, bytes], dotted: str, value: float
) -> None:
    """One parameter changed is another hash of the parameters and another model."""
    values = deepcopy(small)
    place = values
    *path, last = dotted.split(".")
    for name in path:
        place = place[name]
    place[last] = value
    digest, weights = made(few, values)
    assert digest != first[0]
    assert weights != first[1]


def test_the_seed_is_also_the_order_of_rows(few: list[Rated], small: dict[str, Any]) -> None:
    """The same rows with another seed make another model."""
    parameters = LinearParameters.model_validate(parse(yaml.safe_dump(small)))
    rows = labelled(few, parameters.labels.tau)
    other = parameters.model_copy(update={"seed": parameters.seed + 1})
    assert trained(rows, other) != trained(rows, parameters)
