"""The leaderboard as a page of its own, in the style of the report, with all it needs in one file."""

from __future__ import annotations

from importlib import resources

from markupsafe import Markup

from modelbuild.annotation import render
from modelbuild.contract import figure
from modelbuild.leaderboard import words
from modelbuild.leaderboard.ranking import differing, differs_in_data, parameter
from modelbuild.leaderboard.records import Board
from modelbuild.report.document import STYLES


def render_page(board: Board) -> str:
    """The page with all tables."""
    script = resources.files("modelbuild.leaderboard").joinpath("templates/sort.js").read_text("utf-8")
    return render(
        "modelbuild.leaderboard",
        "leaderboard.html.j2",
        board=board,
        tables=[(table, differing(table.entries), differs_in_data(table.entries)) for table in board.tables],
        styles=Markup(STYLES),
        script=Markup(script),
        words=words,
        figure=figure,
        parameter=parameter,
    )
