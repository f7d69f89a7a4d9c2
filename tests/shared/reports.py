"""Reports on model 12 of ``tests/data``, for tests of what people see of them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from modelbuild.contract import Manifest, Report
from modelbuild.contract.report import Comparison, Difference, Interval, Role, Verdict
from modelbuild.report.head_job import HeadJob

MODEL = Path(__file__).parents[1] / "data" / "model-12"

JOB = HeadJob(
    id="job-1",
    url="https://us-east-1.console.aws.amazon.com/batch/home?region=us-east-1#jobs/detail/job-1",
    logs_url="https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1#logsV2:log-groups",
    artifacts="s3://modelbuild-123456789012/models/comments/sentiment/12",
)


def manifest(**changes: Any) -> Manifest:
    """The manifest of model 12; ``changes`` replace its values."""
    found = Manifest.model_validate_json((MODEL / "manifest.json").read_bytes())
    return found.model_copy(update=changes)


def first_report(**changes: Any) -> Report:
    """The report on a model that is compared with baselines only; ``changes`` replace its values."""
    about = changes.get("manifest") or manifest()
    values = {
        "build": about.request.build,
        "commit_url": f"https://github.com/acme/comments/commit/{'c' * 40}",
        "manifest": about,
        "manifest_sha256": "4" * 64,
        "verdict": Verdict(outcome="first", sentence="No model is live to compare with.", style="info"),
        "comparisons": baselines(about),
    }
    return Report.model_validate({**values, **changes})


def baselines(about: Manifest) -> tuple[Comparison, ...]:
    """A comparison with each baseline of a manifest."""
    return tuple(
        comparison("baseline", name, about, quality.metrics)
        for name, quality in about.evaluation.baselines.items()
    )


def comparison(
    role: Role, name: str, about: Manifest, others: dict[str, float], **changes: Any
) -> Comparison:
    """A comparison of a manifest's model with one that has these metrics."""
    evaluation = about.evaluation
    metrics = {
        key: difference(evaluation.overall.metrics[key], value, evaluation.metric(key).better)
        for key, value in others.items()
    }
    values = {"role": role, "name": name, "rows": evaluation.overall.rows, "primary": evaluation.primary}
    return Comparison.model_validate({**values, "metrics": metrics, **changes})


def difference(value: float, other: float, better: str = "higher", width: float = 0.008) -> Difference:
    """The difference of two models, with an interval of twice the width around it."""
    gain = round(value - other if better == "higher" else other - value, 6)
    return Difference(
        value=value, other=other, gain=gain, interval=Interval(low=gain - width, high=gain + width)
    )


def generator(seed: int) -> random.Random:
    """Random numbers that are the same each time."""
    return random.Random(seed)
