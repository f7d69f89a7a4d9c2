"""The comparison with the live model in words."""

from __future__ import annotations

from collections.abc import Sequence

from modelbuild.contract import Evaluation, figure
from modelbuild.contract.report import Comparison, GateResult, Outcome, Style, Verdict
from modelbuild.report.deltas import delta
from modelbuild.settings.notify import Styles
from modelbuild.text import listed, named


def decide(
    evaluation: Evaluation,
    live: Comparison | None,
    baselines: Sequence[Comparison],
    gates: Sequence[GateResult],
    styles: Styles,
    endpoint: str,
) -> Verdict:
    """The verdict on a model.

    Args:
        evaluation: of the model.
        live: the comparison with the live model; None if no model is live.
        baselines: the comparisons with baselines.
        gates: the results of the gates; one that is not met makes the page red.
        styles: the style of each outcome.
        endpoint: the endpoint whose live model is compared; empty if the step names none.
    """
    title = evaluation.metric(evaluation.primary).title
    outcome: Outcome | None = None if live is None else live.outcome
    style = _style(outcome, styles)
    details = [*_unscored(live), *_worse_slices(live), *_better_baselines(baselines, title)]
    failed = list(dict.fromkeys(gate.title for gate in gates if not gate.passed))
    if failed:
        details.insert(0, f"Not met: the gate for {listed(failed)}.")
        style = "error"
    elif style == "success" and any(one.outcome == "worse" for one in baselines):
        style = "warning"
    return Verdict(
        outcome=outcome or "first",
        sentence=_sentence(live, evaluation, title, endpoint),
        details=tuple(details),
        style=style,
    )


def _sentence(live: Comparison | None, evaluation: Evaluation, title: str, endpoint: str) -> str:
    if live is None:
        own = f"{title} {figure(evaluation.overall.metrics[evaluation.primary])}"
        if endpoint:
            return f"Nothing to compare with: endpoint {endpoint} serves no model yet. This one has {own}."
        return (
            f"Not compared with a live model, as option compare-with names no endpoint. This one has {own}."
        )
    if live.outcome == "not comparable":
        return f"Not comparable with the live model {live.name}: {live.reason}."
    difference = live.metrics[live.primary]
    rows = f", {live.reason}" if live.reason else ""
    shown = delta(difference)
    interval = f" (95 % interval {shown.interval})" if shown.interval else ""
    figures = (
        f"{title} {figure(difference.value)} against {figure(difference.other)}, "
        f"gain {shown.gain}{interval}{rows}."
    )
    if live.outcome == "no difference":
        return f"No difference from the live model {live.name} that these rows can show: {figures}"
    if live.outcome == "not known":
        return f"Not known whether better or worse than the live model {live.name}: {figures}"
    return f"{live.outcome.capitalize()} than the live model {live.name}: {figures}"


def _unscored(live: Comparison | None) -> list[str]:
    """Why the live model was not compared on all rows, where its server was asked."""
    if live is None or not live.unscored:
        return []
    return [f"The live model could not be scored on all rows: {live.unscored}."]


def _worse_slices(live: Comparison | None) -> list[str]:
    """A sentence for each slicing column with values on which the model is worse than the live one."""
    if live is None:
        return []
    sentences = []
    for column, values in live.slices.items():
        worse = sorted(
            (value for value, difference in values.items() if difference.outcome == "worse"),
            key=lambda value: values[value].gain,
        )
        if worse:
            sentences.append(f"Worse than live on {column} {listed([*map(named, worse)])}.")
    return sentences


def _better_baselines(baselines: Sequence[Comparison], title: str) -> list[str]:
    """Sentences about baselines that are better than the model, on all rows or on some slices."""
    sentences = []
    for baseline in baselines:
        gain = baseline.metrics[baseline.primary].gain if baseline.primary in baseline.metrics else 0.0
        if baseline.outcome == "worse":
            sentences.append(f"Baseline {baseline.name} is better by {figure(-gain)} {title}.")
            continue
        if baseline.outcome == "not known" and gain < 0:
            sentences.append(
                f"Baseline {baseline.name} has {title} that is better by {figure(-gain)}, which may be "
                f"chance: {baseline.reason}."
            )
            continue
        won = [
            f"{column} {named(value)}"
            for column, values in baseline.slices.items()
            for value, difference in values.items()
            if difference.outcome == "worse"
        ]
        if won:
            sentences.append(f"Baseline {baseline.name} is better on {listed(won)}.")
    return sentences


def _style(outcome: Outcome | None, styles: Styles) -> Style:
    by_outcome: dict[Outcome | None, Style] = {
        None: styles.first,
        "better": styles.better,
        "no difference": styles.no_difference,
        "worse": styles.worse,
        "not known": styles.not_comparable,
        "not comparable": styles.not_comparable,
    }
    return by_outcome[outcome]
