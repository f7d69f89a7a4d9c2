"""The build that a report belongs to: the job of its head, and the report's files among its artifacts."""

from __future__ import annotations

from dataclasses import dataclass

from modelbuild.contract import Report

DOCUMENT_FILE = "report.html"
RECORD_FILE = "report.json"


def artifact_path(report: Report, name: str) -> str:
    """The path of a file of the report, which it shares with no other model of the build."""
    return f"report/{report.model}-{report.manifest.request.model_id}/{name}"


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
