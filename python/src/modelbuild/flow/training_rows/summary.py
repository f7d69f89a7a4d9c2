"""The facts about a training that a person has to know before deploying its model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from modelbuild.contract import TrainingSummary
from modelbuild.text import storable

NO_REASON = "no reason given"
"""The reason for rows of the snapshot that a flow left out without a reason."""


def of_rows(
    inputs: Sequence[JsonValue],
    labels: Sequence[str],
    *,
    evaluation_inputs: Sequence[JsonValue],
    snapshot_rows: int,
    dropped: Mapping[str, int],
) -> TrainingSummary:
    """What a model was fitted on, beside the rows that it is evaluated on.

    Args:
        inputs: the model's input for each row of the training, as JSON.
        labels: the label of each row; empty for models that answer with something else.
        evaluation_inputs: the model's input for each evaluation row.
        snapshot_rows: how many rows the snapshot has.
        dropped: how many rows of the snapshot the flow left out of both, by reason; rows that are missing
            without one are added as :data:`NO_REASON`.
    """
    # Imported here, because each process of a flow imports this module, and one needs scipy.
    from modelbuild.flow.training_rows import duplicates

    found = duplicates.find(inputs, evaluation_inputs)
    counts = {storable(reason): int(rows) for reason, rows in dropped.items() if rows}
    missing = snapshot_rows - len(inputs) - len(evaluation_inputs) - sum(counts.values())
    return TrainingSummary(
        rows=len(inputs),
        labels=dict(sorted(Counter(storable(label) for label in labels).items())),
        dropped=counts | ({NO_REASON: missing} if missing > 0 else {}),
        exact_duplicates=found.exact,
        near_duplicates=found.near,
    )


def describe(kept: TrainingSummary) -> str:
    """What the log says of the rows."""
    left_out = "".join(f", {rows:,} left out ({reason})" for reason, rows in kept.dropped.items())
    lines = [f"{kept.rows:,} rows to train on{left_out}."]
    if kept.exact_duplicates or kept.near_duplicates:
        lines.append(
            f"Evaluation inputs that are also in the training rows: {kept.exact_duplicates:,} the same, "
            f"{kept.near_duplicates or 0:,} almost the same."
        )
    return "\n".join(lines)
