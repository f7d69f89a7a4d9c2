"""The candidates of a sweep: the best ones, what speaks for another one, and why others have no rank."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from modelbuild.contract import (
    CandidateTiming,
    Leaderboard,
    LeaderboardRow,
    Report,
    figure,
    figure_with_interval,
)
from modelbuild.report.headline import brief
from modelbuild.text import counted

SHOWN = 20
"""How many of the best candidates a page shows."""

_REASONS = 3
_WORTHWHILE = 0.9
"""A candidate is recommended if its size or cost is below this part of the best one's."""
_BAR = 20

_ENDED: Mapping[str, str] = {
    "failed": "failed",
    "unfit": "do not meet a constraint",
    "stopped": "stopped early",
}
_ONE_ENDED: Mapping[str, str] = {**_ENDED, "unfit": "does not meet a constraint"}

_AGAINST_BEST: Mapping[bool | None, str] = {True: "within noise", False: "worse", None: "not known"}

_DOTTED = re.compile(r"[\w-]+(\.[\w-]+)+")


@dataclass(frozen=True)
class CandidateRow:
    """A candidate with a rank.

    Attributes:
        row: the candidate on the leaderboard.
        values: of the parameters of the table, as text; empty for one that was not tried.
        metric: the objective on the validation rows, with its interval.
        against_best: ``best``, ``within noise``, ``worse`` or ``not known``.
        size: of the model in bytes; empty if it is not known.
        seconds: how long the training took; empty if it is not known.
        cost: of the training; empty if it is not known.
        gates: the gates that it does not meet.
    """

    row: LeaderboardRow
    values: Sequence[str]
    metric: str
    against_best: str
    size: str
    seconds: str
    cost: str
    gates: str


@dataclass(frozen=True)
class Unranked:
    """Candidates without a rank that ended in the same way.

    Attributes:
        ended: how, in words.
        count: how many.
        reason: the reason of all of them.
    """

    ended: str
    count: int
    reason: str


@dataclass(frozen=True)
class ImportanceBar:
    """Which part of the differences of the metric a parameter explains."""

    parameter: str
    bar: str
    percent: str


@dataclass(frozen=True)
class CandidatesTable:
    """What a page says about the candidates of a sweep.

    Attributes:
        selection: how the best candidate does on the test rows, in sentences.
        advice: sentences about candidates within noise of the best that are smaller or cheaper.
        counts: how many candidates there are, how they ended, and what they cost.
        parameters: the headings of the parameters that are columns.
        hidden: how many more parameters vary.
        rows: the best candidates.
        unranked: the other ones.
        importance: of the parameters, the largest first.
        offered: how many can be deployed.
    """

    selection: Sequence[str]
    advice: Sequence[str]
    counts: str
    parameters: Sequence[str]
    hidden: int
    rows: Sequence[CandidateRow]
    unranked: Sequence[Unranked]
    importance: Sequence[ImportanceBar]
    offered: int


def candidates_table(report: Report, columns: int) -> CandidatesTable | None:
    """What a page says about the candidates; None for a model that is of no sweep.

    Args:
        report: the report.
        columns: how many parameters are columns.
    """
    board = report.leaderboard
    if board is None:
        return None
    timings = {one.model_id: one for one in board.timings}
    names = varying(board)
    gates = report.candidate_gates.failed if report.candidate_gates else {}
    return CandidatesTable(
        selection=[*_selection(board)],
        advice=[*_advice(board, timings)],
        counts=f"{counts(board)}.{_spent(board)}",
        parameters=headings(names)[:columns],
        hidden=len(names[columns:]),
        rows=[
            _row(row, names[:columns], timings.get(row.model_id), gates.get(row.model_id, ""))
            for row in board.ranked[:SHOWN]
        ],
        unranked=unranked(board),
        importance=[*_importance(board)],
        offered=len(board.offered),
    )


def headings(names: Sequence[str]) -> list[str]:
    """The last part of each name, or the whole name where others have the same last part."""
    last = [name.rsplit(".", 1)[-1] if _DOTTED.fullmatch(name) else name for name in names]
    return [short if last.count(short) == 1 else name for name, short in zip(names, last, strict=True)]


def varying(board: Leaderboard) -> list[str]:
    """The parameters that differ between candidates, the most important first."""
    names = sorted({name for row in board.rows for name in row.values})
    values = {name: {json.dumps(row.values.get(name)) for row in board.rows} for name in names}
    found = [name for name in names if len(values[name]) > 1]
    return sorted(found, key=lambda name: -board.importance.get(name, 0.0))


def unranked(board: Leaderboard) -> list[Unranked]:
    """The candidates without a rank, by how they ended and by their most frequent reasons."""
    found = []
    for status, ended in _ENDED.items():
        reasons = Counter(row.reason for row in board.rows if row.status == status)
        common = reasons.most_common(_REASONS)
        found += [Unranked(ended, count, reason or "no reason was given") for reason, count in common]
        if more := reasons.total() - sum(count for _, count in common):
            found.append(Unranked(ended, more, "other reasons"))
    return found


def counts(board: Leaderboard) -> str:
    """How many candidates there are, and how they ended: ``40 candidates: 37 have a rank, 3 failed``."""
    ended = Counter[str](row.status for row in board.rows)
    ranked = len(board.ranked)
    parts = [f"{ranked:,} {'has' if ranked == 1 else 'have'} a rank"]
    for status, count in ((status, ended[status]) for status in _ENDED):
        if count:
            parts.append(f"{count:,} {(_ONE_ENDED if count == 1 else _ENDED)[status]}")
    return f"{counted(len(board.rows), 'candidate')}: {', '.join(parts)}"


def _spent(board: Leaderboard) -> str:
    """How long all candidates were trained, and what that cost; empty if it is not known."""
    if not board.timings:
        return ""
    costs = [one.cost for one in board.timings if one.cost is not None]
    at_least = "" if len(costs) == len(board.timings) else "at least "
    price = f" and cost {at_least}{_amount(f'{sum(costs):,.2f}', board)}" if costs else ""
    return f" Their trainings took {sum(one.seconds for one in board.timings):,.0f} s{price}."


def _selection(board: Leaderboard) -> Iterator[str]:
    chosen = board.selection
    if chosen is None:
        return
    count = f"{len(board.ranked):,}"
    on_test_rows = figure_with_interval(chosen.metric, chosen.low, chosen.high)
    yield (
        f"Candidate {chosen.model_id} is the best of {count} with a rank by {board.metric_title} on the "
        f"validation rows: {figure(chosen.validation_metric)} there, and {on_test_rows} on the test rows, "
        "which had no part in the choice."
    )
    difference = chosen.validation_metric - chosen.metric
    optimism = difference if board.higher_is_better else -difference
    if optimism > 0:
        chance = "" if count == "1" else f"the best of {count} is the best by chance as well, and "
        yield f"On the test rows it is worse by {figure(optimism)}: {chance}these are other rows."
    others = chosen.within_noise
    if others:
        subject = "1 other candidate is" if others == 1 else f"{others:,} other candidates are"
        yield f"{subject} within noise of it: the validation rows cannot tell them apart."
    not_compared = sum(row.within_noise is None for row in board.ranked)
    if not_compared:
        verb = "was" if not_compared == 1 else "were"
        yield (
            f"{counted(not_compared, 'candidate')} {verb} not compared with it row by row: whether the "
            "validation rows can tell them apart is not known."
        )
    elif not others:
        yield "No other candidate is within noise of it."


def _advice(board: Leaderboard, timings: Mapping[str, CandidateTiming]) -> Iterator[str]:
    """Which offered candidates within noise of the best are smaller than it, or were cheaper to train."""
    if not board.offered:
        return
    best, *others = board.offered
    alike = [row for row in others if row.within_noise]
    costs = {row.model_id: _price(timings.get(row.model_id)) for row in board.offered}
    small = _least([(row, row.model_bytes) for row in alike], best.model_bytes)
    cheap = _least([(row, costs[row.model_id]) for row in alike], costs[best.model_id])
    if small is not None:
        yield (
            f"Consider rank {small.rank}, candidate {small.model_id}: it is within noise of the best, and "
            f"its model is the smallest of those that are ({small.model_bytes:,} bytes; the best has "
            f"{best.model_bytes:,})."
        )
    if cheap is not None:
        price = f"{_amount(f'{costs[cheap.model_id]:.4f}', board)}; the best cost {costs[best.model_id]:.4f}"
        if cheap is small:
            yield f"It was the cheapest of those to train, too ({price})."
        else:
            too = " as well" if small else ""
            yield (
                f"Rank {cheap.rank}, candidate {cheap.model_id}, is within noise of the best{too}, and "
                f"was the cheapest of those to train ({price})."
            )


def _least(found: Sequence[tuple[LeaderboardRow, float | None]], best: float | None) -> LeaderboardRow | None:
    """The candidate with the smallest value; None if that is not small enough beside the best one's."""
    known = [(value, place) for place, (_, value) in enumerate(found) if value is not None]
    if not known or best is None or min(known)[0] >= _WORTHWHILE * best:
        return None
    return found[min(known)[1]][0]


def _amount(number: str, board: Leaderboard) -> str:
    """An amount of money with the currency, which a leaderboard of an earlier version does not have."""
    return f"{number} {board.currency}" if board.currency else number


def _price(timing: CandidateTiming | None) -> float | None:
    return timing.cost if timing else None


def _row(
    row: LeaderboardRow, names: Sequence[str], timing: CandidateTiming | None, gates: str
) -> CandidateRow:
    cost = _price(timing)
    return CandidateRow(
        row=row,
        values=[brief(row.values[name]) if name in row.values else "" for name in names],
        metric="" if row.metric is None else figure_with_interval(row.metric, row.low, row.high),
        against_best="best" if row.rank == 1 else _AGAINST_BEST[row.within_noise],
        size="" if row.model_bytes is None else f"{row.model_bytes:,}",
        seconds=f"{timing.seconds:,.1f}" if timing else "",
        cost="" if cost is None else f"{cost:.4f}",
        gates=gates,
    )


def _importance(board: Leaderboard) -> Iterator[ImportanceBar]:
    for name, share in sorted(board.importance.items(), key=lambda one: (-one[1], one[0])):
        eighths = round(min(max(share, 0.0), 1.0) * _BAR * 8)
        bar = "█" * (eighths // 8) + ("", *"▏▎▍▌▋▊▉")[eighths % 8]
        yield ImportanceBar(name, bar, f"{share:.0%}")
