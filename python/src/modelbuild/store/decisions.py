"""What people decided on one model, by the endpoint that each decision is for."""

from __future__ import annotations

from dataclasses import dataclass

from modelbuild.contract import DECISIONS_FOLDER, Decision
from modelbuild.store import records
from modelbuild.store.objects import Objects


@dataclass(frozen=True)
class DecisionStore:
    """``<prefix>/decisions/<endpoint>.json``, for the prefix of a model.

    Every method raises ``AwsError`` when S3 refuses, and ``InvalidRecord`` for a file that holds no decision.
    """

    objects: Objects
    prefix: str

    def uri(self, endpoint: str) -> str:
        """The URI of the decision for an endpoint."""
        return f"{self.prefix}/{DECISIONS_FOLDER}/{endpoint}.json"

    def read(self, endpoint: str) -> Decision | None:
        """The decision for an endpoint, or None before that."""
        return records.find(self.objects, self.uri(endpoint), Decision)

    def all(self) -> tuple[Decision, ...]:
        """The decisions for all endpoints, in order of time."""
        found = self.objects.list(f"{self.prefix}/{DECISIONS_FOLDER}/")
        # The console of S3 leaves an object with the name of a folder that a person has made.
        decisions = (records.read(self.objects, uri, Decision) for uri, _ in found if uri.endswith(".json"))
        return tuple(sorted(decisions, key=lambda decision: decision.decided_at))

    def write_once(self, decision: Decision) -> Decision:
        """Write a decision once; returns the decision in S3: this one, or an earlier one."""
        if self.objects.write_once(self.uri(decision.endpoint), decision.to_json().encode()):
            return decision
        return self.read(decision.endpoint) or decision

    def write(self, decision: Decision) -> None:
        """Write a decision, and replace an earlier one for the same endpoint."""
        self.objects.write(self.uri(decision.endpoint), decision.to_json().encode())
