"""The annotation ``training``: the evaluation by which a person decides whether to deploy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from modelbuild import agent_yaml
from modelbuild.annotation import commit_url, render
from modelbuild.aws.console import object_url
from modelbuild.buildkite.job import JobEnvironment
from modelbuild.contract import Evaluation, Metric, Quality, TrainingResult, figure
from modelbuild.handoff import Handoff
from modelbuild.report.head_job import HeadJob as HeadJob

ROWS = 50
"""How many rows of a table the page shows; the worst come first, so the omitted rows are better."""

SLICES = 6
"""How many slicing columns get a table; the manifest has all."""


@dataclass(frozen=True)
class Compared:
    """A baseline, and how much better the model is: a gain is negative if the model is worse.

    Attributes:
        name: of the baseline.
        values: its metrics as text, by name.
        gains: the model's gain in each metric, as text.
        primary_gain: the gain in the primary metric.
    """

    name: str
    values: Mapping[str, str]
    gains: Mapping[str, str]
    primary_gain: float


@dataclass(frozen=True)
class SliceTable:
    """The quality on each slice of the evaluation rows by one column, the worst first."""

    column: str
    metrics: Sequence[Metric]
    rows: Sequence[tuple[str, Quality]]


def succeeded(trained: Handoff, head: HeadJob, job: JobEnvironment) -> str:
    """The annotation of a successful training."""
    manifest = trained.manifest
    # A flow can write to the manifest's prefix, so the facts about the build come from Buildkite.
    build = job.build(manifest.request.build.commit)
    return render(
        "modelbuild.notify",
        "succeeded.html.j2",
        result=trained.result,
        manifest=manifest,
        manifest_sha256=trained.manifest_sha256,
        build=build,
        job=head,
        verdict=verdict(manifest.evaluation),
        compared=compare(manifest.evaluation),
        metrics=manifest.evaluation.overall_metrics,
        slices=slice_tables(manifest.evaluation),
        figure=figure,
        shown_rows=ROWS,
        shown_slices=SLICES,
        parameters=agent_yaml.dump(manifest.request.parameters, allow_unicode=True).rstrip(),
        commit_url=commit_url(job.repository, build.commit),
        model_url=object_url(manifest.artifact.path),
        manifest_url=object_url(trained.result.manifest),
        predictions_url=object_url(manifest.predictions.path),
        root=manifest.request.artifacts.rsplit("/", 2)[0],
    )


def failed(result: TrainingResult, head: HeadJob, job: JobEnvironment) -> str:
    """The annotation of a training without a model."""
    ended = "was cancelled" if result.status == "cancelled" else "failed"
    return _nothing_to_deploy(ended, result.reason, head, job, result.wandb_run_url)


def refused(reason: str, head: HeadJob, job: JobEnvironment) -> str:
    """The annotation of a training whose handoff is not of this build."""
    return _nothing_to_deploy("handed over what is not of this build", reason, head, job)


def _nothing_to_deploy(
    ended: str, reason: str, head: HeadJob, job: JobEnvironment, wandb_run_url: str = ""
) -> str:
    return render(
        "modelbuild.notify",
        "failed.html.j2",
        ended=ended,
        reason=reason,
        wandb_run_url=wandb_run_url,
        job=head,
        number=job.number,
        pipeline=job.pipeline,
        build_url=job.build_url,
        commit=job.commit,
        commit_url=commit_url(job.repository, job.commit),
    )


def compare(evaluation: Evaluation) -> list[Compared]:
    """Compare the model with each baseline on the same rows, the strongest baseline first."""
    own, primary = evaluation.overall.metrics, evaluation.metric(evaluation.primary)
    found = []
    for name, baseline in evaluation.baselines.items():
        gains = {
            metric.name: metric.gain(own[metric.name], baseline.metrics[metric.name])
            for metric in evaluation.metrics
            if metric.name in own.keys() & baseline.metrics.keys()
        }
        found.append(
            Compared(
                name,
                {key: figure(value) for key, value in baseline.metrics.items()},
                {key: f"{'-' if gain < 0 else '+'}{figure(abs(gain))}" for key, gain in gains.items()},
                gains[primary.name],
            )
        )
    return sorted(found, key=lambda item: (item.primary_gain, item.name))


def verdict(evaluation: Evaluation) -> str:
    """The comparison in one sentence."""
    compared, title = compare(evaluation), evaluation.metric(evaluation.primary).title
    if not compared:
        return "There is no baseline to compare with."
    lost = [item.name for item in compared if item.primary_gain <= 0]
    if lost:
        return f"Not better than {', '.join(lost)} by {title} on the same rows."
    return f"Better than {', '.join(item.name for item in compared)} by {title} on the same rows."


def slice_tables(evaluation: Evaluation) -> list[SliceTable]:
    """A table for each slicing column, sorted by its first metric, the worst slice first."""
    tables = []
    for column, values in evaluation.slices.items():
        metrics = evaluation.used_in(values)
        tables.append(SliceTable(column, metrics, sorted(values.items(), key=_worst_first(metrics))))
    return tables


def _worst_first(metrics: Sequence[Metric]) -> Callable[[tuple[str, Quality]], tuple[float, str]]:
    def key(row: tuple[str, Quality]) -> tuple[float, str]:
        name, quality = row
        value = quality.metrics.get(metrics[0].name) if metrics else None
        # A row that lacks the first metric comes last.
        return (math.inf if value is None else metrics[0].gain(value, 0.0), name)

    return key
