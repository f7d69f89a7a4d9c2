"""The names of a report's files among the artifacts of its build."""

from __future__ import annotations

from modelbuild.contract import Report

DOCUMENT_FILE = "report.html"
RECORD_FILE = "report.json"


def artifact_path(report: Report, name: str) -> str:
    """The path of a file of the report, which it shares with no other model of the build."""
    return f"report/{report.model}-{report.manifest.request.model_id}/{name}"
