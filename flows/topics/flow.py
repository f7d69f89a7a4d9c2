"""Train a classifier of texts by topic: ``ARTIFACTS=s3://bucket/you python flows/topics/flow.py run``"""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path

from metaflow import Config, step  # type: ignore[attr-defined]

from modelbuild.aws.athena import identifier
from modelbuild.flow import base, classification, rows, training
from modelbuild.flow.batch import on_batch
from modelbuild.flow.evaluation import EvaluationRows
from modelbuild.flow.models import linear
from modelbuild.flow.packaging import golden
from modelbuild.serving.model import load
from parameters import Parameters


class TopicsFlow(base.ModelFlow):
    """Texts of articles from the lake → model, evaluation, W&B run → the build."""

    config = Config("config", default=str(Path(__file__).with_name("params.yaml")), parser="parameters.parse")

    @on_batch(cpu=1, memory=4096)
    @step
    def start(self) -> None:
        """Take a snapshot of the table that the parameters name."""
        self.begin()
        table = identifier(Parameters.model_validate(self.parameters).data.table)
        self.take_snapshot(f"SELECT id, text, topic, article FROM modelbuild.{table}")
        self.next(self.train)

    @on_batch(cpu=2, memory=8192, secrets=["WANDB_SECRET_ARN"])
    @step
    def train(self) -> None:
        """Fit the model on the articles that are not held out."""
        parsed, (known, _, _) = Parameters.model_validate(self.parameters), self._halves()
        texts = [(row["text"], row["topic"]) for row in known]
        self.labels = sorted({label for _, label in texts})
        shape, fitting = parsed.model.model_dump(), {"seed": parsed.seed, **parsed.training.model_dump()}
        with self.timed("train"):
            weights = linear.fit(texts, labels=self.labels, record=self.progress().record, **shape, **fitting)
        self.files = linear.files(weights, labels=self.labels, parameters=self.parameters, **shape)
        self.keep_runtime()
        self.next(self.evaluate)

    @on_batch(cpu=1, memory=4096, secrets=["WANDB_SECRET_ARN"])
    @step
    def evaluate(self) -> None:
        """Measure the model, as it will be served, on the articles that training never saw."""
        (known, held_out, dropped), model = self._halves(), load(self.files)
        ids, texts, truth = ([row[name] for row in held_out] for name in ("id", "text", "topic"))
        inputs, labels = ([row[name] for row in known] for name in ("text", "topic"))
        self.keep_training_rows(inputs, labels, evaluation_inputs=texts, dropped=dropped)
        found = EvaluationRows(ids=ids, inputs=texts, truth=truth, description="articles not trained on")
        baselines = {"majority": classification.majority(labels, len(texts))}
        answers = model.predict_json(texts)
        evaluated = classification.evaluate(found, answers, labels=self.labels, baselines=baselines)
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

    def _halves(self) -> tuple[list[dict[str, str]], list[dict[str, str]], dict[str, int]]:
        """The rows to train on, those held out, and how many others there are, by reason."""
        parsed, key = Parameters.model_validate(self.parameters), itemgetter("article")
        found, dropped = self.read_snapshot().to_pylist(), dict[str, int]()
        kept = rows.distinct(found, text=itemgetter("text"), label=itemgetter("topic"), dropped=dropped)
        return *self.search_split(*rows.hold_out(kept, key, parsed.data.held_out, parsed.seed), key), dropped


if __name__ == "__main__":
    training.main(TopicsFlow, needs_artifacts=True)
