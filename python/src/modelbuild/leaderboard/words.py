"""The sentences that the table on a terminal and the page have in common."""

from __future__ import annotations

from collections.abc import Iterator

from modelbuild.contract import figure
from modelbuild.leaderboard.records import Board, Entry, Table
from modelbuild.text import counted

COMMIT_CHARACTERS = 7
HASH_CHARACTERS = 12


def title(table: Table) -> str:
    """The heading of a table: "macro-F1 on 2,345 test rows"."""
    rows = table.rows
    count = f"{rows.rows:,} " if rows.rows is not None else ""
    return f"{rows.metric.title} on {count}{rows.kind} rows {rows.sha256[:HASH_CHARACTERS]}"


def description(table: Table) -> str:
    """What the rows are, in a sentence, with how many entries there are."""
    if table.rows.kind == "validation":
        rows = "Rows that sweeps held out of the training rows to rank their candidates"
    else:
        rows = f"Rows held out of the training{f' ({said})' if (said := table.rows.rows_are) else ''}"
    better = "larger" if table.rows.metric.better == "higher" else "smaller"
    shown = len(table.entries)
    most = f" The best {shown:,} of {table.count:,} are shown." if shown < table.count else ""
    return f"{rows}. A {better} value is better.{most}"


def value(table: Table, entry: Entry) -> str:
    """The primary metric with its interval: "0.652 (0.640 … 0.664)"."""
    interval = entry.interval
    interval_text = f" ({figure(interval.low)} … {figure(interval.high)})" if interval else ""
    return f"{figure(table.value(entry))}{interval_text}"


def footer(board: Board) -> Iterator[str]:
    """How much was read, and what is not shown."""
    models, sweeps = counted(board.models, "model"), counted(board.sweeps, "sweep")
    read = f"{models}, {sweeps} and {counted(board.experiments, 'experimental run')}"
    yield f"Read: {read}. Values of different tables cannot be compared."
    yield from board.notes


def nothing(board: Board) -> str:
    """The sentence for a pipeline without a model."""
    return (
        f"no model that was evaluated lies in {board.artifacts}: train one, or correct PIPELINE, --model, "
        "--artifacts or the credentials' account"
    )
