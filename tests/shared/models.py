"""Models on disk, as SageMaker unpacks them, for tests that serve any."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy

from modelbuild.contract import ServingEnvironment
from modelbuild.serving.description import ModelDescription
from modelbuild.serving.inputs import TextInput
from modelbuild.serving.outputs import LabelOutput


@dataclass(frozen=True)
class Published:
    """A small model on disk, with the environment that it is served in."""

    directory: Path
    description: ModelDescription
    environment: ServingEnvironment


def publish(directory: Path) -> Published:
    """A model of 64 buckets with weights of a fixed seed, as model tone 12.3 of the pipeline "comments"."""
    random = np.random.default_rng(7)
    weights = safetensors.numpy.save(
        {
            "weight": random.normal(size=(64, 3)).astype(np.float32),
            "bias": random.normal(size=3).astype(np.float32),
        }
    )
    (directory / "model.safetensors").write_bytes(weights)
    return describe(directory, linear_description(weights, ("negative", "neutral", "positive"), buckets=64))


def linear_description(
    weights: bytes, labels: tuple[str, ...], *, buckets: int, ngrams: int = 2
) -> ModelDescription:
    """The description of a model of kind ``hashed-ngrams-linear``."""
    return ModelDescription(
        kind="hashed-ngrams-linear",
        input=TextInput(),
        output=LabelOutput(labels=labels),
        options={"features": 3, "buckets": buckets, "ngrams": ngrams},
        files={"model.safetensors": hashlib.sha256(weights).hexdigest()},
        parameters_sha256="0" * 64,
    )


def describe(directory: Path, description: ModelDescription) -> Published:
    """Put a description beside the weights that lie there, and be served as it says."""
    content = description.to_json().encode()
    (directory / "model.json").write_bytes(content)
    environment = ServingEnvironment(
        model="tone",
        model_id="12.3",
        pipeline="comments",
        description_sha256=hashlib.sha256(content).hexdigest(),
    )
    return Published(directory, description, environment)
