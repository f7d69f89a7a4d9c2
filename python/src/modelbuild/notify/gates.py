"""Checks the rules of option ``gates``."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from modelbuild.comparison.differences import VALUES
from modelbuild.contract import FEW_ROWS, Evaluation, Manifest, figure
from modelbuild.contract.report import Comparison, Difference, GateResult
from modelbuild.settings.notify import LATENCY, SIZE, Gate

_TITLES = {SIZE: "size of the model", LATENCY: "time of one prediction"}


def check(gates: Sequence[Gate], manifest: Manifest, live: Comparison | None) -> tuple[GateResult, ...]:
    """The result of each rule; a rule with several limits gives several results.

    Args:
        gates: the rules.
        manifest: the model.
        live: the comparison with the live model; None if no model is live.
    """
    return tuple(result for gate in gates for result in _check(gate, manifest, live))


def _check(gate: Gate, manifest: Manifest, live: Comparison | None) -> list[GateResult]:
    title = _title(gate, manifest.evaluation)
    value = _value(gate, manifest)
    found = []
    if gate.minimum is not None:
        passed = value is not None and (value >= gate.minimum or _is_same(value, gate.minimum))
        limit, shown = _shown(gate, gate.minimum, value)
        found.append(GateResult(title=title, threshold=f"at least {limit}", value=shown, passed=passed))
    if gate.maximum is not None:
        passed = value is not None and (value <= gate.maximum or _is_same(value, gate.maximum))
        limit, shown = _shown(gate, gate.maximum, value)
        found.append(GateResult(title=title, threshold=f"at most {limit}", value=shown, passed=passed))
    if gate.maximum_drop is not None:
        found.append(_check_drop(gate, title, gate.maximum_drop, live, manifest.evaluation))
    return found


def _is_same(value: float, limit: float, scale: float = 0.0) -> bool:
    """Whether a value differs from a limit by no more than rounding; ``scale`` is the size of the numbers
    whose difference the value is.
    """
    return math.isclose(value, limit, rel_tol=1e-9, abs_tol=1e-12 * scale)


def _check_drop(
    gate: Gate, title: str, limit: float, live: Comparison | None, evaluation: Evaluation
) -> GateResult:
    """The result of a rule by which the model may be worse than the live one by at most ``limit``."""
    threshold = f"at most {figure(limit)} worse than live"
    if live is None:
        return GateResult(title=title, threshold=threshold, value="no model is live", passed=True)
    difference = _difference(gate, live)
    if difference is None:
        reason = _why_lacking(gate, live, evaluation)
        return GateResult(title=title, threshold=threshold, value=f"not comparable: {reason}", passed=False)
    if few := _few_rows(gate, live, evaluation, difference):
        return GateResult(title=title, threshold=threshold, value=f"not comparable: {few}", passed=False)
    drop, scale = -difference.gain, max(abs(difference.value), abs(difference.other))
    if drop <= 0:
        value = f"{figure(-drop)} better" if drop < 0 else "equal"
        return GateResult(title=title, threshold=threshold, value=value, passed=True)
    passed = drop < limit or _is_same(drop, limit, scale)
    shown_limit, shown = _shown(gate, limit, drop)
    threshold = f"at most {shown_limit} worse than live"
    return GateResult(title=title, threshold=threshold, value=f"{shown} worse", passed=passed)


def _why_lacking(gate: Gate, live: Comparison, evaluation: Evaluation) -> str:
    """Why a comparison has no difference by the metric of a gate."""
    if not live.metrics:
        return live.reason
    if evaluation.value(gate.metric, gate.slice) is None:
        return "the evaluation lacks it"
    column = (gate.slice or "").partition("=")[0]
    if len(live.slices_by_metric.get(column, {}).get(gate.metric, {})) >= VALUES:
        return f"only the {VALUES} values of {column} with the most rows are compared"
    return "the live model has no figure of it for these rows"


def _few_rows(gate: Gate, live: Comparison, evaluation: Evaluation, difference: Difference) -> str:
    """Why both models share too few of the evaluation rows; empty if they share enough."""
    rows = evaluation.overall.rows
    if live.rows < min(rows, FEW_ROWS):
        return f"only {live.rows:,} of {rows:,} rows are those of both models"
    if gate.slice is None or live.rows == rows:
        return ""
    column, _, value = gate.slice.partition("=")
    quality = evaluation.slices.get(column, {}).get(value)
    # A difference on shared rows lacks an interval only where there are few of these rows.
    if quality is not None and quality.rows >= FEW_ROWS and difference.interval is None:
        return f"fewer than {FEW_ROWS} of its {quality.rows:,} rows are those of both models"
    return ""


def _difference(gate: Gate, live: Comparison) -> Difference | None:
    if gate.slice is None:
        return live.metrics.get(gate.metric)
    column, _, value = gate.slice.partition("=")
    return live.slices_by_metric.get(column, {}).get(gate.metric, {}).get(value)


def _value(gate: Gate, manifest: Manifest) -> float | None:
    if gate.metric == SIZE:
        return float(manifest.artifact.bytes)
    if gate.metric == LATENCY:
        seconds = [golden.seconds for golden in manifest.golden if golden.seconds is not None]
        return statistics.median(seconds) if seconds else None
    return manifest.evaluation.value(gate.metric, gate.slice)


def _title(gate: Gate, evaluation: Evaluation) -> str:
    if gate.metric in _TITLES:
        return _TITLES[gate.metric]
    titles = {metric.name: metric.title for metric in evaluation.metrics}
    title = titles.get(gate.metric, gate.metric)
    return f"{title} of {gate.slice.replace('=', ' ', 1)}" if gate.slice else title


def _shown(gate: Gate, limit: float, value: float | None) -> tuple[str, str]:
    """A limit and the value that was found as text, with as many digits as tell them apart."""
    if value is None:
        return _text(gate, limit), "the evaluation lacks it"
    texts = _text(gate, limit), _text(gate, value)
    if texts[0] != texts[1] or _is_same(value, limit):
        return texts
    factor, unit = {SIZE: (1, " bytes"), LATENCY: (1000, " ms")}.get(gate.metric, (1, ""))
    for digits in range(4, 17):
        texts = f"{factor * limit:,.{digits}g}{unit}", f"{factor * value:,.{digits}g}{unit}"
        if texts[0] != texts[1]:
            break
    return texts


def _text(gate: Gate, value: float) -> str:
    if gate.metric == SIZE:
        return f"{value:,.0f} bytes"
    return f"{value * 1000:,.2f} ms" if gate.metric == LATENCY else figure(value)
