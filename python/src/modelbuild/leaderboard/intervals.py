"""Computes intervals where there is something to compute with."""

from __future__ import annotations

from importlib.util import find_spec

from modelbuild.leaderboard.reading import Measure


def measure() -> Measure | None:
    """What computes intervals; None where numpy and pyarrow are not installed, as for most commands."""
    if find_spec("numpy") is None or find_spec("pyarrow") is None:
        return None
    from modelbuild.comparison.quality import interval

    return interval
