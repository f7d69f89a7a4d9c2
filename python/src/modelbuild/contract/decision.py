"""The record of a person's decision on a model."""

from __future__ import annotations

from typing import Literal

from modelbuild.contract.deployment import Approver
from modelbuild.contract.record import ModelId, ModelName, Record, Sha256, Text


class Decision(Record):
    """What a person decided on the build page: ``decision.json``, written once, beside the manifest."""

    version: Literal[1] = 1
    model: ModelName
    model_id: ModelId
    manifest_sha256: Sha256
    decision: Literal["deploy", "reject"]
    reason: Text
    """The approver's own words; empty if the block step did not ask, or the approver gave none."""
    failed_gates: Text = ""
    """The gates that the model did not meet, unless option ``on-failure`` of notify is ``warn``."""
    approver: Approver
    decided_at: str
