"""Train a classifier of comments on rated texts, and hand it to the build that asked for it.

For a build, ``modelbuild head`` runs this. On its own, with AWS credentials and a place for what it makes::

    ARTIFACTS=s3://bucket/scratch/you python flows/sentiment/flow.py run
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from metaflow import Config, FlowSpec, current, step  # type: ignore[attr-defined]

from modelbuild.aws.athena import Athena, identifier, quoted
from modelbuild.aws.identity import session
from modelbuild.contract import DataSnapshot
from modelbuild.errors import ConfigurationError
from modelbuild.flow import classification, handover, linear, publish, runtime, snapshot, tracking, training
from modelbuild.flow.batch import GPU_IMAGE, on_batch
from modelbuild.serving.model import Model
from modelbuild.settings import AwsSettings
from parameters import Data, Parameters
from rows import LABELS, Labelled, Rated, labelled, split


def query(data: Data) -> str:
    """The rows that the parameters ask for."""
    domains = ", ".join(quoted(domain) for domain in data.domains)
    return (
        "SELECT id, text, rating, domain, document, vader_compound "
        f"FROM {identifier(data.database)}.{identifier(data.table)} "
        f"WHERE domain IN ({domains}) AND raters >= {data.min_raters}"
    )


class SentimentFlow(FlowSpec):
    """Rated texts from the lake → model, evaluation, W&B run → the build."""

    config = Config("config", default=str(Path(__file__).with_name("params.yaml")), parser="parameters.parse")

    @step
    def start(self) -> None:
        """Know where to write, and that the parameters are the ones that were asked for."""
        self.prefix = training.prefix(os.environ, str(current.run_id))
        self.parameters = self.config.to_dict()
        training.current_request(self.parameters)
        self.seconds: dict[str, float] = {}
        self.next(self.prepare)

    @on_batch(cpu=1, memory=2048)
    @step
    def prepare(self) -> None:
        """Take a snapshot of the rows that the parameters ask for."""
        seconds = dict(self.seconds)
        with training.timed(seconds, "prepare"):
            athena = Athena(session(AwsSettings()))
            taken = snapshot.take(athena, training.storage(), query(self._parsed().data), self.prefix)
        print(f"{taken.rows:,} rows in {len(taken.objects)} objects, SHA-256 {taken.sha256}.")
        self.snapshot, self.seconds = taken.model_dump(mode="json"), seconds
        self.next(self.train)

    @on_batch(cpu=2, memory=8192, gpu=1)
    @step
    def train(self) -> None:
        """Fit the model on the documents that are not held out."""
        from model import fit

        parsed, seconds = self._parsed(), dict(self.seconds)
        with training.timed(seconds, "train"):
            rows, _ = self._rows()
            classifier = fit(
                [item.row.text for item in rows],
                np.array([item.target for item in rows]),
                len(LABELS),
                shape=parsed.model,
                training=parsed.training,
                seed=parsed.seed,
            )
        self.weights = classifier.to_safetensors()
        self.runtime = runtime.describe(os.environ.get(GPU_IMAGE, "")).model_dump(mode="json")
        print(f"Trained on {len(rows):,} texts in {seconds['train']} s.")
        self.seconds = seconds
        self.next(self.evaluate)

    @on_batch(cpu=1, memory=4096, secrets=["WANDB_SECRET_ARN"])
    @step
    def evaluate(self) -> None:
        """Measure the model as it will be served on the held-out documents, and tell W&B."""
        from evaluate import evaluate

        seconds = dict(self.seconds)
        with training.timed(seconds, "evaluate"):
            train, test = self._rows()
            model, texts = self._model(), [item.row.text for item in test]
            guesses = model.scores(texts).argmax(axis=1)
            majority = int(np.bincount([item.target for item in train]).argmax())
            evaluation = evaluate(test, guesses, majority)
            about = {"parameters": self.parameters, "data_sha256": self.snapshot["sha256"]}
            run = tracking.track(training.current_request(self.parameters), evaluation, about)
        print(classification.table(evaluation))
        print(f"W&B run: {run.url or f'{run.id}, recorded nowhere'}")
        self.evaluation, self.wandb = evaluation.model_dump(mode="json"), run.model_dump(mode="json")
        self.golden = [item.model_dump(mode="json") for item in linear.golden(model, texts)]
        self.seconds = seconds
        self.next(self.notify_buildkite)

    @on_batch(cpu=1, memory=2048, secrets=["BUILDKITE_SECRET_ARN"])
    @step
    def notify_buildkite(self) -> None:
        """Publish the model and its manifest, and unblock the build."""
        storage = training.storage()
        artifact = publish.upload(storage, self.prefix, linear.files(self._model(), self.weights))
        print(f"The model is {artifact.path}, {artifact.bytes:,} bytes.")
        request = training.current_request(self.parameters)
        if request is None:
            print("This flow runs on its own: there is no manifest to write and no build to tell.")
        else:
            handover.hand_over(
                storage,
                request,
                artifact,
                data=self.snapshot,
                evaluation=self.evaluation,
                wandb=self.wandb,
                runtime=self.runtime,
                golden=self.golden,
                seconds=self.seconds,
            )
        self.next(self.end)

    @step
    def end(self) -> None:
        """Nothing is left to do."""

    def _parsed(self) -> Parameters:
        return Parameters.model_validate(self.parameters)

    def _rows(self) -> tuple[list[Labelled], list[Labelled]]:
        """The rows to train on and those held out."""
        table = snapshot.read(training.storage(), DataSnapshot.model_validate(self.snapshot))
        parsed = self._parsed()
        rated = (Rated(**row) for row in table.to_pylist())
        train, test = split(labelled(rated, parsed.labels.tau), parsed.split.test_percent, parsed.seed)
        if not train or not test:
            raise ConfigurationError(
                f"The parameter split.test_percent is {parsed.split.test_percent}: that leaves {len(train)} "
                f"rows to train on and {len(test)} to evaluate with; both need some."
            )
        return train, test

    def _model(self) -> Model:
        """The model as it will be served."""
        shape = self._parsed().model
        return linear.model(
            self.weights,
            labels=LABELS,
            buckets=shape.buckets,
            ngrams=shape.ngrams,
            parameters=self.parameters,
        )


if __name__ == "__main__":
    training.main(SentimentFlow)
