"""The models that ``bench/serving.py`` serves, one of each kind, with the requests that it sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.numpy
from sklearn.ensemble import GradientBoostingRegressor

from modelbuild.flow.models import linear, scikit_learn
from modelbuild.serving.inputs import RecordField, RecordInput
from modelbuild.serving.outputs import NumberOutput

LARGE = 6_000_000
_WORDS = "word " * (LARGE // 1_000 // 5)


@dataclass(frozen=True)
class Subject:
    """A model and what it is asked.

    Attributes:
        files: the files of its archive, by name.
        server: the program with FastAPI that serves it, in this folder.
        instance: what is sent, once or 32 times.
        large: the instances of a large request.
    """

    files: Mapping[str, bytes]
    server: str
    instance: Any
    large: list[Any]


def hashed_ngrams() -> Subject:
    """Random weights of the size of the sentiment flow's: 2^20 buckets, pairs of words, three labels."""
    labels = ("negative", "neutral", "positive")
    weight = np.random.default_rng(1).normal(size=(2**20, len(labels))).astype(np.float32)
    weights = safetensors.numpy.save({"weight": weight, "bias": np.zeros(len(labels), np.float32)})
    files = linear.files(weights, labels=labels, buckets=2**20, ngrams=2, parameters={})
    text = "The onboarding went very well, but the tools are slow and nobody answers the help desk in time."
    return Subject(files, "fastapi_server.py", text, [_WORDS] * 1_000)


def onnx() -> Subject:
    """100 boosted trees over eight numbers, as scikit-learn fits and skl2onnx writes them; 1,000 records."""
    takes = RecordInput(fields=tuple(RecordField(name=f"x{n}", type="number") for n in range(8)))
    random = np.random.default_rng(1)
    rows = random.normal(size=(2_000, 8))
    trees = GradientBoostingRegressor(random_state=1).fit(rows, rows.sum(axis=1) + random.normal(size=2_000))
    files = scikit_learn.files(trees, takes=takes, answers=NumberOutput(), parameters={})
    instance = {f"x{n}": round(float(value), 3) for n, value in enumerate(rows[0])}
    return Subject(files, "fastapi_onnx_server.py", instance, [instance] * 1_000)


SUBJECTS = {"hashed-ngrams-linear": hashed_ngrams, "onnx": onnx}
