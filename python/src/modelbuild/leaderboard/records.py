"""What ``modelbuild leaderboard`` prints."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from modelbuild.contract import Metric, ModelId, Record, S3Uri, Sha256, Slug, Text
from modelbuild.contract.report import Interval


class EvaluationRows(Record):
    """Rows that models were evaluated on. Two models are comparable only if these are the same."""

    sha256: Sha256
    kind: Literal["test", "validation"]
    """``validation``: rows that a sweep held out of the training rows, to rank its candidates."""
    rows: int | None = None
    """How many there are; None if it is not known."""
    rows_are: Text = ""
    """The flow's description of them."""
    metric: Metric
    """The primary metric of the models that were evaluated on them."""


class Entry(Record):
    """A model, a candidate or an experiment, with its quality on some rows."""

    rank: int = Field(default=0, ge=0)
    """From 1 in its table; 0 before it is ranked."""
    kind: Literal["model", "candidate", "experiment"]
    """``candidate``: one that was trained to be ranked, and need not be a model."""
    name: Text
    """For people: ``sentiment 12.7``, or the name of a W&B run."""
    model: Text
    model_id: ModelId | None = None
    branch: Text = ""
    commit: Text = ""
    creator: Text = ""
    created_at: Text = ""
    build_url: Text = ""
    wandb_url: Text = ""
    data_sha256: Text = ""
    """The hash of the rows that it was made from."""
    parameters: dict[str, JsonValue]
    """All parameters, by their dotted names."""
    metrics: dict[str, float]
    interval: Interval | None = None
    """The 95 % interval of the primary metric, by a bootstrap of the rows; None if it is not known."""
    deployed_at: Text = ""
    """When the model was last deployed; empty if it was not."""


class Table(Record):
    """The models that were evaluated on the same rows, the best first."""

    rows: EvaluationRows
    entries: tuple[Entry, ...]
    """The best of them, as many as were asked for."""
    count: int
    """How many there are."""

    def value(self, entry: Entry) -> float:
        """The primary metric of an entry."""
        return entry.metrics[self.rows.metric.name]


class Board(Record):
    """The tables of a pipeline, the newest rows first; there is no order between two tables."""

    pipeline: Slug
    artifacts: S3Uri
    tables: tuple[Table, ...] = ()
    models: int = 0
    """How many manifests were read."""
    sweeps: int = 0
    """How many leaderboards of sweeps were read."""
    experiments: int = 0
    """How many experimental runs of W&B were read."""
    notes: tuple[Text, ...] = ()
    """Sentences about what is not in the tables."""
