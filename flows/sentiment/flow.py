"""Train a classifier of comments on rated texts, and hand it to the build that asked for it.

For a build, ``modelbuild head`` runs this. On its own, with AWS credentials and a place for what it makes::

    ARTIFACTS=s3://bucket/scratch/you python flows/sentiment/flow.py run
"""

from __future__ import annotations

import hashlib
import os
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from metaflow import Config, FlowSpec, current, step  # type: ignore[attr-defined]

from modelbuild.aws.athena import Athena, identifier, quoted
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.callback import deliver, shared_rate_limiter
from modelbuild.contract import (
    DESCRIPTION_FILE,
    WEIGHTS_FILE,
    DataSnapshot,
    Evaluation,
    GoldenPrediction,
    Manifest,
    ModelDescription,
    Runtime,
    WandbRun,
    sha256_of_json,
)
from modelbuild.errors import ConfigurationError
from modelbuild.flow import publish, snapshot, tracking, training
from modelbuild.flow.batch import on_batch
from modelbuild.serving.model import Model, decode
from modelbuild.settings import AwsSettings
from parameters import Data, Parameters
from rows import LABELS, Labelled, Rated, labelled, split

GOLDEN = 8


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
        self.place = training.prefix(os.environ, str(current.run_id))
        self.parameters = self.config.to_dict()
        training.request(self._storage(), self.place, self.parameters, os.environ)
        self.seconds: dict[str, float] = {}
        self.next(self.prepare)

    @on_batch(cpu=1, memory=2048)
    @step
    def prepare(self) -> None:
        """Take a snapshot of the rows that the parameters ask for."""
        seconds = dict(self.seconds)
        with training.timed(seconds, "prepare"):
            taken = snapshot.take(
                Athena(session(AwsSettings())), self._storage(), query(self._parsed().data), self.place
            )
        print(f"{taken.rows:,} rows in {len(taken.objects)} objects, SHA-256 {taken.sha256}.")
        self.snapshot, self.seconds = taken.model_dump(mode="json"), seconds
        self.next(self.train)

    @on_batch(cpu=2, memory=8192, gpu=1)
    @step
    def train(self) -> None:
        """Fit the model on the documents that are not held out."""
        from model import fit
        from modelbuild.flow import runtime

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
        self.runtime = runtime.describe(os.environ.get("TRAIN_GPU_IMAGE", "")).model_dump(mode="json")
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
            model = decode(self._description(), self.weights)
            guesses = model.scores([item.row.text for item in test]).argmax(axis=1)
            majority = int(np.bincount([item.target for item in train]).argmax())
            evaluation = evaluate(test, guesses, majority)
            run = self._track(evaluation)
        print(_table(evaluation))
        print(f"W&B run: {run.url or f'{run.id}, recorded nowhere'}")
        self.evaluation = evaluation.model_dump(mode="json")
        self.wandb = run.model_dump(mode="json")
        self.golden = [item.model_dump(mode="json") for item in _golden(model, [r.row.text for r in test])]
        self.seconds = seconds
        self.next(self.notify_buildkite)

    @on_batch(cpu=1, memory=2048, secrets=["BUILDKITE_SECRET_ARN"])
    @step
    def notify_buildkite(self) -> None:
        """Publish the model and its manifest, and unblock the build."""
        storage, description = self._storage(), self._description()
        files = {WEIGHTS_FILE: self.weights, DESCRIPTION_FILE: description.to_json().encode()}
        artifact = publish.upload(storage, self.place, files)
        print(f"The model is {artifact.path}, {artifact.bytes:,} bytes.")
        request = training.request(storage, self.place, self.parameters, os.environ)
        if request is None:
            print("This flow runs on its own: there is no manifest to write and no build to tell.")
        else:
            manifest = Manifest(
                request=request,
                data=DataSnapshot.model_validate(self.snapshot),
                evaluation=Evaluation.model_validate(self.evaluation),
                wandb=WandbRun.model_validate(self.wandb),
                artifact=artifact,
                runtime=Runtime.model_validate(self.runtime),
                golden=tuple(GoldenPrediction.model_validate(item) for item in self.golden),
                timings=self.seconds,
                created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            )
            result = publish.publish(storage, manifest)
            deliver(request, result, turns=shared_rate_limiter(storage, self.place))
        self.next(self.end)

    @step
    def end(self) -> None:
        """Nothing is left to do."""

    def _storage(self) -> Storage:
        return Storage(session(AwsSettings()))

    def _parsed(self) -> Parameters:
        return Parameters.model_validate(self.parameters)

    def _rows(self) -> tuple[list[Labelled], list[Labelled]]:
        """The rows to train on and those held out."""
        table = snapshot.read(self._storage(), DataSnapshot.model_validate(self.snapshot))
        parsed = self._parsed()
        rated = (Rated(**row) for row in table.to_pylist())
        train, test = split(labelled(rated, parsed.labels.tau), parsed.split.test_percent, parsed.seed)
        if not train or not test:
            raise ConfigurationError(
                f"The parameter split.test_percent is {parsed.split.test_percent}: that leaves {len(train)} "
                f"rows to train on and {len(test)} to evaluate with; both need some."
            )
        return train, test

    def _description(self) -> ModelDescription:
        shape = self._parsed().model
        return ModelDescription(
            kind="hashed-ngrams-linear",
            labels=LABELS,
            buckets=shape.buckets,
            ngrams=shape.ngrams,
            parameters_sha256=sha256_of_json(self.parameters),
            weights_sha256=hashlib.sha256(self.weights).hexdigest(),
        )

    def _track(self, evaluation: Evaluation) -> WandbRun:
        request = training.request(self._storage(), self.place, self.parameters, os.environ)
        about = {"parameters": self.parameters, "data_sha256": self.snapshot["sha256"]}
        if request is None:
            name = str(current.flow_name)
            return tracking.record(
                f"{name}-{current.run_id}", project=name, group=name, config=about, evaluation=evaluation
            )
        build = request.build
        about |= {"model_id": request.model_id, "commit": build.commit, "build_url": build.url}
        return tracking.record(
            f"{build.pipeline}-{request.model_id}",
            project=build.pipeline,
            group=request.model_id,
            config=about,
            evaluation=evaluation,
        )


def _golden(model: Model, texts: list[str]) -> list[GoldenPrediction]:
    """Some texts with the answers that whoever serves the model must give."""
    chosen = texts[:: max(1, len(texts) // GOLDEN)][:GOLDEN]
    return [
        GoldenPrediction(text=text, label=label, scores=scores)
        for text, (label, scores) in zip(chosen, model.predict(chosen), strict=True)
    ]


def _table(evaluation: Evaluation) -> str:
    """The headline figures, for the log."""
    lines = {"all": evaluation.overall, **evaluation.by_domain}
    lines |= {f"({name} on all)": scores for name, scores in evaluation.baselines.items()}
    rows = [
        f"{name:20}{one.rows:>7,}{one.accuracy:>10.3f}{one.macro_f1:>10.3f}" for name, one in lines.items()
    ]
    return "\n".join([f"{'held out':20}{'rows':>7}{'accuracy':>10}{'macro-F1':>10}", *rows])


if __name__ == "__main__":
    training.main(SentimentFlow)
