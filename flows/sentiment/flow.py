"""Trains a classifier of comments on rated texts, for a build or on its own. For a build, ``modelbuild head``
runs this flow. On its own it needs AWS credentials and an S3 prefix::

    ARTIFACTS=s3://bucket/scratch/you python flows/sentiment/flow.py run
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from metaflow import Config, step  # type: ignore[attr-defined]

from modelbuild.aws.athena import identifier, quoted
from modelbuild.flow import training
from modelbuild.flow.base import ModelFlow
from modelbuild.flow.batch import on_batch
from modelbuild.flow.models import linear
from modelbuild.flow.packaging import golden
from modelbuild.serving.model import load
from parameters import Data, LinearParameters, TransformerParameters, read
from rows import LABELS, Labelled, Rated, document, labelled, split


def query(data: Data) -> str:
    """The query for the rows that the parameters select."""
    domains = ", ".join(quoted(domain) for domain in data.domains)
    return (
        "SELECT id, text, rating, domain, document, vader_compound "
        f"FROM {identifier(data.database)}.{identifier(data.table)} "
        f"WHERE domain IN ({domains}) AND raters >= {data.min_raters}"
    )


class SentimentFlow(ModelFlow):
    """Rated texts from the lake → model, evaluation, W&B run → the build."""

    config = Config("config", default=str(Path(__file__).with_name("params.yaml")), parser="parameters.parse")

    @on_batch(cpu=1, memory=2048)
    @step
    def start(self) -> None:
        """Take a snapshot of the rows that the parameters select."""
        self.begin()
        self.take_snapshot(query(self._parsed().data))
        self.next(self.train)

    # A linear model needs no GPU. For a transformer, option resources of the plugin train asks for one.
    @on_batch(cpu=2, memory=8192, secrets=["WANDB_SECRET_ARN"])
    @step
    def train(self) -> None:
        """Fit the model on the documents that are not held out."""
        parsed, (rows, held_out, dropped) = self._parsed(), self._rows()
        self.keep_training_rows(
            [item.row.text for item in rows],
            [LABELS[item.target] for item in rows],
            evaluation_inputs=[item.row.text for item in held_out],
            dropped=dropped,
        )
        with self.timed("train"):
            if isinstance(parsed, TransformerParameters):
                import transformer

                self.files, self.not_served = transformer.train(
                    rows, parsed, self.parameters, self.store(), self.progress().record
                )
            else:
                self.files, self.not_served = self._train_linear(rows, parsed), {}
        self.keep_runtime()
        print(f"Trained on {len(rows):,} texts in {self.seconds['train']} s.")
        self.next(self.evaluate)

    @on_batch(cpu=1, memory=4096, secrets=["WANDB_SECRET_ARN"])
    @step
    def evaluate(self) -> None:
        """Evaluate the model in its served form on the held-out documents, and log to W&B."""
        from evaluate import evaluate

        train, test, _ = self._rows()
        model, texts = load(self.files), [item.row.text for item in test]
        majority = int(np.bincount([item.target for item in train]).argmax())
        with self.timed("evaluate"):
            others = {name: load(files).predict_json(texts) for name, files in self.not_served.items()}
            evaluated = evaluate(test, model.predict_json(texts), majority, others)
        self.keep_evaluation(evaluated, golden(model, texts))
        self.next(self.notify_buildkite)

    @on_batch(cpu=1, memory=2048, secrets=["BUILDKITE_SECRET_ARN", "WANDB_SECRET_ARN"])
    @step
    def notify_buildkite(self) -> None:
        """Publish the model and its manifest, and unblock the build."""
        self.publish_model(self.files)
        self.next(self.end)

    @step
    def end(self) -> None:
        """The last step, which Metaflow requires."""

    def _train_linear(self, rows: Sequence[Labelled], parsed: LinearParameters) -> dict[str, bytes]:
        """The files of a model of hashed n-grams."""
        shape = parsed.model.model_dump(exclude={"kind"})
        weights = linear.fit(
            ((item.row.text, LABELS[item.target]) for item in rows),
            labels=LABELS,
            seed=parsed.seed,
            record=self.progress().record,
            **shape,
            **parsed.training.model_dump(),
        )
        return linear.files(weights, labels=LABELS, parameters=self.parameters, **shape)

    def _parsed(self) -> LinearParameters | TransformerParameters:
        return read(self.parameters)

    def _rows(self) -> tuple[list[Labelled], list[Labelled], dict[str, int]]:
        """The rows to train on, those held out, and how many others there are, by reason."""
        parsed = self._parsed()
        rated = (Rated(**row) for row in self.read_snapshot().to_pylist())
        dropped: dict[str, int] = {}
        kept = labelled(rated, parsed.labels.tau, dropped)
        train, test = split(kept, parsed.split.test_percent, parsed.seed)
        return *self.search_split(train, test, document), dropped


if __name__ == "__main__":
    training.main(SentimentFlow, needs_artifacts=True)
