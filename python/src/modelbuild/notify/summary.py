"""The report on a model as lines of a log."""

from __future__ import annotations

from pathlib import Path

from modelbuild import log
from modelbuild.contract import REPORT_FILE, Report
from modelbuild.errors import ConfigurationError
from modelbuild.store import records
from modelbuild.store.model import ModelStore


def show(report: Report) -> None:
    """Print the verdict, what speaks against it, the gates, and where the model is."""
    manifest = report.manifest
    log.open_group(f":bar_chart: {report.verdict.sentence}")
    for detail in (*report.verdict.details, *report.unavailable):
        log.info(detail)
    for gate in report.gates:
        log.info(f"{'met' if gate.passed else 'NOT MET'}  {gate.title} {gate.threshold}: {gate.value}")
    log.info(manifest.evaluation.describe(manifest.evaluation.overall))
    log.info(f"W&B run   {manifest.wandb.url or manifest.wandb.id or 'none'}")
    log.info(f"Model     {manifest.artifact.path}")


def read_file(path: Path) -> Report:
    """The report in a file.

    Raises:
        ConfigurationError: the file cannot be read.
        InvalidRecord: it holds no report.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the report {path} cannot be read ({error.strerror}): give a file {REPORT_FILE}"
        ) from error
    return records.parse(content, str(path), Report)


def read_stored(store: ModelStore) -> Report:
    """The report beside the manifest of a model.

    Raises:
        ConfigurationError: there is none.
        InvalidRecord: it is no report.
        AwsError: S3 refused.
    """
    report = store.report()
    if report is None:
        raise ConfigurationError(
            f"{store.prefix} has no {REPORT_FILE}: give the prefix of one model, such as "
            "s3://BUCKET/models/PIPELINE/MODEL/12, whose build has run notify"
        )
    return report
