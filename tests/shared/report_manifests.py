"""Manifests for reports: model 12 of ``tests/data``, and models that differ from it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelbuild.contract import CurvePoint, Evaluation, Manifest, Metric, Quality, TrainingSummary

MODEL = Path(__file__).parents[1] / "data" / "model-12"


def changed(record: Any, **values: object) -> Any:
    """A copy of a record; ``values`` are not checked, so that they can be what its types do not admit."""
    return record.model_copy(update=values)


def model_manifest() -> Manifest:
    """The manifest of model 12 with a summary of its training; its build set a parameter."""
    found = Manifest.model_validate_json((MODEL / "manifest.json").read_bytes())
    parameters = {**found.request.parameters, "training": {"epochs": 3, "learning_rate": 0.1}}
    origins = {"model.buckets": "file", "model.ngrams": "file", "seed": "plugin"}
    origins |= {"training.epochs": "file", "training.learning_rate": "build"}
    request = changed(found.request, parameters=parameters, origins=origins)
    return Manifest.model_validate_json(
        changed(found, request=request, training=training_summary()).to_json()
    )


def training_summary() -> TrainingSummary:
    """A fit that got better for 40 steps."""
    numbers = random.Random(1)
    curve = tuple(
        CurvePoint(
            step=step * 25,
            values={
                "loss": 1.1 / (1 + step / 8) + numbers.random() / 20,
                "validation_loss": 1.1 / (1 + step / 10) + 0.12 + step / 400 + numbers.random() / 30,
                "learning_rate": 0.1 * (1 - step / 40),
            },
        )
        for step in range(40)
    )
    return TrainingSummary(
        rows=9_876,
        labels={"negative": 4_321, "neutral": 1_234, "positive": 4_321},
        dropped={"empty text": 12, "no label": 112},
        exact_duplicates=3,
        near_duplicates=14,
        curve=curve,
        converged=True,
    )


def regression_manifest() -> Manifest:
    """The manifest of a model that predicts numbers."""
    about = model_manifest()
    metrics = (
        Metric(name="rmse", title="RMSE", better="lower"),
        Metric(name="mae", title="mean absolute error", better="lower"),
        Metric(name="r2", title="R²", better="higher"),
    )
    evaluation = Evaluation(
        rows_are="sales of the last month",
        dataset_sha256="8" * 64,
        metrics=metrics,
        primary="rmse",
        overall=Quality(rows=500, metrics={"rmse": 12_345.678, "mae": 9_876.5, "r2": 0.8123}),
        slices={
            "region": {
                name: Quality(rows=100, metrics={"rmse": rmse, "mae": rmse * 0.8, "r2": 0.7})
                for name, rmse in (("north", 14_000.5), ("south", 9_000.25), ("east", 12_500.0))
            }
        },
        baselines={
            "mean of the training rows": Quality(rows=500, metrics={"rmse": 28_000.0, "mae": 22_000.0})
        },
    )
    return changed(about, evaluation=evaluation)  # type: ignore[no-any-return]


def classes_manifest(labels: Sequence[str], seed: int = 8) -> Manifest:
    """The manifest of a classifier of these labels."""
    numbers = random.Random(seed)
    about = model_manifest()

    def quality() -> Quality:
        f1 = round(numbers.betavariate(6, 3), 4)
        metrics = {"f1": f1, "precision": round(f1 * 0.98, 4), "recall": round(min(1, f1 * 1.03), 4)}
        return Quality(rows=numbers.randint(5, 200), metrics=metrics)

    slices = {"class": {name: quality() for name in labels}, "domain": about.evaluation.slices["domain"]}
    return changed(about, evaluation=changed(about.evaluation, slices=slices))  # type: ignore[no-any-return]
