"""A regression: the price of a flat by its area, rooms and district, with scikit-learn, served as ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from metaflow import Config, step  # type: ignore[attr-defined]

from modelbuild.flow import base, packaging, regression, rows, training
from modelbuild.flow.batch import on_batch
from modelbuild.flow.evaluation import EvaluationRows
from modelbuild.flow.models import scikit_learn
from modelbuild.serving.inputs import RecordField, RecordInput
from modelbuild.serving.model import load
from modelbuild.serving.outputs import NumberOutput
from parameters import Parameters

HERE = Path(__file__).parent
FLAT = RecordInput(
    fields=(
        RecordField(name="area", type="number"),
        RecordField(name="rooms", type="number"),
        RecordField(name="district", type="text"),
    )
)


class PricesFlow(base.ModelFlow):
    """Flats → model and evaluation → the build."""

    config = Config("config", default=str(HERE / "params.yaml"), parser="parameters.parse")

    @step
    def start(self) -> None:
        """Read the flats, and hold some of them out of the training."""
        self.begin()
        parsed = Parameters.model_validate(self.parameters)
        found = rows.read_csv(HERE / "data.csv", ("id", "area", "rooms", "district", "price"))
        self.keep_rows(found, self.file_of_commit("data.csv"))
        flats = [
            (
                row["id"],
                {"area": float(row["area"]), "rooms": float(row["rooms"]), "district": row["district"]},
                float(row["price"]),
            )
            for row in found
        ]
        self.train_rows, self.test_rows = rows.split(
            flats, lambda flat: flat[0], test_percent=parsed.test_percent, seed=parsed.seed
        )
        self.next(self.train)

    @on_batch(cpu=1, memory=2048, secrets=["WANDB_SECRET_ARN"])
    @step
    def train(self) -> None:
        """Fit a ridge regression, and measure it, as it will be served, beside the mean price."""
        from sklearn.compose import make_column_transformer
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        _, flats, prices = zip(*self.train_rows, strict=True)
        ridge = make_pipeline(
            make_column_transformer(
                (StandardScaler(), [0, 1]), (OneHotEncoder(handle_unknown="ignore"), [2])
            ),
            Ridge(Parameters.model_validate(self.parameters).ridge),
        )
        with self.timed("train"):
            ridge.fit(scikit_learn.matrix(flats, FLAT), prices)
        self.files = scikit_learn.files(ridge, takes=FLAT, answers=NumberOutput(), parameters=self.parameters)
        self.keep_runtime()
        ids, inputs, truth = ([*part] for part in zip(*self.test_rows, strict=True))
        self.keep_training_rows(flats, evaluation_inputs=inputs)
        model = load(self.files)
        evaluated = regression.evaluate(
            EvaluationRows(
                ids=ids,
                inputs=inputs,
                truth=truth,
                description="flats that were not trained on",
                slices={"district": [str(flat["district"]) for flat in inputs]},
            ),
            model.predict_json(inputs),
            baselines={"mean price": [float(np.mean(prices))] * len(truth)},
        )
        self.keep_evaluation(evaluated, packaging.golden(model, inputs))
        self.next(self.end)

    @step
    def end(self) -> None:
        """Publish the model and its manifest, and unblock the build."""
        self.publish_model(self.files)


if __name__ == "__main__":
    training.main(PricesFlow)
