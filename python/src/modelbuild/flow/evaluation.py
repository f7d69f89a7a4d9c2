"""How good a model is on some rows, whatever its task is, and what it answers for each of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import JsonValue

from modelbuild.contract import Evaluation, Metric, Quality, figure, sha256_of_json
from modelbuild.errors import ConfigurationError

Values = Sequence[Any] | npt.NDArray[Any]
"""A label or a number for each row."""

Measure = Callable[[npt.NDArray[Any], npt.NDArray[Any]], Mapping[str, float]]
"""Metrics by name, of what is true of some rows and what was predicted for them."""


@dataclass(frozen=True)
class EvaluationRows:
    """The rows that a model is evaluated on, all with as many elements.

    Attributes:
        ids: what identifies each row, now and in later evaluations.
        inputs: what the model is given for each row, as JSON.
        truth: what is true of each row.
        are: what the rows are, for people, such as "human-annotated, not trained on".
        slices: columns that divide the rows into parts, by name, such as where each row comes from.
    """

    ids: Sequence[str]
    inputs: Sequence[JsonValue]
    truth: Values
    are: str
    slices: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def require_consistent(self) -> None:
        """Refuse rows that no model can be measured on.

        Raises:
            ConfigurationError: there are none, an id is there twice, or a column has another length.
        """
        columns = {"inputs": self.inputs, "truth": self.truth, **self.slices}
        wrong = next((name for name, column in columns.items() if len(column) != len(self.ids)), None)
        if wrong is not None:
            raise ConfigurationError(
                f"the evaluation rows have {len(self.ids)} ids, but {wrong} has {len(columns[wrong])} "
                "elements"
            )
        if not self.ids:
            raise ConfigurationError("there are no evaluation rows: hold some out of the training")
        if len(set(self.ids)) < len(self.ids):
            twice = next(one for at, one in enumerate(self.ids) if one in self.ids[:at])
            raise ConfigurationError(f"two evaluation rows have the id {twice!r}: give each row its own")

    def sha256(self) -> str:
        """The hash of the rows in the order of their ids; another input or truth is another evaluation."""
        truth = np.asarray(self.truth).tolist()
        rows = sorted(zip(self.ids, self.inputs, truth, strict=True), key=lambda row: row[0])
        return sha256_of_json([list(row) for row in rows])


@dataclass(frozen=True)
class Evaluated:
    """An evaluation, and the content of the Parquet file with the prediction for each row.

    The file is described by :class:`modelbuild.contract.PredictionsFile`.
    """

    evaluation: Evaluation
    predictions: bytes


def evaluate(
    rows: EvaluationRows,
    predicted: Values,
    *,
    metrics: Sequence[Metric],
    primary: str,
    measure: Measure,
    scores: Mapping[str, Values] | None = None,
    baselines: Mapping[str, Values] | None = None,
) -> Evaluated:
    """Compare what a model predicts with what is true.

    Args:
        rows: the rows.
        predicted: the model's prediction for each row.
        metrics: what ``measure`` computes, in the order in which people read it.
        primary: the metric that decides which of two models is the better one.
        measure: computes the metrics, on all rows and on each slice of them.
        scores: further numbers of each answer, by name, such as the probability of each label.
        baselines: what else predicts the same rows, by its name.

    Raises:
        ConfigurationError: the rows are not consistent.
    """
    rows.require_consistent()
    truth, guesses = np.asarray(rows.truth), np.asarray(predicted)

    def quality(answers: npt.NDArray[Any], chosen: npt.NDArray[np.bool_]) -> Quality:
        found = measure(truth[chosen], answers[chosen])
        return Quality(rows=int(chosen.sum()), metrics={name: float(value) for name, value in found.items()})

    everything = np.ones(len(truth), dtype=bool)
    evaluation = Evaluation(
        rows_are=rows.are,
        dataset_sha256=rows.sha256(),
        metrics=tuple(metrics),
        primary=primary,
        overall=quality(guesses, everything),
        slices={
            name: {str(value): quality(guesses, np.asarray(column) == value) for value in np.unique(column)}
            for name, column in rows.slices.items()
        },
        baselines={name: quality(np.asarray(one), everything) for name, one in (baselines or {}).items()},
    )
    return Evaluated(evaluation, _parquet(rows, truth, guesses, scores or {}))


def _parquet(
    rows: EvaluationRows,
    truth: npt.NDArray[Any],
    predicted: npt.NDArray[Any],
    scores: Mapping[str, Values],
) -> bytes:
    table = pa.table(
        {
            "id": list(rows.ids),
            "truth": truth.tolist(),
            "prediction": predicted.tolist(),
            **{f"score:{name}": np.asarray(column).tolist() for name, column in scores.items()},
            **{f"slice:{name}": list(column) for name, column in rows.slices.items()},
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table.sort_by("id"), buffer, compression="zstd")
    return buffer.getvalue()


def table(evaluation: Evaluation) -> str:
    """The headline figures as text, for the log: of all rows, of each slice that has them, of baselines."""
    metrics = evaluation.used_in({"": evaluation.overall})
    lines = {"all": evaluation.overall}
    for values in evaluation.slices.values():
        lines |= {name: one for name, one in values.items() if evaluation.primary in one.metrics}
    lines |= {f"({name} on all)": one for name, one in evaluation.baselines.items()}
    head = "".join(f"{metric.title:>12}" for metric in metrics)
    shown = [f"{'evaluation rows':20}{'rows':>8}{head}"]
    for name, one in lines.items():
        figures = "".join(
            f"{figure(one.metrics[metric.name]) if metric.name in one.metrics else '':>12}"
            for metric in metrics
        )
        shown.append(f"{name:20}{one.rows:>8,}{figures}")
    return "\n".join(shown)
