"""A leaderboard for programs."""

from __future__ import annotations

import io

import pyarrow.parquet as pq

from modelbuild.sweep import table
from sweep_outcomes import Trained


def test_the_table_has_a_row_for_each_candidate() -> None:
    """A program that computes with the leaderboard finds parameters and metrics in columns of their own."""
    trained = Trained()
    trained.add(0.9, rate=0.5)
    trained.fail("it diverged")
    found = pq.read_table(io.BytesIO(table.parquet(trained.rank()))).to_pylist()
    assert [row["model_id"] for row in found] == ["12.1", "12.2"]
    assert (found[0]["parameter:rate"], found[0]["metric:macro_f1"]) == ("0.5", found[0]["metric"])
    assert (found[1]["status"], found[1]["reason"], found[1]["metric"]) == ("failed", "it diverged", None)
