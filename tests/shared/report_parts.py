"""What a report says beside its comparisons; the random numbers never change."""

from __future__ import annotations

import random
from collections.abc import Sequence

from modelbuild.contract import Approver, Deployment
from modelbuild.contract.report import (
    CalibrationBin,
    Change,
    Changes,
    Commit,
    ConfusionMatrix,
    CostLine,
    Example,
    Examples,
    GateResult,
    TrendPoint,
)

PAGES = "https://buildkite.example/acme/comments/builds"
CODE = "https://github.com/acme/comments"


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
