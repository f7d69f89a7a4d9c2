"""What is asked of W&B about experiments, and what it answers."""

from __future__ import annotations

from pydantic import Field, JsonValue

from modelbuild.contract import Metric, Sha256
from modelbuild.contract.record import Record, Text


class Query(Record):
    """The experiments to look for."""

    entity: str | None
    """The team or user whose runs they are; None for the default of the API key."""
    project: str
    """W&B's project."""
    parameters_sha256: Sha256 | None = None
    """The hash of the parameters that they have in common with the model; None for any parameters."""
    dataset_sha256: Sha256 | None = None
    """The hash of the evaluation rows of the model; None for any rows."""
    primary: Metric | None = None
    """The metric by which they are compared with the model; None for the newest first, whatever they have."""
    most: int = Field(20, ge=1, le=1000)
    """How many runs are read, the newest first."""


class Experiment(Record):
    """An experimental run that has ended."""

    name: Text
    url: Text
    created: Text
    """When it began, as W&B says it: ``2026-11-23T10:00:00Z``."""
    metrics: dict[Text, float]
    """The numbers of its summary, with the names of :func:`modelbuild.flow.tracking.run.summary`."""
    dataset_sha256: Text
    """The hash of its evaluation rows; empty if it is not known."""
    predictions: Text = ""
    """Where its predictions should be in S3; empty if it is not known."""
    model: Text = ""
    commit: Text = ""
    branch: Text = ""
    creator: Text = ""
    """W&B's name of the user who made the run."""
    data_sha256: Text = ""
    parameters: dict[Text, JsonValue] = Field(default_factory=dict)


class Answer(Record):
    """The experiments: with a primary metric those on the same evaluation rows first, and of these the best
    one; else the newest one first.
    """

    experiments: tuple[Experiment, ...] = ()
    unavailable: tuple[Text, ...] = ()
    """Sentences about experiments that could not be read, or about W&B."""


def unavailable(sentence: str) -> Answer:
    """An answer without experiments, because of what the sentence says."""
    return Answer(unavailable=(f"Experiments: {sentence}.",))
