"""Ranks the entries on each evaluation set, and finds what differs between them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from pydantic import JsonValue

from modelbuild.leaderboard.records import Entry, EvaluationRows, Table


def tables(found: Iterable[tuple[EvaluationRows, Entry]], limit: int) -> list[Table]:
    """A table for each set of rows, the newest one first.

    A set's metric is that of its newest entry; an entry without a value of this metric is in no table.
    """
    by_rows: dict[str, list[tuple[EvaluationRows, Entry]]] = {}
    for rows, entry in found:
        by_rows.setdefault(rows.sha256, []).append((rows, entry))
    newest_first = sorted(by_rows.values(), key=lambda pairs: max(map(_age, pairs)), reverse=True)
    return [_table(pairs, limit) for pairs in newest_first]


def _age(pair: tuple[EvaluationRows, Entry]) -> tuple[str, list[int]]:
    entry = pair[1]
    number = [int(part) for part in entry.model_id.split(".")] if entry.model_id else []
    return entry.created_at, number


def _table(pairs: Sequence[tuple[EvaluationRows, Entry]], limit: int) -> Table:
    rows = max(pairs, key=_age)[0]
    metric = rows.metric
    measured = [pair for pair in pairs if metric.name in pair[1].metrics]
    # Of two equal ones the older one is first: it was there before.
    measured.sort(key=_age)
    measured.sort(key=lambda pair: -metric.gain(pair[1].metrics[metric.name], 0.0))
    entries = [entry.model_copy(update={"rank": rank}) for rank, (_, entry) in enumerate(measured, 1)]
    return Table(rows=rows, entries=tuple(entries[:limit]), count=len(entries))


def differing(entries: Sequence[Entry]) -> list[str]:
    """The names of the parameters that are not the same in all entries, sorted."""
    names = sorted({name for entry in entries for name in entry.parameters})
    return [name for name in names if len({_text(entry, name) for entry in entries}) > 1]


def differs_in_data(entries: Sequence[Entry]) -> bool:
    """Whether the entries were made from different rows."""
    return len({entry.data_sha256 for entry in entries}) > 1


def parameter(entry: Entry, name: str) -> str:
    """The value of a parameter for people; empty for one that the entry lacks."""
    value: JsonValue = entry.parameters.get(name, "")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(entry: Entry, name: str) -> str:
    return json.dumps(entry.parameters[name], sort_keys=True) if name in entry.parameters else ""
