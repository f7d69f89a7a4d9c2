"""Reports on model 12 of ``tests/data`` for tests of what people see; their random numbers never change."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelbuild.contract import (
    Approver,
    CurvePoint,
    Deployment,
    Evaluation,
    Manifest,
    Metric,
    Quality,
    Report,
    TrainingSummary,
)
from modelbuild.contract.report import (
    CalibrationBin,
    Change,
    Changes,
    Commit,
    Comparison,
    ConfusionMatrix,
    CostLine,
    Difference,
    Example,
    Examples,
    GateResult,
    Interval,
    Role,
    TrendPoint,
    Verdict,
)
from modelbuild.notify.verdict import decide
from modelbuild.report import warnings
from modelbuild.report.build import HeadJob
from modelbuild.settings.notify import Styles

MODEL = Path(__file__).parents[1] / "data" / "model-12"
PAGES = "https://buildkite.example/acme/comments/builds"
CODE = "https://github.com/acme/comments"

JOB = HeadJob(
    id="job-1",
    url="https://us-east-1.console.aws.amazon.com/batch/home?region=us-east-1#jobs/detail/job-1",
    logs_url="https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1#logsV2:log-groups",
    artifacts="s3://modelbuild-123456789012/models/comments/sentiment/12",
)


def changed(record: Any, **values: object) -> Any:
    """A copy of a record; ``values`` are not checked, so that they can be what its types do not admit."""
    return record.model_copy(update=values)


def model_manifest() -> Manifest:
    """The manifest of model 12 with a summary of its training; its build set a parameter."""
    found = Manifest.model_validate_json((MODEL / "manifest.json").read_bytes())
    parameters = {**found.request.parameters, "training": {"epochs": 3, "learning_rate": 0.1}}
    origins = {"model.buckets": "file", "model.ngrams": "file", "seed": "plugin"}
    origins |= {"training.epochs": "file", "training.learning_rate": "build"}
    request = changed(found.request, parameters=parameters, origins=origins)
    return Manifest.model_validate_json(
        changed(found, request=request, training=training_summary()).to_json()
    )


def training_summary() -> TrainingSummary:
    """A fit that got better for 40 steps."""
    numbers = random.Random(1)
    curve = tuple(
        CurvePoint(
            step=step * 25,
            values={
                "loss": 1.1 / (1 + step / 8) + numbers.random() / 20,
                "validation_loss": 1.1 / (1 + step / 10) + 0.12 + step / 400 + numbers.random() / 30,
                "learning_rate": 0.1 * (1 - step / 40),
            },
        )
        for step in range(40)
    )
    return TrainingSummary(
        rows=9_876,
        labels={"negative": 4_321, "neutral": 1_234, "positive": 4_321},
        dropped={"empty text": 12, "no label": 112},
        exact_duplicates=3,
        near_duplicates=14,
        curve=curve,
        converged=True,
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
        "live": live_deployment(),
        "comparisons": (
            beside("live", "sentiment 6", about, overall, seed=2, model_id="6", url=f"{PAGES}/6"),
            beside("best", "sentiment 9", about, -0.004, seed=3, model_id="9", url=f"{PAGES}/9"),
            beside(
                "experiment", "sweep-17", about, -0.011, seed=4, url="https://wandb.example/runs/sweep-17"
            ),
            *baselines(about),
        ),
        "changes": changes_since_live(),
        "gates": gates(),
        "examples": examples(),
        "confusion": confusion(("negative", "neutral", "positive"), rows=2_345),
        "calibration": calibration(),
        "trend": trend(overall),
        "warnings": warnings.find(about),
        "cost": cost(),
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


def beside(role: Role, name: str, about: Manifest, gain: float, *, seed: int, **changes: Any) -> Comparison:
    """A comparison with a model that is worse by about ``gain``, also on each slice; of metrics that are no
    parts of one by so much of the metric.
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


def live_deployment() -> Deployment:
    """Model 6 behind the endpoint."""
    prefix = "s3://production-210987654321/comments/sentiment/6"
    return Deployment(
        number=3,
        model="sentiment",
        model_id="6",
        pipeline="comments",
        build_url=f"{PAGES}/6",
        manifest=f"{prefix}/manifest.json",
        manifest_sha256="6" * 64,
        model_path=f"{prefix}/model.tar.gz",
        model_sha256="7" * 64,
        image="team/serve:1",
        endpoint="comments-sentiment",
        endpoint_arn="arn:aws:sagemaker:us-east-1:210987654321:endpoint/comments-sentiment",
        endpoint_config="comments-sentiment-6",
        model_name="comments-sentiment-6",
        previous_endpoint_config="comments-sentiment-4",
        approver=Approver(name="Grace Hopper", email="grace@example.com"),
        deployed_at="2025-12-24T03:04:05+00:00",
    )


def changes_since_live() -> Changes:
    """Changes of every kind."""
    return Changes(
        since="sentiment 6",
        parameters=(
            Change(name="training.learning_rate", before="0.05", after="0.1", origin="build"),
            Change(name="model.ngrams", before="1", after="2", origin="file"),
        ),
        data=(
            Change(name="rows of the snapshot", before="11,890", after="12,345"),
            Change(name="rows of label neutral", before="1,190", after="1,234"),
        ),
        commits=tuple(
            Commit(id=letter * 40, subject=subject, author=author, url=f"{CODE}/commit/{letter * 40}")
            for letter, subject, author in (
                ("c", "Train on tweets as well", "Ada Lovelace"),
                ("d", "Two-word n-grams are hashed into the same buckets", "Grace Hopper"),
                ("e", "Fix the query: ratings of 0 are no ratings", "Ada Lovelace"),
            )
        ),
        commits_note="and 2 commits that only merge others",
        compare_url=f"{CODE}/compare/{'f' * 40}...{'c' * 40}",
        images=(Change(name="default", before="team/default:0", after="team/default:1"),),
        packages=(
            Change(name="numpy", before="2.2.6", after="2.3.0"),
            Change(name="torch", before="2.8.0", after="2.9.0"),
            Change(name="tokenizers", before="", after="0.22.0"),
        ),
    )


def gates(*, failed: bool = False) -> tuple[GateResult, ...]:
    """Gates that pass, or two that do not."""
    return (
        GateResult(title="macro-F1", threshold="at least 0.600", value="0.612", passed=True),
        GateResult(
            title="macro-F1 of domain tweets",
            threshold="at most 0.010 below live",
            value="0.441, live has 0.462" if failed else "0.441, live has 0.431",
            passed=not failed,
        ),
        GateResult(
            title="size of model.tar.gz",
            threshold="at most 50,000 bytes" if failed else "at most 100,000 bytes",
            value="54,321 bytes",
            passed=not failed,
        ),
    )


_TEXTS = (
    ("Thanks, that is exactly what I did not need today.", "negative", "positive", 0.98),
    ("not bad at all", "positive", "negative", 0.97),
    ("I waited three weeks for this. Three. Weeks.", "negative", "positive", 0.93),
    ("The plot is thin, but the actors carry it further than it deserves to go, which is some achievement "
     "for a film of two hours and forty minutes.", "positive", "negative", 0.91),
    ("It is a phone.", "neutral", "negative", 0.88),
    ("meh", "neutral", "negative", 0.86),
)  # fmt: skip


def examples() -> Examples:
    """Mistakes, and rows on which the live model answers differently."""
    mistakes = tuple(
        Example(id=f"row-{place}", input=text, truth=truth, prediction=guess, score=score)
        for place, (text, truth, guess, score) in enumerate(_TEXTS * 2)
    )
    answers = (("positive", "negative"), ("negative", "positive"), ("neutral", "positive"))
    differences = tuple(
        Example(id=f"row-{place}", input=text, truth=truth, prediction=own, live=live)
        for place, ((text, truth, _, _), (own, live)) in enumerate(zip(_TEXTS, answers * 2, strict=True))
    )
    return Examples(mistakes=mistakes, differences=differences, gained=131, lost=88)


def confusion(labels: Sequence[str], rows: int, right: float = 0.7, seed: int = 5) -> ConfusionMatrix:
    """A matrix with about this part of the rows on its diagonal; some pairs are confused more often."""
    numbers = random.Random(seed)
    counts = []
    for truth in range(len(labels)):
        chances = [numbers.random() ** 6 for _ in labels]
        total = sum(chances) or 1.0
        weights = [
            right if guess == truth else (1 - right) * chance / total for guess, chance in enumerate(chances)
        ]
        guesses = numbers.choices(range(len(labels)), weights, k=rows // len(labels))
        counts.append(tuple(guesses.count(guess) for guess in range(len(labels))))
    return ConfusionMatrix(labels=tuple(labels), counts=tuple(counts))


def calibration() -> tuple[CalibrationBin, ...]:
    """A model that is too sure of itself."""
    numbers = random.Random(6)
    return tuple(
        CalibrationBin(
            mean_score=0.375 + place / 16,
            accuracy=0.37 + place / 21 + numbers.uniform(-0.02, 0.02),
            rows=60 + place**3,
        )
        for place in range(10)
    )


def trend(gain: float) -> tuple[TrendPoint, ...]:
    """The last 12 models; the older ones were evaluated on other rows, and 2, 4 and 6 were deployed."""
    numbers = random.Random(7)
    values = [0.52 + place / 150 + numbers.uniform(-0.015, 0.015) for place in range(11)]
    values[5] = 0.6123 - gain
    return tuple(
        TrendPoint(
            model_id=str(place + 1),
            value=round(value, 4),
            comparable=place > 2,
            deployed=place in (1, 3, 5),
        )
        for place, value in enumerate([*values, 0.6123])
    )


def cost() -> tuple[CostLine, ...]:
    """Steps with prices, and one without."""
    return (
        CostLine(step="prepare", seconds=2.5, resources="2 vCPU, 4 GiB", price=0.0001),
        CostLine(step="train", seconds=61.04, resources="4 vCPU, 16 GiB, 1 GPU", price=0.0136),
        CostLine(step="evaluate", seconds=3.0, resources="2 vCPU, 4 GiB", price=None),
    )


def regression_manifest() -> Manifest:
    """The manifest of a model that predicts numbers."""
    about = model_manifest()
    metrics = (
        Metric(name="rmse", title="RMSE", better="lower"),
        Metric(name="mae", title="mean absolute error", better="lower"),
        Metric(name="r2", title="R²", better="higher"),
    )
    evaluation = Evaluation(
        rows_are="sales of the last month",
        dataset_sha256="8" * 64,
        metrics=metrics,
        primary="rmse",
        overall=Quality(rows=500, metrics={"rmse": 12_345.678, "mae": 9_876.5, "r2": 0.8123}),
        slices={
            "region": {
                name: Quality(rows=100, metrics={"rmse": rmse, "mae": rmse * 0.8, "r2": 0.7})
                for name, rmse in (("north", 14_000.5), ("south", 9_000.25), ("east", 12_500.0))
            }
        },
        baselines={
            "mean of the training rows": Quality(rows=500, metrics={"rmse": 28_000.0, "mae": 22_000.0})
        },
    )
    return changed(about, evaluation=evaluation)  # type: ignore[no-any-return]


def classes_manifest(labels: Sequence[str], seed: int = 8) -> Manifest:
    """The manifest of a classifier of these labels."""
    numbers = random.Random(seed)
    about = model_manifest()

    def quality() -> Quality:
        f1 = round(numbers.betavariate(6, 3), 4)
        metrics = {"f1": f1, "precision": round(f1 * 0.98, 4), "recall": round(min(1, f1 * 1.03), 4)}
        return Quality(rows=numbers.randint(5, 200), metrics=metrics)

    slices = {"class": {name: quality() for name in labels}, "domain": about.evaluation.slices["domain"]}
    return changed(about, evaluation=changed(about.evaluation, slices=slices))  # type: ignore[no-any-return]
