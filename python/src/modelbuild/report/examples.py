"""Evaluation rows as text for people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from modelbuild.contract import figure
from modelbuild.contract.report import Example
from modelbuild.report.headline import brief


@dataclass(frozen=True)
class ShownExample:
    """An evaluation row with its predictions as text.

    Attributes:
        id: of the row.
        input: what the model was given.
        truth: the true label or number.
        prediction: this model's.
        score: of the prediction; empty if the model has none.
        live: the live model's prediction; empty where the example is not about it.
        right: which model is right: ``this model``, ``live``, or ``neither``.
    """

    id: str
    input: str
    truth: str
    prediction: str
    score: str
    live: str
    right: str


def shown_examples(examples: Iterable[Example]) -> list[ShownExample]:
    """The rows as text, in their order."""
    return [
        ShownExample(
            one.id,
            brief(one.input),
            brief(one.truth),
            brief(one.prediction),
            "" if one.score is None else figure(one.score),
            "" if one.live is None else brief(one.live),
            _right(one),
        )
        for one in examples
    ]


def _right(example: Example) -> str:
    if example.prediction == example.truth:
        return "this model"
    return "live" if example.live == example.truth else "neither"
