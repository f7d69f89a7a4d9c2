"""Reports on model 12 of ``tests/data`` for tests of what people see; their random numbers never change."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import report_parts as parts
from modelbuild.contract import Evaluation, Manifest, Metric, Report
from modelbuild.contract.report import Comparison, Difference, Interval, Role, Verdict
from modelbuild.notify.verdict import decide
from modelbuild.report import warnings
from modelbuild.report.build import HeadJob
from modelbuild.settings.notify import Styles
from report_manifests import changed, model_manifest
from report_parts import CODE, PAGES

JOB = HeadJob(
    id="job-1",
    url="https://us-east-1.console.aws.amazon.com/batch/home?region=us-east-1#jobs/detail/job-1",
    logs_url="https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1#logsV2:log-groups",
    artifacts="s3://modelbuild-123456789012/models/comments/sentiment/12",
)


def first_report(about: Manifest | None = None, **changes: Any) -> Report:
    """The report on a model that only baselines can be compared with; ``changes`` replace its values."""
    about = about or model_manifest()
    values = {
        "build": about.request.build,
        "commit_url": f"{CODE}/commit/{'c' * 40}",
        "manifest": about,
        "manifest_sha256": "4" * 64,
        "verdict": Verdict(outcome="first", sentence="", style="info"),
        "comparisons": baselines(about),
    }
    return judged(Report.model_validate({**values, **changes}))


def judged(report: Report) -> Report:
    """A report with the verdict on it."""
    baselines = [one for one in report.comparisons if one.role == "baseline"]
    live, evaluation = report.compared_with("live"), report.manifest.evaluation
    verdict = decide(evaluation, live, baselines, report.gates, Styles(), report.endpoint)
    return changed(report, verdict=verdict)  # type: ignore[no-any-return]


def report_beside_live(overall: float, about: Manifest | None = None, **changes: Any) -> Report:
    """A report with everything in it on a model that is better than live by ``overall``."""
    about = about or model_manifest()
    values = {
        "endpoint": "comments-sentiment",
        "live": parts.live_deployment(),
        "comparisons": (
            compared_with("live", "sentiment 6", about, overall, seed=2, model_id="6", url=f"{PAGES}/6"),
            compared_with("best", "sentiment 9", about, -0.004, seed=3, model_id="9", url=f"{PAGES}/9"),
            compared_with(
                "experiment", "sweep-17", about, -0.011, seed=4, url="https://wandb.example/runs/sweep-17"
            ),
            *baselines(about),
        ),
        "changes": parts.changes_since_live(),
        "gates": parts.gates(),
        "examples": parts.examples(),
        "confusion": parts.confusion(("negative", "neutral", "positive"), rows=2_345),
        "calibration": parts.calibration(),
        "trend": parts.trend(overall),
        "warnings": warnings.find(about),
        "cost": parts.cost(),
        "currency": "USD",
    }
    return first_report(about, **{**values, **changes})


def baselines(about: Manifest) -> tuple[Comparison, ...]:
    """A comparison with each baseline of a manifest."""
    found = []
    for name, quality in about.evaluation.baselines.items():
        metrics = compared_metrics(about.evaluation, quality.metrics)
        found.append(compared("baseline", name, about, metrics=metrics))
    return tuple(found)


def compared_with(
    role: Role, name: str, about: Manifest, gain: float, *, seed: int, **changes: Any
) -> Comparison:
    """A comparison with a model that is worse by about ``gain``, also on each slice; a value above 1 is worse
    by ``gain`` times itself.
    """
    numbers = random.Random(seed)
    evaluation = about.evaluation

    def other(metric: Metric, value: float, spread: float) -> float:
        better_by = (gain + numbers.uniform(-spread, spread)) * max(1.0, abs(value))
        return round(value - better_by if metric.better == "higher" else value + better_by, 4)

    overall = {
        name: other(evaluation.metric(name), value, 0.001)
        for name, value in evaluation.overall.metrics.items()
    }
    slices = {}
    for column, values in evaluation.slices.items():
        metric = evaluation.used_in(values)[0]
        slices[column] = {
            value: difference(
                metric, quality.metrics[metric.name], other(metric, quality.metrics[metric.name], 0.03), 0.017
            )
            for value, quality in values.items()
        }
    metrics = compared_metrics(evaluation, overall)
    return compared(role, name, about, metrics=metrics, slices=slices, **changes)


def compared(role: Role, name: str, about: Manifest, **changes: Any) -> Comparison:
    """A comparison on all rows."""
    evaluation = about.evaluation
    values = {"role": role, "name": name, "rows": evaluation.overall.rows, "primary": evaluation.primary}
    return Comparison.model_validate({**values, **changes})


def compared_metrics(evaluation: Evaluation, others: Mapping[str, float]) -> dict[str, Difference]:
    """The differences from a model that has these metrics of all rows."""
    own = evaluation.overall.metrics
    return {name: difference(evaluation.metric(name), own[name], value) for name, value in others.items()}


def difference(metric: Metric, value: float, other: float, width: float = 0.008) -> Difference:
    """The difference of two models, in the middle of an interval that is twice ``width`` wide."""
    gain, width = metric.gain(value, other), width * max(1.0, abs(value))
    interval = Interval(low=round(gain - width, 6), high=round(gain + width, 6))
    return Difference(value=value, other=other, gain=round(gain, 6), interval=interval)
