"""The work of a candidate, which takes a few milliseconds: numbers above a threshold are positive."""

from __future__ import annotations

import random

LABELS = ("negative", "positive")

Row = tuple[float, str]


def parse(text: str) -> dict[str, object]:
    """Metaflow's parser of the parameter file."""
    # Imported here: the jobs of Metaflow's foreach do without it.
    from modelbuild.formats import agent_yaml

    found = agent_yaml.load(text)
    assert isinstance(found, dict)
    return found


def rows() -> list[Row]:
    """Numbers with their labels, of which a tenth is wrong."""
    drawn = random.Random(1)
    numbers = [drawn.random() for _ in range(500)]
    return [(number, LABELS[(number > 0.5) != (drawn.random() < 0.1)]) for number in numbers]


def predict(threshold: float, numbers: list[float]) -> list[str]:
    """The label of each number."""
    return [LABELS[number > threshold] for number in numbers]


def accuracy(threshold: float, some: list[Row]) -> float:
    """Which part of the rows a threshold is right about."""
    predicted = predict(threshold, [number for number, _ in some])
    return sum(label == found for (_, label), found in zip(some, predicted, strict=True)) / len(some)
