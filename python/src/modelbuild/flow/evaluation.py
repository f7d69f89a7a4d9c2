"""Evaluates a model of any task on some rows, and records its prediction for each of them."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue, ValidationError

from modelbuild import log
from modelbuild.contract import Evaluation, Metric, Quality, figure, sha256_of_json
from modelbuild.errors import ConfigurationError
from modelbuild.formats.validation import first_error

SLICES = 1_000
"""How many slices of a column are evaluated, those with the most rows: a manifest holds them all."""

Values = Sequence[Any] | npt.NDArray[Any]
"""A label or a number for each row."""

_KINDS = {"U": "texts", "b": "booleans", "i": "numbers", "u": "numbers", "f": "numbers"}
"""The kinds of values of predictions, by numpy's kinds."""

Measure = Callable[[npt.NDArray[Any], npt.NDArray[Any]], Mapping[str, float]]
"""Computes metrics by name from the true and the predicted values of some rows."""


@dataclass(frozen=True)
class EvaluationRows:
    """The rows that a model is evaluated on; all fields have the same length.

    Attributes:
        ids: the id of each row; the same row has the same id in later evaluations.
        inputs: the model's input for each row, as JSON.
        truth: the true label or number of each row.
        description: a description of the rows for people, such as "human-annotated, not trained on".
        slices: columns that divide the rows into parts, by name, such as where each row comes from.
    """

    ids: Sequence[str]
    inputs: Sequence[JsonValue]
    truth: Values
    description: str
    slices: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def require_consistent(self, **predictions: Values) -> None:
        """Refuse rows that cannot be used to evaluate a model.

        Args:
            predictions: the columns of predictions, by name.

        Raises:
            ConfigurationError: there are no rows, two rows have the same id, a column has another length, a
                value is no text, number or boolean, predictions are of another kind than the truth, or a
                number is not finite.
        """
        if len(self.ids) == 0:
            raise ConfigurationError("there are no evaluation rows: hold some out of the training")
        columns = {"inputs": self.inputs, "truth": self.truth, **self.slices, **predictions}
        for name, column in columns.items():
            if len(column) != len(self.ids):
                raise ConfigurationError(
                    f"there are {len(self.ids)} evaluation rows, but {name} has {len(column)} elements"
                )
        of_truth = self._kind("truth", self.truth)
        for name, values in {"truth": self.truth, **predictions}.items():
            kind = self._kind(name, values)
            if name.partition(" ")[0] in ("predicted", "baseline") and kind != of_truth:
                raise ConfigurationError(
                    f"{name} has {kind}, and truth has {of_truth}: convert one of the two"
                )
            numbers = np.asarray(values)
            if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
                raise ConfigurationError(
                    f"{name} of evaluation row {self.ids[int(np.argmin(np.isfinite(numbers)))]!r} is no "
                    "finite number: leave the row out, or lower the learning rate if the training diverged"
                )
        ids: Sequence[Any] = self.ids
        if not all(type(id) is int for id in ids):
            for id in ids:
                if not isinstance(id, str):
                    raise ConfigurationError(
                        f"the id {id!r} of an evaluation row is of type {type(id).__name__}: make all ids "
                        "texts"
                    )
        id, times = Counter(self.ids).most_common(1)[0]
        if times > 1:
            raise ConfigurationError(f"two evaluation rows have the id {id!r}: give each row its own")

    def _kind(self, name: str, values: Values) -> str:
        """What the values of a column are, in words.

        Raises:
            ConfigurationError: they are neither texts nor numbers nor booleans.
        """
        try:
            array = np.asarray(values)
        # Lists of several lengths.
        except ValueError:
            array = np.array([*values], dtype=object)
        kinds = {_KINDS.get(array.dtype.kind) if array.ndim == 1 else None}
        if array.dtype.kind == "O":
            kinds = {*map(_kind_of, array)}
        [kind, *others] = kinds
        if kind is not None and not others:
            return kind
        first = _kind_of(values[0])
        place = next((n for n, value in enumerate(values) if _kind_of(value) != first), 0) if first else 0
        raise ConfigurationError(
            f"{name} of evaluation row {self.ids[place]!r} is of type {type(values[place]).__name__}, and "
            f"{name} must have only texts, only numbers or only booleans: convert it, or leave the row out"
        )

    def require_type(self, kind: type, name_of_kind: str, **columns: Values) -> None:
        """Refuse a truth, or a value of another column, that is of another type, such as a number as text.

        Args:
            kind: what each value must be; a truth value is no number.
            name_of_kind: what people call that.
            columns: the other columns, by name.

        Raises:
            ConfigurationError: one is of another type.
        """
        for name, values in {"truth": self.truth, **columns}.items():
            for id, value in zip(self.ids, values, strict=False):
                if not isinstance(value, kind) or isinstance(value, bool):
                    raise ConfigurationError(
                        f"{name} of evaluation row {id!r} is of type {type(value).__name__} and must be "
                        f"{name_of_kind}: convert it, or leave the row out"
                    )

    def sha256(self) -> str:
        """The hash of the rows, sorted by their ids: inputs and truth. Models with different hashes are not
        comparable.

        Raises:
            ConfigurationError: a row is no JSON.
        """
        truth = np.asarray(self.truth).tolist()
        rows = sorted(zip(self.ids, self.inputs, truth, strict=True), key=lambda row: row[0])
        try:
            return sha256_of_json([list(row) for row in rows])
        except (TypeError, ValueError, RecursionError):
            for row in rows:
                _require_json(row)
            raise


def _kind_of(value: Any) -> str | None:
    """What a value is, in words; None if it is neither a text nor a number nor a boolean."""
    return None if np.ndim(value) else _KINDS.get(np.asarray(value).dtype.kind)


def _require_json(row: tuple[Any, ...]) -> None:
    """Refuse the id, input and truth of a row that is no JSON, such as an input with a number of numpy's.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        sha256_of_json([*row])
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"evaluation row {row[0]!r} is no JSON ({error}): convert its id, input and truth to texts, "
            "finite numbers, lists and objects of Python"
        ) from error


@dataclass(frozen=True)
class RowMetric:
    """A metric of the flow's own that is the mean of a value of each row, such as the cost of an error.

    Reports compare it with an interval, as the values are in the file of the predictions.

    Attributes:
        metric: its name, title and direction.
        values: of the model, for each row.
        baselines: of each baseline, by its name.
    """

    metric: Metric
    values: Values
    baselines: Mapping[str, Values] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, npt.NDArray[np.float64]]:
        """The columns of the file of the predictions.

        Raises:
            ConfigurationError: a value is no number.
        """
        name = f"metric:{self.metric.name}"
        others = {f"{name}:{one}": values for one, values in self.baselines.items()}
        try:
            return {
                one: np.asarray(values, dtype=float) for one, values in {name: self.values, **others}.items()
            }
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f"a value of metric {self.metric.name} is no number ({error}): give RowMetric a number for "
                "each row"
            ) from error


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
    row_metrics: Sequence[RowMetric] = (),
) -> Evaluated:
    """Compare a model's predictions with the truth.

    Args:
        rows: the rows.
        predicted: the model's prediction for each row.
        metrics: the metrics that ``measure`` computes, in the order of the tables.
        primary: the metric that decides which of two models is the better one.
        measure: computes the metrics, on all rows and on each slice of them.
        scores: further numbers of each prediction, by name, such as the probability of each label.
        baselines: predictions of each baseline for the same rows, by its name.
        row_metrics: metrics beside those of ``measure`` that are means over the rows.

    Raises:
        ConfigurationError: the rows are not consistent, the model or a baseline lacks the primary metric, or
            the metrics are not those that are described.
    """
    for kept in row_metrics:
        if unknown := sorted(kept.baselines.keys() - (baselines or {}).keys()):
            raise ConfigurationError(
                f"metric {kept.metric.name} has values of baseline {unknown[0]!r}, which is not among the "
                f"baselines ({', '.join(baselines or {}) or 'none'}): correct its name"
            )
    means = {name: column for one in row_metrics for name, column in one.columns.items()}
    named = {f"score {name}": column for name, column in (scores or {}).items()}
    named |= {f"baseline {name}": column for name, column in (baselines or {}).items()}
    rows.require_consistent(predicted=predicted, **named, **means)
    truth, guesses = np.asarray(rows.truth), np.asarray(predicted)
    slices = {name: [str(value) for value in column] for name, column in rows.slices.items()}

    def quality(predictions: npt.NDArray[Any], mask: npt.NDArray[np.bool_], baseline: str = "") -> Quality:
        found = dict(measure(truth[mask], predictions[mask]))
        for one in row_metrics:
            name = f"metric:{one.metric.name}{baseline}"
            if name in means:
                found[one.metric.name] = float(means[name][mask].mean())
        for name, value in found.items():
            if _kind_of(value) != "numbers":
                raise ConfigurationError(
                    f"measure returns {value!r} for metric {name}: let it return a number"
                )
        # A slice may be too small for a metric, such as a variance of one row.
        finite = {name: float(value) for name, value in found.items() if math.isfinite(value)}
        return Quality(rows=int(mask.sum()), metrics=finite)

    everything = np.ones(len(truth), dtype=bool)
    overall = quality(guesses, everything)
    if primary not in overall.metrics:
        raise ConfigurationError(
            f"the evaluation has no finite number for the primary metric {primary}: let measure compute it"
        )
    others = {
        name: quality(np.asarray(one), everything, f":{name}") for name, one in (baselines or {}).items()
    }
    for name, one in others.items():
        if primary not in one.metrics:
            raise ConfigurationError(
                f"baseline {name} has no finite number for the primary metric {primary}: let measure compute "
                f"it, or give RowMetric the values of the baseline, baselines={{{name!r}: …}}"
            )
    values = {
        "rows_are": rows.description,
        "dataset_sha256": rows.sha256(),
        "metrics": (*metrics, *(one.metric for one in row_metrics)),
        "primary": primary,
        "overall": overall,
        "slices": {
            name: {value: quality(guesses, mask) for value, mask in _parts(name, column)}
            for name, column in slices.items()
        },
        "baselines": others,
    }
    try:
        evaluation = Evaluation.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(
            f"the evaluation is not valid ({first_error(error)}): correct the arguments of evaluate"
        ) from error
    columns = {"prediction": guesses}
    columns |= {f"score:{name}": np.asarray(column) for name, column in (scores or {}).items()}
    columns |= {f"baseline:{name}": np.asarray(column) for name, column in (baselines or {}).items()}
    return Evaluated(evaluation, _parquet(rows, {**columns, **means}))


def _parts(name: str, column: Sequence[str]) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """The values of a column of slices, sorted, each with the rows that have it; of more than ``SLICES`` the
    most frequent ones.
    """
    found = Counter(column)
    kept = sorted(found, key=lambda value: (-found[value], value))[:SLICES]
    if len(kept) < len(found):
        log.warn(
            f"column {name} divides the evaluation rows into {len(found):,} slices, of which the {SLICES:,} "
            "with the most rows are evaluated: name the others alike, or leave the column out of slices"
        )
    values = np.array(column)
    for value in sorted(kept):
        yield value, values == value


def _parquet(rows: EvaluationRows, predictions: Mapping[str, npt.NDArray[Any]]) -> bytes:
    # Imported here, because each process of a flow imports this module, and one evaluates.
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "id": [str(one) for one in rows.ids],
            "input": [json.dumps(one, ensure_ascii=False, sort_keys=True) for one in rows.inputs],
            "truth": np.asarray(rows.truth).tolist(),
            **{name: column.tolist() for name, column in predictions.items()},
            **{f"slice:{name}": [str(value) for value in column] for name, column in rows.slices.items()},
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table.sort_by("id"), buffer, compression="zstd")
    return buffer.getvalue()


def table(evaluation: Evaluation) -> str:
    """A text table for the log: all rows, each slice that has the primary metric, and each baseline."""
    metrics = evaluation.overall_metrics
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
