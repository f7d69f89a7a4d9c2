"""Handing a trained model over to the build that asked for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from modelbuild.aws.storage import Storage
from modelbuild.callback import deliver, shared_rate_limiter
from modelbuild.contract import (
    Artifact,
    DataSnapshot,
    Evaluation,
    GoldenPrediction,
    Manifest,
    Runtime,
    TrainingRequest,
    WandbRun,
)
from modelbuild.flow import publish

Document = Mapping[str, Any]
"""A record as JSON, as which Metaflow keeps it between steps."""


def hand_over(
    storage: Storage,
    request: TrainingRequest,
    artifact: Artifact,
    *,
    data: Document,
    evaluation: Document,
    wandb: Document,
    runtime: Document,
    golden: Sequence[Document],
    seconds: Mapping[str, float],
) -> None:
    """Write the manifest and the result of this attempt, once each, and unblock the build.

    Args:
        storage: S3.
        request: what the build asked for.
        artifact: the uploaded model, see :func:`modelbuild.flow.publish.upload`.
        data: the ``DataSnapshot``.
        evaluation: the ``Evaluation``.
        wandb: the ``WandbRun``.
        runtime: the ``Runtime`` of the step that trained.
        golden: each ``GoldenPrediction``.
        seconds: how long the steps took, by name.

    Raises:
        AwsError: S3 refused.
        BuildkiteError: Buildkite could not be told.
    """
    manifest = Manifest(
        request=request,
        data=DataSnapshot.model_validate(data),
        evaluation=Evaluation.model_validate(evaluation),
        wandb=WandbRun.model_validate(wandb),
        artifact=artifact,
        runtime=Runtime.model_validate(runtime),
        golden=tuple(GoldenPrediction.model_validate(item) for item in golden),
        timings=dict(seconds),
        created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    result = publish.publish(storage, manifest)
    deliver(request, result, turns=shared_rate_limiter(storage, request.artifacts))
