"""Fabricated sweeps: leaderboards for pages, and the files that a sweep leaves for notify and deploy."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import trained
from modelbuild.contract import (
    Candidate,
    CandidateTiming,
    Leaderboard,
    LeaderboardRow,
    Manifest,
    Selection,
    Sweep,
    TrainingRequest,
    TrainingResult,
)
from modelbuild.store.model import ModelStore
from modelbuild.store.objects import Objects
from modelbuild.store.sweep import SweepStore
from modelbuild.sweep.space import candidates

VALIDATION = "e" * 64


def sweep(**changes: Any) -> Sweep:
    """A sweep of the parameters of model 12; ``changes`` replace its values."""
    values = {
        "method": "random",
        "candidates": 40,
        "space": {
            "model.buckets": {"minimum": 1024, "maximum": 65536, "scale": "log"},
            "model.ngrams": [1, 2, 3],
        },
        "constraints": [{"metric": "model_bytes", "maximum": 900_000}],
    }
    return Sweep.model_validate({**values, **changes})


def request_of(base: TrainingRequest, **changes: Any) -> TrainingRequest:
    """The request of a build as one of a sweep."""
    return base.model_copy(update={"sweep": sweep(**changes)})


def leaderboard(
    request: TrainingRequest,
    *,
    offered: int = 3,
    failures: Sequence[str] = (),
    unfit: Sequence[str] = (),
    stopped: Sequence[str] = (),
    noise: int = 8,
    **changes: Any,
) -> Leaderboard:
    """The leaderboard of a sweep whose random numbers never change.

    Args:
        request: of the sweep.
        offered: how many candidates can be deployed.
        failures: the reasons of those that failed.
        unfit: the reasons of those that do not meet a constraint.
        stopped: the reasons of those that were stopped early.
        noise: how many are within noise of the best.
        changes: values in place of those of the leaderboard.
    """
    asked = request.sweep
    assert asked is not None
    numbers = random.Random(11)
    tried = candidates(asked, {})
    quality = {one.number: _quality(one, numbers) for one in tried}
    ended: dict[int, tuple[str, str]] = {}
    for status, reasons in (("failed", failures), ("unfit", unfit), ("stopped", stopped)):
        left = [one.number for one in tried if one.number not in ended]
        ended |= {number: (status, reason) for number, reason in zip(left[::2], reasons, strict=False)}
    order = sorted(tried, key=lambda one: (one.number in ended, -quality[one.number]))
    rows = tuple(
        _row(request, one, rank, quality[one.number], ended.get(one.number), offered, noise)
        for rank, one in enumerate(order, 1)
    )
    best = rows[0]
    chosen = Selection(
        model_id=best.model_id,
        metric=0.6123,
        low=0.5951,
        high=0.6298,
        validation_metric=best.metric or 0.0,
        within_noise=sum(row.within_noise is True for row in rows),
    )
    values = {
        "pipeline": request.build.pipeline,
        "model": request.model,
        "model_id": request.model_id,
        "sweep": asked,
        "metric": "macro_f1",
        "metric_title": "macro-F1",
        "higher_is_better": True,
        "validation_sha256": VALIDATION,
        "rows": rows,
        "importance": _importance(asked),
        "selection": chosen if offered else None,
        "timings": tuple(
            CandidateTiming(
                model_id=row.model_id,
                seconds=round(20 + 40 * numbers.random(), 3),
                cost=round(0.002 + 0.004 * numbers.random(), 6),
                latency_seconds=0.0004,
                wandb_url=f"https://wandb.example/acme/comments/runs/{row.model_id}",
            )
            for row in rows
        ),
        "currency": "USD",
    }
    return Leaderboard.model_validate({**values, **changes})


def _quality(candidate: Candidate, numbers: random.Random) -> float:
    """More buckets are better, up to a point, and so are two words beside one."""
    buckets, ngrams = candidate.values.get("model.buckets"), candidate.values.get("model.ngrams")
    size = math.log(buckets) if isinstance(buckets, int | float) else 8.0
    words = {1: -0.02, 2: 0.0, 3: -0.004}.get(ngrams if isinstance(ngrams, int) else 2, 0.0)
    return round(0.65 - 0.003 * (size - 9.7) ** 2 + words + numbers.uniform(-0.006, 0.006), 4)


def _row(
    request: TrainingRequest,
    candidate: Candidate,
    rank: int,
    metric: float,
    ended: tuple[str, str] | None,
    offered: int,
    noise: int,
) -> LeaderboardRow:
    status, reason = ended or ("succeeded", "")
    buckets = candidate.values.get("model.buckets")
    failed = status == "failed"
    return LeaderboardRow.model_validate(
        {
            "rank": None if ended else rank,
            "model_id": f"{request.model_id}.{candidate.number}",
            "values": candidate.values,
            "status": status,
            "reason": reason,
            "metric": None if failed else metric,
            "low": None if failed else round(metric - 0.014, 4),
            "high": None if failed else round(metric + 0.014, 4),
            "within_noise": not ended and 1 < rank <= noise + 1,
            "model_bytes": None if failed else 2_000 + 12 * (buckets if isinstance(buckets, int) else 4_096),
            "metrics": {} if failed else {"macro_f1": metric},
            "offered": not ended and rank <= offered,
        }
    )


def _importance(asked: Sweep) -> dict[str, float]:
    return {name: round(0.6 / 2**place, 4) for place, name in enumerate(asked.space)}


@dataclass(frozen=True)
class Stored:
    """A sweep that succeeded, as it lies in S3.

    Attributes:
        request: of the sweep.
        leaderboard: of its candidates.
        manifests: of those that are offered, the best first.
        result: what the build is handed.
    """

    request: TrainingRequest
    leaderboard: Leaderboard
    manifests: tuple[Manifest, ...]
    result: TrainingResult


def store_sweep(
    objects: Objects,
    manifest: Manifest,
    publish: Callable[[Manifest], Manifest] = lambda manifest: manifest,
    asked: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Stored:
    """Write the files of a sweep whose candidates are like a model.

    Args:
        objects: where.
        manifest: of the model.
        publish: writes the model of an offered candidate, and returns its manifest.
        asked: values in place of those of the sweep.
        changes: values in place of those of its leaderboard.
    """
    request = request_of(manifest.request, **(asked or {}))
    board = leaderboard(request, **changes)
    objects.write(f"{request.artifacts}/request.json", request.to_json().encode())
    SweepStore(objects, request.artifacts).write_leaderboard(board, b"PAR1")
    manifests = tuple(publish(manifest_of(manifest, request, row)) for row in board.offered)
    for made in manifests:
        store = ModelStore(objects, made.request.artifacts)
        objects.write(store.request_uri, made.request.to_json().encode())
        objects.write(store.manifest_uri, made.to_json().encode())
    return Stored(request, board, manifests, trained.result_of(manifests[0]))


def manifest_of(manifest: Manifest, request: TrainingRequest, row: LeaderboardRow) -> Manifest:
    """The manifest of a candidate, with weights of its own."""
    number = int(row.model_id.partition(".")[2])
    own = request.candidate(number, row.values)
    weights = hashlib.sha256(row.model_id.encode()).hexdigest()
    artifact = {"path": f"{own.artifacts}/model.tar.gz", "sha256": weights}
    return Manifest.model_validate(
        {
            **manifest.model_dump(by_alias=True),
            "request": own.model_dump(by_alias=True),
            "artifact": {**manifest.artifact.model_dump(), **artifact},
            "predictions": {
                **manifest.predictions.model_dump(),
                "path": f"{own.artifacts}/predictions.parquet",
            },
        }
    )
