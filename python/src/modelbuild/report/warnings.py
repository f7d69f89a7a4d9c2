"""The warnings about a model before it is deployed, from the manifests alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from modelbuild.contract import FEW_ROWS, Manifest, TrainingSummary
from modelbuild.text import counted, listed, named

FEW_EVALUATION_ROWS = 100

LEFT_OUT = 0.05
"""The share of the snapshot's rows that may be left out without a warning."""
SHIFT = 0.05
"""By how much the share of a label may change without a warning, or by three standard errors, if larger."""
FEWER_ROWS = 0.2

_MORE_EPOCHS = "more epochs may make a better model"


def find(manifest: Manifest, live: Manifest | None = None) -> tuple[str, ...]:
    """The warnings about a model, the most important first, each a sentence without a period at its end.

    Args:
        manifest: of the model.
        live: the manifest of the model that the endpoint serves.
    """
    training = manifest.training
    found = [*_duplicates(manifest, training)] if training else []
    found += _evaluation_rows(manifest)
    if training:
        found += _lost_rows(manifest, training)
        found += _convergence(training)
        if live is not None and live.training:
            found += _changed_rows(training, live.training)
            found += _label_shift(training.labels, live.training.labels)
    return tuple(found)


def _duplicates(manifest: Manifest, training: TrainingSummary) -> Iterator[str]:
    rows = manifest.evaluation.overall.rows
    if exact := training.exact_duplicates:
        yield (
            f"{_of(exact, rows)} evaluation rows {_have(exact)} an input that the model was trained on: on "
            "new inputs it may be worse than the metrics say"
        )
    if near := training.near_duplicates:
        more = "more " if training.exact_duplicates else ""
        what = f"{more}evaluation rows {_have(near)}"
        yield f"{_of(near, rows)} {what} a text that is almost one of the training's"


def _evaluation_rows(manifest: Manifest) -> Iterator[str]:
    evaluation = manifest.evaluation
    if (rows := evaluation.overall.rows) < FEW_EVALUATION_ROWS:
        are = "is" if rows == 1 else "are"
        yield f"there {are} only {counted(rows, 'evaluation row')}: the metrics say little about new inputs"
    for column, values in evaluation.slices.items():
        few = sorted((quality.rows, name) for name, quality in values.items() if quality.rows < FEW_ROWS)
        if few:
            shown = listed([f"{named(name)} ({rows:,})" for rows, name in few])
            yield f"{column} with fewer than {FEW_ROWS} evaluation rows, too few to compare: {shown}"


def _lost_rows(manifest: Manifest, training: TrainingSummary) -> Iterator[str]:
    lost, rows = sum(training.dropped.values()), manifest.data.rows
    if lost > LEFT_OUT * rows:
        largest = sorted(training.dropped.items(), key=lambda one: -one[1])
        reasons = listed([f"{count:,} {reason}" for reason, count in largest])
        yield f"{_of(lost, rows)} rows of the snapshot were neither trained on nor evaluated: {reasons}"


def _convergence(training: TrainingSummary) -> Iterator[str]:
    for name in training.improving:
        if name == "loss":
            values = _last_values(training, name, falling=True)
            yield f"the loss was still falling when the training ended{values}: {_MORE_EPOCHS}"
        else:
            values = _last_values(training, name)
            yield f"{name} was still getting better at its last measurement{values}: {_MORE_EPOCHS}"
    if training.converged is False and not training.improving:
        values = _last_values(training, "loss")
        yield f"the loss had not settled when the training ended{values}: the learning rate may be too high"


def _last_values(training: TrainingSummary, name: str, *, falling: bool = False) -> str:
    """The last two values of a curve as text; empty if they look equal, or if the curve is said to be falling
    and the last one is the higher one.
    """
    found = [point.values[name] for point in training.curve if name in point.values]
    shown = [f"{value:.3g}" for value in found[-2:]]
    if len(set(shown)) < 2 or (falling and found[-1] > found[-2]):
        return ""
    return f" ({shown[0]}, then {shown[1]})"


def _changed_rows(training: TrainingSummary, live: TrainingSummary) -> Iterator[str]:
    if training.rows < (1 - FEWER_ROWS) * live.rows:
        yield f"the model was trained on {training.rows:,} rows, and the live model on {live.rows:,}"


def _label_shift(labels: Mapping[str, int], live: Mapping[str, int]) -> Iterator[str]:
    total, total_live = sum(labels.values()), sum(live.values())
    if not total or not total_live:
        return
    if new := sorted(labels.keys() - live.keys()):
        yield f"labels that the live model does not know: {listed([*map(named, new)])}"
    if gone := sorted(live.keys() - labels.keys()):
        yield f"labels that only the live model knows: {listed([*map(named, gone)])}"
    for label in sorted(labels.keys() & live.keys()):
        now, before = labels[label] / total, live[label] / total_live
        pooled = (labels[label] + live[label]) / (total + total_live)
        error = math.sqrt(pooled * (1 - pooled) * (1 / total + 1 / total_live))
        if abs(now - before) > max(SHIFT, 3 * error):
            yield (
                f"{now:.1%} of the training rows have label {named(label)}, of the live model's {before:.1%}"
            )


def _have(rows: int) -> str:
    return "has" if rows == 1 else "have"


def _of(part: int, whole: int) -> str:
    share = f" ({part / whole:.1%})" if whole else ""
    return f"{part:,} of {whole:,}{share}"
