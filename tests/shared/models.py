"""Models on disk, as SageMaker unpacks them, for tests that serve any."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy

from modelbuild.contract import ModelDescription, ServingEnvironment


@dataclass(frozen=True)
class Published:
    """A small model on disk, with the environment that it is served in."""

    directory: Path
    description: ModelDescription
    environment: ServingEnvironment


def publish(directory: Path) -> Published:
    """A model of 64 buckets with weights of a fixed seed, as model 12.3 of the pipeline "comments"."""
    random = np.random.default_rng(7)
    weights = safetensors.numpy.save(
        {
            "weight": random.normal(size=(64, 3)).astype(np.float32),
            "bias": random.normal(size=3).astype(np.float32),
        }
    )
    digest = hashlib.sha256(weights).hexdigest()
    description = ModelDescription(
        kind="hashed-ngrams-linear",
        labels=("negative", "neutral", "positive"),
        buckets=64,
        ngrams=2,
        parameters_sha256="0" * 64,
        weights_sha256=digest,
    )
    (directory / "model.safetensors").write_bytes(weights)
    (directory / "model.json").write_text(description.to_json())
    environment = ServingEnvironment(model_id="12.3", pipeline="comments", weights_sha256=digest)
    return Published(directory, description, environment)
