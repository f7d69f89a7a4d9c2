"""Models of kind ``hashed-ngrams-linear``, from the weights that a flow has fitted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from modelbuild.contract import (
    DESCRIPTION_FILE,
    WEIGHTS_FILE,
    GoldenPrediction,
    ModelDescription,
    sha256_of_json,
)
from modelbuild.serving.model import Model, decode

_GOLDEN = 8


def model(
    weights: bytes, *, labels: Sequence[str], buckets: int, ngrams: int, parameters: Mapping[str, Any]
) -> Model:
    """The model as it will be served.

    Args:
        weights: the content of ``model.safetensors``: ``weight``, float32 of shape (buckets, labels), and
            ``bias``, float32 of shape (labels).
        labels: the label of each column.
        buckets: how many rows the n-grams are hashed to.
        ngrams: how many words the longest n-gram has.
        parameters: what the model was trained with.

    Raises:
        VerificationFailed: the weights are not of that shape.
    """
    description = ModelDescription(
        kind="hashed-ngrams-linear",
        labels=tuple(labels),
        buckets=buckets,
        ngrams=ngrams,
        parameters_sha256=sha256_of_json(dict(parameters)),
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )
    return decode(description, weights)


def files(served: Model, weights: bytes) -> dict[str, bytes]:
    """The files of the model's archive, by name."""
    return {WEIGHTS_FILE: weights, DESCRIPTION_FILE: served.description.to_json().encode()}


def golden(served: Model, texts: Sequence[str]) -> list[GoldenPrediction]:
    """Up to eight of the texts, evenly chosen, with the answers that the endpoint must give."""
    chosen = texts[:: max(1, len(texts) // _GOLDEN)][:_GOLDEN]
    return [
        GoldenPrediction(text=text, label=label, scores=scores)
        for text, (label, scores) in zip(chosen, served.predict(chosen), strict=True)
    ]
