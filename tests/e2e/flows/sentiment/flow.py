"""The smallest flow whose model is served: one job on Batch, between two steps that the head runs itself.

Its folder gives its model the name of this repository's own flow, so that both have the same endpoint.
"""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path

from metaflow import Config, step  # type: ignore[attr-defined]

from modelbuild.flow import base, classification, rows, training
from modelbuild.flow.batch import on_batch
from modelbuild.flow.evaluation import EvaluationRows
from modelbuild.flow.models import linear
from modelbuild.flow.packaging import golden
from modelbuild.serving.model import load
from parameters import Parameters

HERE = Path(__file__).parent
BUCKETS, NGRAMS, BATCH_SIZE = 4096, 2, 8


class SmallFlow(base.ModelFlow):
    """Texts → model and evaluation → the build."""

    config = Config("config", default=str(HERE / "params.yaml"), parser="parameters.parse")

    @step
    def start(self) -> None:
        """Read the texts, and hold some of them out of the training."""
        self.begin()
        found = rows.read_labelled_texts(HERE / "data.csv", "text", "label")
        self.keep_rows(found, self.file_of_commit("data.csv"))
        text = itemgetter(0)
        halves = rows.split(found, text, test_percent=25, seed=1)
        self.train_rows, self.test_rows = self.search_split(*halves, text)
        self.next(self.train)

    @on_batch(cpu=1, memory=2048, secrets=["WANDB_SECRET_ARN"])
    @step
    def train(self) -> None:
        """Fit the model and evaluate it."""
        from model import fit

        parsed = Parameters.model_validate(self.parameters)
        labels = sorted({label for _, label in self.train_rows})
        weights = fit(
            self.train_rows,
            labels=labels,
            buckets=BUCKETS,
            ngrams=NGRAMS,
            epochs=parsed.training.epochs,
            batch_size=BATCH_SIZE,
            learning_rate=parsed.training.learning_rate,
            seed=1,
        )
        self.files = linear.files(
            weights, labels=labels, buckets=BUCKETS, ngrams=NGRAMS, parameters=self.parameters
        )
        self.keep_runtime()
        texts, truth = ([*part] for part in zip(*self.test_rows, strict=True))
        model = load(self.files)
        train_labels = [label for _, label in self.train_rows]
        evaluated = classification.evaluate(
            EvaluationRows(ids=texts, inputs=texts, truth=truth, description="not trained on"),
            model.predict_json(texts),
            labels=labels,
            baselines={"majority": classification.majority(train_labels, len(texts))},
        )
        self.keep_evaluation(evaluated, golden(model, texts))
        self.next(self.end)

    @step
    def end(self) -> None:
        """Publish the model, and unblock the build."""
        self.publish_model(self.files)


if __name__ == "__main__":
    training.main(SmallFlow)
