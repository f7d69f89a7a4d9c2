"""Models of kind ``hashed-ngrams-linear``: classifiers of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelbuild.flow.models.softmax import fit
from modelbuild.flow.packaging import package
from modelbuild.serving.features import FEATURES_VERSION
from modelbuild.serving.inputs import TextInput
from modelbuild.serving.kinds.hashed_ngrams import WEIGHTS_FILE
from modelbuild.serving.outputs import LabelOutput

__all__ = ["files", "fit"]


def files(
    weights: bytes,
    *,
    labels: Sequence[str],
    buckets: int,
    ngrams: int,
    parameters: Mapping[str, Any],
    characters: int = 0,
) -> dict[str, bytes]:
    """The files of the model's archive, by name.

    Args:
        weights: the content of ``model.safetensors``: ``weight``, float32 of shape (buckets, labels), and
            ``bias``, float32 of shape (labels).
        labels: the label of each column.
        buckets: how many rows the n-grams are hashed to.
        ngrams: how many words the longest n-gram has.
        parameters: what the model was trained with.
        characters: how many bytes the longest n-gram of characters has, from 3 to 8; 0 for none.

    Raises:
        VerificationFailed: the weights are not of that shape.
    """
    options = {"features": FEATURES_VERSION, "buckets": buckets, "ngrams": ngrams}
    if characters:
        # A model without them can be served by an image that does not know the option yet.
        options["characters"] = characters
    return package(
        kind="hashed-ngrams-linear",
        takes=TextInput(),
        answers=LabelOutput(labels=tuple(labels)),
        options=options,
        files={WEIGHTS_FILE: weights},
        parameters=parameters,
    )
