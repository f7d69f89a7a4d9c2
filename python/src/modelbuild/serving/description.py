"""The record in ``model.json``: the description of a model that this server can serve."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from modelbuild.contract import Record, Sha256

WEIGHTS_FILE = "model.safetensors"

Label = Annotated[str, StringConstraints(min_length=1)]


def _distinct(labels: tuple[str, ...]) -> tuple[str, ...]:
    label, times = Counter(labels).most_common(1)[0]
    if times > 1:
        raise ValueError(f"the label {label!r} occurs {times} times")
    return labels


class ModelDescription(Record):
    """``model.json`` in ``model.tar.gz``: how to read the weights beside it.

    The version is that of the features: since version 2 a text is normalised before it is hashed. With the
    weights of another version the server would look texts up in the wrong buckets.
    """

    version: Literal[2] = 2
    kind: Literal["hashed-ngrams-linear"]
    labels: Annotated[tuple[Label, ...], Field(min_length=1), AfterValidator(_distinct)]
    buckets: int = Field(ge=1)
    ngrams: int = Field(ge=1, le=5)
    parameters_sha256: Sha256
    weights_sha256: Sha256
