"""What notify offers a person to decide on, and the record of the decision."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modelbuild.contract.deployment import Approver
from modelbuild.contract.record import ModelId, ModelName, Record, Sha256, Text
from modelbuild.contract.sweep import OFFERED


class Decision(Record):
    """What a person decided on the build page: ``decisions/<endpoint>.json``, beside the manifest."""

    version: Literal[1] = 1
    model: ModelName
    model_id: ModelId
    manifest_sha256: Sha256
    endpoint: Text
    """The endpoint whose deployment was asked for."""
    decision: Literal["deploy", "reject"]
    reason: Text
    """The approver's own words; empty if the block step did not ask, or the approver gave none."""
    failed_gates: Text = ""
    """The gates that the model did not meet, unless option ``on-failure`` of notify is ``warn``;
    those of the newest notify, where notify was retried."""
    approver: Approver
    decided_at: str


class OfferedCandidate(Record):
    """A candidate that a page showed, with the hashes that deploy requires."""

    model_id: ModelId
    manifest_sha256: Sha256
    model_sha256: Sha256


class Offer(Record):
    """The candidates from which a person chooses one by its rank; the best, of rank 1, is the first."""

    candidates: tuple[OfferedCandidate, ...] = Field(min_length=1, max_length=OFFERED)


class CandidateGates(Record):
    """The gates that offered candidates did not meet."""

    required: bool
    """Whether no reason lets such a candidate be deployed."""
    failed: dict[ModelId, Text] = Field(default_factory=dict)
    """The gates that were not met, by the id of the candidate."""
