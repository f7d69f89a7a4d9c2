"""What notify tells deploy about the candidates of a sweep, as values of the build's meta-data."""

from __future__ import annotations

from pydantic import Field

from modelbuild.contract.record import ModelId, Record, Sha256, Text
from modelbuild.contract.sweep import OFFERED


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
