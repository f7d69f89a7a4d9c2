"""Trained models in a store, with real evaluations, for tests of what compares them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import samples
from modelbuild.contract import (
    Approver,
    Deployment,
    Manifest,
    PredictionsFile,
    ServingEnvironment,
    TrainingRequest,
    TrainingResult,
    sha256_of_json,
)
from modelbuild.flow import classification
from modelbuild.flow.evaluation import Evaluated, EvaluationRows, RowMetric
from modelbuild.store.deployments import DeploymentHistory
from modelbuild.store.model import ModelStore
from modelbuild.store.objects import Objects
from modelbuild.store.ranking import Ranking

LAKE, PRODUCTION = "s3://modelbuild-123456789012/models", "s3://modelbuild-222222222222/models"
LABELS = ("negative", "neutral", "positive")
_MANIFEST = Path(__file__).parents[1] / "data" / "model-12" / "manifest.json"


def truth_of(rows: int, seed: int = 0) -> list[str]:
    """True labels of some rows."""
    return [LABELS[number] for number in np.random.default_rng(seed).integers(0, 3, rows)]


def guesses(truth: Sequence[str], right: float, seed: int) -> list[str]:
    """Labels of which about this part is right."""
    random = np.random.default_rng(seed)
    return [label if random.random() < right else LABELS[int(random.integers(0, 3))] for label in truth]


def evaluated(
    truth: Sequence[str],
    predicted: Sequence[str],
    *,
    first: int = 0,
    domains: Sequence[str] | None = None,
    baselines: Mapping[str, Sequence[str]] | None = None,
    row_metrics: Sequence[RowMetric] = (),
) -> Evaluated:
    """The evaluation of a classifier on rows whose ids count from ``first``."""
    ids = [f"row-{first + number:06}" for number in range(len(truth))]
    rows = EvaluationRows(
        ids=ids,
        inputs=[f"text of {one}" for one in ids],
        truth=list(truth),
        description="rated by people",
        slices={"domain": list(domains)} if domains else {},
    )
    answers = [
        {"label": label, "scores": {one: 0.8 if one == label else 0.1 for one in LABELS}}
        for label in predicted
    ]
    others = baselines or {"majority": ["positive"] * len(truth)}
    return classification.evaluate(rows, answers, labels=LABELS, baselines=others, row_metrics=row_metrics)


def request_of(number: int, **changes: Any) -> TrainingRequest:
    """The request of a build of the pipeline "comments"."""
    return samples.request_for(f"{LAKE}/comments/sentiment/{number}", **changes)


def store_model(
    objects: Objects,
    number: int,
    result: Evaluated,
    *,
    parameters: Any = None,
    commit: str | None = None,
    **changes: Any,
) -> Manifest:
    """Write the files of a model of the pipeline "comments" as its training would."""
    asked: dict[str, Any] = {"parameters": parameters} if parameters is not None else {}
    if commit is not None:
        asked["build"] = samples.build(number, "comments", commit=commit)
    request = request_of(number, **asked)
    store = ModelStore(objects, request.artifacts)
    values = json.loads(_MANIFEST.read_text(encoding="utf-8"))
    content = result.predictions
    manifest = Manifest.model_validate_json(
        json.dumps(
            {
                **values,
                "request": request.model_dump(mode="json", by_alias=True),
                "evaluation": result.evaluation.model_dump(mode="json"),
                "predictions": PredictionsFile(
                    path=store.predictions_uri,
                    bytes=len(content),
                    sha256=hashlib.sha256(content).hexdigest(),
                    rows=result.evaluation.overall.rows,
                ).model_dump(mode="json"),
                "artifact": {**values["artifact"], "path": store.model_uri},
                **changes,
            }
        )
    )
    store.write_request_once(request)
    store.write_predictions(content)
    Ranking.of(objects, manifest).add(manifest)
    return store.write_manifest_once(manifest)


def result_of(manifest: Manifest) -> TrainingResult:
    """What the training of a model hands over."""
    request = manifest.request
    serving = ServingEnvironment(
        model=request.model,
        model_id=request.model_id,
        pipeline=request.build.pipeline,
        description_sha256=manifest.artifact.files["model.json"],
    )
    return TrainingResult(
        status="succeeded",
        model_path=manifest.artifact.path,
        model_sha256=manifest.artifact.sha256,
        manifest=f"{request.artifacts}/manifest.json",
        env=serving.to_env(),
        image=request.images.serve,
        wandb_run_id=manifest.wandb.id,
        wandb_run_url=manifest.wandb.url,
    )


def deploy(lake: Objects, production: Objects, manifest: Manifest, root: str = PRODUCTION) -> Deployment:
    """Record a model as the newest deployment of endpoint "sentiment", as the deploy plugin does."""
    request, endpoint = manifest.request, "sentiment"
    copied = f"{root}/{request.build.pipeline}/{request.model}/{request.model_id}"
    content = manifest.to_json().encode()
    deployment = Deployment(
        model=request.model,
        model_id=request.model_id,
        pipeline=request.build.pipeline,
        build_url=request.build.url,
        manifest=f"{copied}/manifest.json",
        manifest_sha256=hashlib.sha256(content).hexdigest(),
        model_path=f"{copied}/model.tar.gz",
        model_sha256=manifest.artifact.sha256,
        image=request.images.serve,
        endpoint=endpoint,
        endpoint_arn=f"arn:aws:sagemaker:us-east-1:222222222222:endpoint/{endpoint}",
        endpoint_config=f"{endpoint}-{request.model_id}-{sha256_of_json(request.model_id)[:10]}",
        model_name=f"{endpoint}-{request.model_id}",
        previous_endpoint_config="",
        approver=Approver(name="Grace", email="grace@example.com"),
        deployed_at="2026-11-01T10:00:00+00:00",
    )
    production.write(deployment.manifest, content)
    recorded = DeploymentHistory(production, root, endpoint).append(deployment, changed=True)
    ModelStore(lake, request.artifacts).write_deployment(recorded)
    return recorded
