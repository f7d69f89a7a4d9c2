"""Publishes a report: to S3, to the artifacts and meta-data of the build, and as the annotation."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from modelbuild import log
from modelbuild.buildkite import agent
from modelbuild.buildkite.trainings import TrainingMetaData
from modelbuild.contract import PAGE_CONTEXT, TRAINING_ANNOTATION, Report
from modelbuild.errors import AwsError, BuildkiteError
from modelbuild.notify.template import paragraph, render_template
from modelbuild.report.annotation import render_annotation
from modelbuild.report.build import DOCUMENT_FILE, RECORD_FILE, HeadJob, artifact_path
from modelbuild.report.document import render_document
from modelbuild.report.pictures import draw_pictures
from modelbuild.settings.notify import NotifySettings
from modelbuild.store.model import ModelStore

_METRIC = "modelbuild/metric/"
_VERDICT = "modelbuild/verdict"


def publish_report(
    report: Report,
    head: HeadJob,
    store: ModelStore,
    meta_data: TrainingMetaData,
    settings: NotifySettings,
) -> None:
    """Publish a report.

    If S3 or the upload of artifacts fails, the log has a line about it, and the annotation is shown all the
    same.

    Args:
        report: the report.
        head: the Batch job of the training.
        store: the files of the model.
        meta_data: the build's meta-data and annotations about the training.
        settings: the options of the step.

    Raises:
        ConfigurationError: the user's own template cannot be rendered.
        BuildkiteError: the agent's command line failed.
    """
    pictures = draw_pictures(report)
    page = render_document(report, head, pictures).encode()
    record = report.to_json().encode()
    files = {**pictures, DOCUMENT_FILE: page, RECORD_FILE: record}
    with ThreadPoolExecutor() as threads:
        # All of them wait for other programs.
        uploading = threads.submit(_upload, report, files)
        writing = threads.submit(_write, store, record, page)
        setting = threads.submit(meta_data.set, _figures(report))
        body = _body(report, head, settings, list(files))
        if not uploading.result():
            body = _body(report, head, settings, [])
        writing.result()
        setting.result()
    show_page(body, report.verdict.style, meta_data, settings)


def show_page(body: str, style: agent.Style, meta_data: TrainingMetaData, settings: NotifySettings) -> None:
    """Put the page on the build, in the place of the annotation that the train step and the head wrote.

    With a context of its own, the step removes that annotation, and notes the context for the train step: a
    later attempt at the training removes the page of the last one.

    Raises:
        BuildkiteError: the agent could not write the page.
    """
    meta_data.annotate(body, context=settings.context, style=style)
    if settings.context != TRAINING_ANNOTATION:
        meta_data.remove_annotation(TRAINING_ANNOTATION)
        meta_data.set({PAGE_CONTEXT: settings.context})


def _body(report: Report, head: HeadJob, settings: NotifySettings, files: Collection[str]) -> str:
    """The annotation, with links to those files that are among the artifacts of the build."""
    if settings.template:
        body = render_template(Path(settings.template), report)
    else:
        body = render_annotation(report, head, files)
    return body + (paragraph(settings.extra_body) if settings.extra_body else "")


def _write(store: ModelStore, record: bytes, page: bytes) -> None:
    """Write the report beside the manifest."""
    try:
        store.write_report(record, page)
    except AwsError as error:
        log.warn(f"The report was not written beside the manifest: {error}")


def _upload(report: Report, files: Mapping[str, bytes]) -> bool:
    """Upload files as artifacts of the build; returns whether that worked."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder) / artifact_path(report, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        try:
            agent.upload_artifacts(Path(folder))
        except BuildkiteError as error:
            log.warn(f"The report's pictures are not among the artifacts: {error}")
            return False
    return True


def _figures(report: Report) -> dict[str, str]:
    """The metrics of all rows and the verdict, for conditions of a pipeline."""
    metrics = report.manifest.evaluation.overall.metrics
    figures = {f"{_METRIC}{name}": repr(value) for name, value in metrics.items()}
    return {_VERDICT: report.verdict.outcome, **figures}
