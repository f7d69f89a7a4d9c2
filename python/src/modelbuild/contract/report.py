"""The report on a model, from which a person decides whether to deploy it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints

from modelbuild.contract.decision import CandidateGates
from modelbuild.contract.deployment import Deployment
from modelbuild.contract.evaluation import MetricName
from modelbuild.contract.leaderboard import Leaderboard
from modelbuild.contract.manifest import Manifest
from modelbuild.contract.record import ModelId, ModelName, Record, Sha256, Text
from modelbuild.contract.request import Build

Role = Literal["live", "best", "experiment", "baseline"]
"""What a model is compared with: the model that the endpoint serves, the best earlier model of the pipeline,
the best experimental run with the same parameters, or a baseline of the evaluation.
"""

Outcome = Literal["better", "worse", "no difference", "not known", "not comparable"]
"""What a comparison shows; ``not known`` if there are figures without an interval."""

Style = Literal["success", "info", "warning", "error"]


class Interval(Record):
    """A 95 % interval of a metric, or of the difference of two models, by a bootstrap of evaluation rows."""

    low: float
    high: float


class Difference(Record):
    """Two models by one metric on the same rows."""

    value: float
    """The metric of this model."""
    other: float
    """The metric of the other model."""
    gain: float
    """By how much this model is better; negative if it is worse."""
    interval: Interval | None = None
    """The interval of the gain; None for a metric that cannot be computed again from the predictions, and on
    too few rows.
    """

    @property
    def outcome(self) -> Outcome:
        """What the rows show: a difference only if the interval does not contain 0."""
        if self.interval is None:
            return "not known"
        if self.interval.low > 0:
            return "better"
        return "worse" if self.interval.high < 0 else "no difference"


class Comparison(Record):
    """This model beside another one."""

    role: Role
    name: Text
    """The other model for people: ``sentiment 6``, the name of a baseline, or of a W&B run."""
    model_id: ModelId | None = None
    url: Text = ""
    """The page of the other model's build or run."""
    rows: int = Field(default=0, ge=0)
    """The number of rows that both models were compared on; 0 if they are not comparable."""
    reason: Text = ""
    """Why the models are not comparable, which rows they were compared on if not those of both, and why there
    is no interval.
    """
    unscored: Text = ""
    """Why the other model could not be scored on all rows, where that was tried; without a period."""
    primary: MetricName
    metrics: dict[MetricName, Difference] = Field(default_factory=dict)
    slices: dict[str, dict[str, Difference]] = Field(default_factory=dict)
    """By column and value: the column's first metric on the rows of that slice."""
    slices_by_metric: dict[str, dict[MetricName, dict[str, Difference]]] = Field(default_factory=dict)
    """By column, metric and value: each metric that could be compared on the rows of that slice."""

    @property
    def outcome(self) -> Outcome:
        """What the rows show by the primary metric."""
        return self.metrics[self.primary].outcome if self.primary in self.metrics else "not comparable"

    @property
    def gain(self) -> float:
        """By how much this model is better by the primary metric; infinite if that is not known."""
        difference = self.metrics.get(self.primary)
        return difference.gain if difference else float("inf")


class Verdict(Record):
    """The comparison with the live model in words."""

    outcome: Outcome | Literal["first"]
    """``first`` if no model is live, or the step does not know which endpoint it is for."""
    sentence: Text
    details: tuple[Text, ...] = ()
    """Further sentences that qualify the verdict: baselines that are better, slices that became worse."""
    style: Style


class Change(Record):
    """A value that is different from the live model's; an empty text is a value that one model lacks."""

    name: Text
    before: Text
    after: Text
    origin: Text = ""
    """Where the new value comes from: ``file``, ``plugin``, ``build`` or ``sweep``."""


class Commit(Record):
    """A commit between the live model's and this one's."""

    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40,64}$")]
    subject: Text
    author: Text
    url: Text = ""


class Changes(Record):
    """What is different from the live model, by what it is a part of."""

    since: Text
    """The live model for people: ``sentiment 6``."""
    parameters: tuple[Change, ...] = ()
    data: tuple[Change, ...] = ()
    commits: tuple[Commit, ...] = ()
    commits_note: Text = ""
    """Why the commits are not known, or how many more there are."""
    compare_url: Text = ""
    images: tuple[Change, ...] = ()
    packages: tuple[Change, ...] = ()


class GateResult(Record):
    """A gate with what it found."""

    title: Text
    """``macro-F1 of domain tweets``."""
    threshold: Text
    """``at least 0.600`` or ``at most 0.010 worse than live``."""
    value: Text
    """What was found: a figure, or why there is none."""
    passed: bool


class Example(Record):
    """An evaluation row on which the model is wrong, or two models differ."""

    id: Text
    input: JsonValue
    truth: JsonValue
    prediction: JsonValue
    score: float | None = None
    """The score of the prediction, if the model has scores."""
    live: JsonValue = None
    """The prediction of the live model, where the example is about the difference."""


class Examples(Record):
    """Evaluation rows for people to read."""

    mistakes: tuple[Example, ...] = ()
    """The most confident wrong predictions."""
    differences: tuple[Example, ...] = ()
    """Rows on which this model and the live one answer differently."""
    gained: int = 0
    """How many of the rows are right now and were wrong with the live model."""
    lost: int = 0
    """How many are wrong now and were right."""


class ConfusionMatrix(Record):
    """How often a true label (row) got a predicted label (column)."""

    labels: tuple[Text, ...]
    counts: tuple[tuple[int, ...], ...]


class CalibrationBin(Record):
    """Predictions with scores in one range."""

    mean_score: float
    accuracy: float
    rows: int


class TrendPoint(Record):
    """An earlier model of the pipeline by the primary metric."""

    model_id: ModelId
    value: float
    comparable: bool
    """Whether it was evaluated on the same rows."""
    deployed: bool


class CostLine(Record):
    """What one step of the training cost."""

    step: Text
    seconds: float
    resources: Text
    """``4 vCPU, 16 GiB, 1 GPU`` or an instance type."""
    price: float | None
    """In the currency of the price file; None if the file has no price for the resources."""


class Report(Record):
    """Everything that the page about a trained model says: ``report.json``."""

    version: Literal[1] = 1
    build: Build
    """The build from Buildkite's own variables."""
    commit_url: Text = ""
    """The page of the build's commit; empty if the host of its repository has none that is known."""
    manifest: Manifest
    manifest_sha256: Sha256
    endpoint: Text = ""
    live: Deployment | None = None
    verdict: Verdict
    comparisons: tuple[Comparison, ...] = ()
    changes: Changes | None = None
    gates: tuple[GateResult, ...] = ()
    leaderboard: Leaderboard | None = None
    """The candidates of the sweep whose best one this model is; None for a model that is of no sweep."""
    candidate_gates: CandidateGates | None = None
    """The gates that offered candidates do not meet; None without gates."""
    examples: Examples | None = None
    """None if the pipeline's options hide examples, or the model has none."""
    confusion: ConfusionMatrix | None = None
    calibration: tuple[CalibrationBin, ...] = ()
    trend: tuple[TrendPoint, ...] = ()
    """The newest models of the pipeline, the oldest first; this one is the last."""
    warnings: tuple[Text, ...] = ()
    cost: tuple[CostLine, ...] = ()
    currency: Text = ""
    unavailable: tuple[Text, ...] = ()
    """What could not be read, each with its reason: W&B, the live model's predictions."""

    @property
    def model(self) -> ModelName:
        """The name of the model."""
        return self.manifest.request.model

    def compared_with(self, role: Role) -> Comparison | None:
        """The comparison of this role; of baselines the strongest."""
        found = [comparison for comparison in self.comparisons if comparison.role == role]
        return min(found, key=lambda one: one.gain, default=None)
