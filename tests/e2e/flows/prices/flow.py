"""A regression: the price of a flat by its area, rooms and district; no server knows this kind of model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from metaflow import Config, step  # type: ignore[attr-defined]

from modelbuild.contract import GoldenPrediction, Metric
from modelbuild.flow import base, evaluation, rows, training
from modelbuild.flow.batch import on_batch
from parameters import Parameters

HERE = Path(__file__).parent
COLUMNS = ("id", "area", "rooms", "district", "price")
METRICS = (
    Metric(name="rmse", title="RMSE", better="lower"),
    Metric(name="r2", title="R²", better="higher"),
)

Flat = dict[str, str]


def features(flats: Sequence[Flat]) -> npt.NDArray[np.float64]:
    """Area, rooms, whether in the north, and one for the intercept."""
    return np.array([[float(f["area"]), float(f["rooms"]), f["district"] == "north", 1.0] for f in flats])


def measure(truth: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> dict[str, float]:
    """The root of the mean squared error, and the part of the variance that is explained."""
    error = np.mean((truth - predicted) ** 2)
    return {"rmse": float(np.sqrt(error)), "r2": float(1 - error / np.var(truth))}


class PricesFlow(base.ModelFlow):
    """Flats → weights and evaluation → the build."""

    config = Config("config", default=str(HERE / "params.yaml"), parser="parameters.parse")

    @step
    def start(self) -> None:
        """Read the flats, and hold some of them out of the training."""
        self.begin()
        parsed, flats = Parameters.model_validate(self.parameters), rows.read_csv(HERE / "data.csv", COLUMNS)
        self.keep_rows(flats, "data.csv beside flow.py")
        percent = parsed.test_percent
        self.known, self.held_out = rows.split(
            flats, lambda flat: flat["id"], test_percent=percent, seed=parsed.seed
        )
        self.next(self.train)

    @on_batch(cpu=1, memory=2048, secrets=["WANDB_SECRET_ARN"])
    @step
    def train(self) -> None:
        """Fit a ridge regression; measure the error on the other flats, beside that of the mean price."""
        known, prices = features(self.known), np.array([float(flat["price"]) for flat in self.known])
        ridge = Parameters.model_validate(self.parameters).ridge * np.eye(known.shape[1])
        with self.timed("train"):
            self.weights = np.linalg.solve(known.T @ known + ridge, known.T @ prices)
        self.keep_runtime()
        truth = [float(flat["price"]) for flat in self.held_out]
        mean = float(prices.mean())
        predicted = features(self.held_out) @ self.weights
        held_out = evaluation.EvaluationRows(
            ids=[flat["id"] for flat in self.held_out],
            inputs=[{name: flat[name] for name in COLUMNS[1:4]} for flat in self.held_out],
            truth=truth,
            description="flats that were not trained on",
            slices={"district": [flat["district"] for flat in self.held_out]},
        )
        evaluated = evaluation.evaluate(
            held_out,
            predicted,
            metrics=METRICS,
            primary="rmse",
            measure=measure,
            baselines={"mean price": [mean] * len(truth)},
        )
        golden = GoldenPrediction(input=held_out.inputs[0], output={"value": float(predicted[0])})
        self.keep_evaluation(evaluated, [golden])
        self.next(self.end)

    @step
    def end(self) -> None:
        """Publish the model and its manifest, and unblock the build."""
        description = {"kind": "ridge-regression", "weights": self.weights.tolist()}
        self.publish_model({"model.json": json.dumps(description).encode()})


if __name__ == "__main__":
    training.main(PricesFlow)
