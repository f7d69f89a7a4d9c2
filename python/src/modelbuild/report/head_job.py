"""The Batch job of a training, as the build's meta-data has it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HeadJob:
    """The Batch job that ran the flow, from the train step's record; unknown fields are empty."""

    id: str
    url: str
    logs_url: str
    artifacts: str

    @property
    def model(self) -> str:
        """The name of the model, from the prefix that the train step recorded."""
        return f"//{self.artifacts}".rsplit("/", 2)[1]
