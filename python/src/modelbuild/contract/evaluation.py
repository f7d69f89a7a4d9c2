"""The evaluation of a model of any task: metrics by name."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from typing_extensions import Self

from modelbuild.contract.record import Count, Record, Sha256, Text

FEW_ROWS = 30
"""Two models are not compared on fewer rows, where intervals are too narrow by far: of models without a
difference, 10 to 20 % would be marked on 5 to 20 rows, 4 to 10 % on 30.
"""

LARGE = 1e12
"""From here on metrics have three digits: those of a training that diverged would fill the page."""

MetricName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise ValueError(f"metric {name} is {value}, which is no finite number")
    return metrics


def figure(value: float) -> str:
    """A value of a metric as text: three decimals, or three digits if it is very small or very large."""
    if 0 < abs(value) < 0.001 or abs(value) >= LARGE:
        return f"{value:.2e}"
    # Adding 0.0 makes a positive zero of a negative one.
    return f"{value + 0.0:,.3f}"


def figure_with_interval(value: float, low: float | None, high: float | None) -> str:
    """A value of a metric with its interval as text, such as ``0.652 (0.640 to 0.664)``."""
    interval = "" if low is None or high is None else f" ({figure(low)} to {figure(high)})"
    return f"{figure(value)}{interval}"


class Metric(Record):
    """A figure of quality, such as macro-F1 or the root of the mean squared error."""

    name: MetricName
    title: Text
    """The name for people."""
    better: Literal["higher", "lower"]
    """Which of two values is the better one."""

    def gain(self, value: float, baseline: float) -> float:
        """By how much ``value`` is better than ``baseline``; negative if it is worse."""
        return value - baseline if self.better == "higher" else baseline - value


class Quality(Record):
    """Metrics by name, and the number of rows that they were computed on."""

    rows: Count
    # Any number is allowed here, so that the sentence of _finite is shown, which names the metric.
    metrics: Annotated[dict[MetricName, Annotated[float, Field(allow_inf_nan=True)]], AfterValidator(_finite)]


class Evaluation(Record):
    """Quality on evaluation rows, beside baselines on the same rows."""

    rows_are: Text = ""
    """The flow's description of the rows, such as "human-annotated, not trained on"; may be empty."""
    dataset_sha256: Sha256
    """Two models are comparable if they were evaluated on the same rows, which have the same hash."""
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1, max_length=20)]
    """The metrics of all qualities, in the order in which pages show them."""
    primary: MetricName
    """The metric that decides which of two models is the better one."""
    overall: Quality
    slices: dict[str, dict[str, Quality]] = Field(default_factory=dict)
    """Quality on parts of the rows: by the name of the column that divides them, and by its value."""
    baselines: dict[str, Quality] = Field(default_factory=dict)
    """The quality of other predictors on the same rows, by name."""

    @model_validator(mode="after")
    def _metrics_are_described(self) -> Self:
        names = [metric.name for metric in self.metrics]
        if len(set(names)) < len(names):
            raise ValueError(f"a metric is described twice: {', '.join(names)}")
        for where, quality in self._everything():
            if unknown := sorted(quality.metrics.keys() - set(names)):
                raise ValueError(f"metric {unknown[0]} of {where} is not described in metrics")
        for where, quality in {"all rows": self.overall, **self.baselines}.items():
            if self.primary not in quality.metrics:
                raise ValueError(f"{where} lacks the primary metric {self.primary}")
        return self

    def metric(self, name: str) -> Metric:
        """The description of a metric of this evaluation."""
        return next(metric for metric in self.metrics if metric.name == name)

    def value(self, metric: str, part: str | None = None) -> float | None:
        """A metric of all rows, or of the slice ``<column>=<value>``; None if there is no such value."""
        if part is None:
            return self.overall.metrics.get(metric)
        column, _, value = part.partition("=")
        quality = self.slices.get(column, {}).get(value)
        return None if quality is None else quality.metrics.get(metric)

    def with_slices(self, parts: Collection[str]) -> Evaluation:
        """The evaluation with these slices, ``<column>=<value>``, and no others."""
        kept = {
            column: {value: quality for value, quality in values.items() if f"{column}={value}" in parts}
            for column, values in self.slices.items()
        }
        return self.model_copy(update={"slices": {column: some for column, some in kept.items() if some}})

    @property
    def overall_metrics(self) -> list[Metric]:
        """The metrics of all rows, in the order in which people read them."""
        return self._of(self.overall)

    def used_in(self, table: Mapping[str, Quality]) -> list[Metric]:
        """The metrics that a table of qualities has: the primary one first, then in the order in which pages
        show them.
        """
        found = {name for quality in table.values() for name in quality.metrics}
        used = [metric for metric in self.metrics if metric.name in found]
        return sorted(used, key=lambda metric: metric.name != self.primary)

    def describe(self, quality: Quality) -> str:
        """A quality as text: "macro-F1 0.612, accuracy 0.679 on 2,345 rows"."""
        figures = (f"{metric.title} {figure(quality.metrics[metric.name])}" for metric in self._of(quality))
        return f"{', '.join(figures)} on {quality.rows:,} rows"

    def _of(self, quality: Quality) -> list[Metric]:
        return [metric for metric in self.metrics if metric.name in quality.metrics]

    def _everything(self) -> Iterator[tuple[str, Quality]]:
        yield "all rows", self.overall
        yield from self.baselines.items()
        for column, values in self.slices.items():
            yield from ((f"{column} {value}", quality) for value, quality in values.items())
