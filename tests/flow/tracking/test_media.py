"""The tables and charts of an evaluation in W&B."""

from __future__ import annotations

import importlib
import io
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modelbuild.flow.tracking import media

LABELS = [f"label {number:03}" for number in range(400)]


def test_mistakes_of_hundreds_of_labels_take_little_memory() -> None:
    """The table has the most confident wrong predictions, each with the score of the predicted label; other
    scores do not become objects of Python.
    """
    random, rows = np.random.default_rng(1), 1_000
    truth = random.integers(0, 400, rows)
    predicted = (truth + random.integers(0, 2, rows)) % 400
    scores = random.random((rows, 400))
    table = pa.table(
        {
            "id": [f"{row:04}" for row in range(rows)],
            "input": ['"a text"'] * rows,
            "truth": [LABELS[label] for label in truth],
            "prediction": [LABELS[label] for label in predicted],
            **{f"score:{label}": scores[:, number] for number, label in enumerate(LABELS)},
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    # What it takes to load the SDK is not measured.
    importlib.import_module("wandb")
    tracemalloc.start()
    try:
        found = media.charts(buffer.getvalue(), mistakes=True)["mistakes"].data
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    wrong = [row for row in range(rows) if truth[row] != predicted[row]]
    worst = sorted(wrong, key=lambda row: -scores[row, predicted[row]])[: media.MISTAKES]
    assert [row[0] for row in found] == [f"{row:04}" for row in worst]
    assert [row[4] for row in found] == [scores[row, predicted[row]] for row in worst]
    assert peak < 12_000_000
