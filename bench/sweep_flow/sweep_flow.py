"""A flow whose training takes a few milliseconds, so that a sweep of it is orchestration and little else."""

from __future__ import annotations

import json
from pathlib import Path

import threshold_work
from metaflow import Config, step  # type: ignore[attr-defined]

from modelbuild.flow import base, classification, rows, training
from modelbuild.flow.batch import on_batch
from modelbuild.flow.evaluation import EvaluationRows

PARAMETERS = str(Path(__file__).with_name("params.yaml"))


def _key(row: threshold_work.Row) -> str:
    return repr(row[0])


class ThresholdFlow(base.ModelFlow):
    """Numbers → a threshold → its evaluation."""

    config = Config("config", default=PARAMETERS, parser="threshold_work.parse")

    @step
    def start(self) -> None:
        """Make the rows."""
        self.begin()
        found = threshold_work.rows()
        self.keep_rows(found, "made by the flow")
        halves = rows.split(found, _key, test_percent=20, seed=1)
        self.train_rows, self.test_rows = self.search_split(*halves, _key)
        self.next(self.train)

    @on_batch(cpu=1, memory=2048)
    @step
    def train(self) -> None:
        """Evaluate the candidate."""
        threshold = self.parameters["threshold"]
        numbers = [number for number, _ in self.test_rows]
        predicted = threshold_work.predict(threshold, numbers)
        answers = [
            {"label": label, "scores": {one: float(one == label) for one in threshold_work.LABELS}}
            for label in predicted
        ]
        truth = [label for _, label in self.test_rows]
        self.keep_runtime()
        names = [repr(number) for number in numbers]
        evaluated = classification.evaluate(
            EvaluationRows(ids=names, inputs=names, truth=truth, description="not trained on"),
            answers,
            labels=threshold_work.LABELS,
            baselines={"majority": classification.majority(truth, len(truth))},
        )
        self.keep_evaluation(evaluated, [])
        self.files = {"model.json": json.dumps({"threshold": threshold}).encode()}
        self.next(self.end)

    @step
    def end(self) -> None:
        """Publish the model."""
        self.publish_model(self.files)


if __name__ == "__main__":
    training.main(ThresholdFlow)
