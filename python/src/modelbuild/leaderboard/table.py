"""The leaderboard as text for a terminal."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator, Sequence

from modelbuild.leaderboard import words
from modelbuild.leaderboard.ranking import differing, differs_in_data, parameter
from modelbuild.leaderboard.records import Board, Entry, Table
from modelbuild.text import one_line

COLUMNS = 100
"""How wide a line is, if no word is wider."""

_GAP = 2
_LEAST = 8
"""No column is made narrower than this."""


def render(board: Board) -> str:
    """The tables, one below the other."""
    if not board.tables:
        return "\n".join([words.nothing(board), *map(one_line, board.notes)])
    lines: list[str] = []
    for table in board.tables:
        lines += [*_table(table), ""]
    for sentence in words.footer(board):
        lines += textwrap.wrap(one_line(sentence), COLUMNS)
    return "\n".join(lines)


def _table(table: Table) -> Iterator[str]:
    yield from textwrap.wrap(one_line(words.title(table)), COLUMNS)
    yield from textwrap.wrap(one_line(words.description(table)), COLUMNS)
    rows = [["", "model", table.rows.metric.title, "branch", "commit", "by", "date"]]
    rows += [_cells(table, entry) for entry in table.entries]
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = _widths(rows)
    indent = " " * (widths[0] + _GAP)
    names, data = differing(table.entries), differs_in_data(table.entries)
    yield _line(rows[0], widths)
    for entry, row in zip(table.entries, rows[1:], strict=True):
        yield _line(row, widths)
        for paragraph in _details(entry, names, data=data):
            yield from textwrap.wrap(
                one_line(paragraph),
                COLUMNS,
                initial_indent=indent,
                subsequent_indent=indent,
                break_on_hyphens=False,
                break_long_words=False,
            )


def _cells(table: Table, entry: Entry) -> list[str]:
    return [
        str(entry.rank),
        entry.name,
        words.value(table, entry),
        entry.branch,
        entry.commit[: words.COMMIT_CHARACTERS],
        entry.creator,
        entry.created_at[:10],
    ]


def _details(entry: Entry, names: Sequence[str], *, data: bool) -> Iterator[str]:
    """What stands below the line of an entry: what differs, whether it was deployed, and its run."""
    parts = [f"{name}={parameter(entry, name)}" for name in names if name in entry.parameters]
    if data and entry.data_sha256:
        parts.append(f"data={entry.data_sha256[: words.HASH_CHARACTERS]}")
    if entry.kind == "experiment":
        parts.append("(experiment)")
    if entry.deployed_at:
        parts.append(f"(deployed {entry.deployed_at[:10]})")
    if parts:
        yield " ".join(parts)
    if entry.wandb_url:
        yield entry.wandb_url


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """The width of each column: as its widest cell, or less for names where the line would be too long."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    names = [1, 3, 5]
    while sum(widths) + _GAP * (len(widths) - 1) > COLUMNS:
        widest = max(names, key=lambda column: widths[column])
        if widths[widest] <= _LEAST:
            break
        widths[widest] -= 1
    return widths


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (_fit(cell, width) for cell, width in zip(row, widths, strict=True))
    return (" " * _GAP).join(cells).rstrip()


def _fit(text: str, width: int) -> str:
    """``text`` with spaces after it, or cut, so that it takes this width."""
    if _width(text) > width:
        while _width(text) >= width:
            text = text[:-1]
        text += "…"
    return text + " " * (width - _width(text))


def _width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )
