"""A leaderboard as a table for programs that compute with it."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq

from modelbuild.contract import Leaderboard


def parquet(leaderboard: Leaderboard) -> bytes:
    """The leaderboard as a Parquet file: a row for each candidate, parameters as JSON text, no timings."""
    names = sorted({name for row in leaderboard.rows for name in row.values})
    metrics = sorted({name for row in leaderboard.rows for name in row.metrics})
    rows = leaderboard.rows
    columns: dict[str, pa.Array] = {
        "rank": pa.array([row.rank for row in rows], pa.int32()),
        "model_id": pa.array([row.model_id for row in rows], pa.string()),
        "status": pa.array([row.status for row in rows], pa.string()),
        "reason": pa.array([row.reason for row in rows], pa.string()),
        "metric": pa.array([row.metric for row in rows], pa.float64()),
        "low": pa.array([row.low for row in rows], pa.float64()),
        "high": pa.array([row.high for row in rows], pa.float64()),
        "within_noise": pa.array([row.within_noise for row in rows], pa.bool_()),
        "offered": pa.array([row.offered for row in rows], pa.bool_()),
        "model_bytes": pa.array([row.model_bytes for row in rows], pa.int64()),
    }
    for name in metrics:
        columns[f"metric:{name}"] = pa.array([row.metrics.get(name) for row in rows], pa.float64())
    for name in names:
        texts = [json.dumps(row.values[name]) if name in row.values else None for row in rows]
        columns[f"parameter:{name}"] = pa.array(texts, pa.string())
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()
