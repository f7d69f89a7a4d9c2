from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from modelbuild.contract import (
    Artifact,
    Build,
    ClassScores,
    DataSnapshot,
    Evaluation,
    GoldenPrediction,
    Images,
    Manifest,
    Runtime,
    Scores,
    SnapshotObject,
    Source,
    TrainingRequest,
    TrainingResult,
    WandbRun,
    sha256_of_json,
)

PLACE = "s3://modelbuild-123456789012/models/comments/12"
UPDATE = "UPDATE_GOLDEN"


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """``golden(name, text)``: the text is what the file in golden/ holds; UPDATE_GOLDEN=1 writes it there."""

    def check(name: str, text: str) -> None:
        path = Path(__file__).with_name("golden") / name
        if os.environ.get(UPDATE):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"if this is right, run again with {UPDATE}=1"

    return check


@pytest.fixture
def environ() -> dict[str, str]:
    """The variables of a job of build 12 of the pipeline "comments"."""
    return {
        "BUILDKITE_BUILD_NUMBER": "12",
        "BUILDKITE_PIPELINE_SLUG": "comments",
        "BUILDKITE_BUILD_URL": "https://buildkite.example/acme/comments/builds/12",
        "BUILDKITE_COMMIT": "c" * 40,
        "BUILDKITE_REPO": "git@github.com:acme/comments.git",
    }


@pytest.fixture
def manifest() -> Manifest:
    """Model 12, better than the majority and worse than VADER, with one weak source."""
    parameters = {"model": {"buckets": 4096, "ngrams": 2}, "seed": 1}
    return Manifest(
        request=TrainingRequest(
            model_id="12",
            build=Build(
                organization="acme",
                pipeline="comments",
                number=12,
                id="0198",
                url="https://buildkite.example/acme/comments/builds/12",
                commit="c" * 40,
                branch="more-tweets",
                message="Train on tweets as well\n\nThey are <short> & many.",
                creator="Ada Lovelace",
            ),
            source=Source(path=f"{PLACE}/source.tar.gz", sha256="5" * 64),
            flow="flows/sentiment/flow.py",
            parameters=parameters,
            parameters_sha256=sha256_of_json(parameters),
            artifacts=PLACE,
            unblock="training_finished",
            images=Images(default="team/default:1", train_gpu="team/train-gpu:1", serve="team/serve:1"),
        ),
        data=DataSnapshot(
            query='SELECT id, text\nFROM "lake"."comments"\n\nWHERE rating <> 0 AND domain = \'tweets\'',
            execution_id="0f0c7a3e-1d2f-4b0a-9d59-1a2b3c4d5e6f",
            objects=(SnapshotObject(path=f"{PLACE}/data/0.parquet", bytes=1234, sha256="6" * 64),),
            rows=12345,
            sha256="7" * 64,
        ),
        evaluation=Evaluation(
            dataset_sha256="8" * 64,
            overall=Scores(rows=2345, accuracy=0.6789, macro_f1=0.6123),
            by_class={
                "positive": ClassScores(rows=1000, precision=0.7, recall=0.8, f1=0.7467),
                "negative": ClassScores(rows=1045, precision=0.65, recall=0.7, f1=0.6741),
                "neutral": ClassScores(rows=300, precision=0.45, recall=0.38, f1=0.4121),
            },
            by_domain={
                "movies": Scores(rows=1000, accuracy=0.71, macro_f1=0.66),
                "tweets": Scores(rows=1345, accuracy=0.51, macro_f1=0.4412),
            },
            baselines={
                "majority": Scores(rows=2345, accuracy=0.4456, macro_f1=0.2055),
                "vader": Scores(rows=2345, accuracy=0.6612, macro_f1=0.6201),
            },
        ),
        wandb=WandbRun(id="comments-12", url="https://wandb.example/acme/comments/runs/comments-12"),
        artifact=Artifact(
            path=f"{PLACE}/model.tar.gz",
            bytes=54321,
            sha256="9" * 64,
            files={"model.json": "a" * 64, "model.safetensors": "b" * 64},
        ),
        runtime=Runtime(
            image="team/train-gpu:1",
            python="3.12.1",
            packages={"torch": "2.9.0", "numpy": "2.3.0"},
            gpu="NVIDIA L4",
            driver="580.1",
            deterministic=True,
            threads=4,
        ),
        golden=(GoldenPrediction(text="good", label="positive", scores={"negative": 0.1, "positive": 0.9}),),
        timings={"prepare": 2.5, "train": 61.04, "evaluate": 3.0},
        created_at="2026-01-02T03:04:05+00:00",
    )


@pytest.fixture
def result(manifest: Manifest) -> TrainingResult:
    """What the training of ``manifest`` said in the end."""
    return TrainingResult(
        status="succeeded",
        model_path=manifest.artifact.path,
        model_sha256=manifest.artifact.sha256,
        manifest=f"{PLACE}/manifest.json",
        env={"MODEL_ID": "12", "MODEL_PIPELINE": "comments", "MODEL_WEIGHTS_SHA256": "b" * 64},
        image="team/serve:1",
        wandb_run_id=manifest.wandb.id,
        wandb_run_url=manifest.wandb.url,
    )
