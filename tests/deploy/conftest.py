from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import boto3
import numpy as np
import pytest
import safetensors.numpy

import samples
import standins
import sweeps
from job_agent import JobAgent
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.contract import (
    Artifact,
    DataSnapshot,
    Evaluation,
    GoldenPrediction,
    Images,
    Manifest,
    Metric,
    PredictionsFile,
    Quality,
    Runtime,
    ServingEnvironment,
    SnapshotObject,
    TrainingResult,
    WandbRun,
)
from modelbuild.flow.models import linear
from modelbuild.flow.packaging import golden
from modelbuild.flow.publish import archive
from modelbuild.handoff.candidates import Candidates
from modelbuild.handoff.manifest import Handoff
from modelbuild.serving.model import load
from modelbuild.settings import AwsSettings
from modelbuild.settings.deploy import CopySettings, DeploySettings
from modelbuild.store.model import ModelStore
from modelbuild_local.laptop import OWNER_ROLE

LAKE = standins.BUCKET
PRODUCTION = "modelbuild-222222222222"
AGENTS_ROLE = "arn:aws:iam::123456789012:role/agents"
DEPLOY_ROLE = "arn:aws:iam::222222222222:role/modelbuild-deploy"
EXECUTION_ROLE = "arn:aws:iam::222222222222:role/modelbuild-sagemaker"
PIPELINE = "comments"
LABELS = ("negative", "neutral", "positive")
TEXTS = ("what a waste of time", "it is a film", "I loved every minute of it")

# An image whose process ends at once, and one whose process lives and never listens.
BROKEN_IMAGES = {
    "broken": '["python", "-c", "raise SystemExit(3)"]',
    "silent": '["python", "-c", "import time; time.sleep(600)"]',
}


@dataclass(frozen=True)
class Accounts:
    """A data lake's bucket and a production account."""

    lake: Storage
    production: boto3.Session
    sagemaker: Any


@pytest.fixture(scope="session")
def accounts(stand_in: Any) -> Accounts:
    """The two accounts on the AWS stand-in."""
    for name, entrypoint in BROKEN_IMAGES.items():
        (stand_in.images / name).mkdir()
        (stand_in.images / name / "Dockerfile").write_text(f"FROM scratch\nENTRYPOINT {entrypoint}\n")
    with pytest.MonkeyPatch.context() as patch:
        standins.use(patch, stand_in.url)
        owner = session(AwsSettings(role_arn=f"arn:aws:iam::222222222222:role/{OWNER_ROLE}"))
        owner.client("cloudformation").create_stack(
            StackName="modelbuild",
            TemplateBody=(standins.ROOT / "infra" / "production.yaml").read_text(),
            Parameters=[{"ParameterKey": "DeployerArn", "ParameterValue": AGENTS_ROLE}],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        production = session(AwsSettings(role_arn=DEPLOY_ROLE))
        return Accounts(Storage(session(AwsSettings())), production, production.client("sagemaker"))


def model_files(seed: int) -> tuple[dict[str, bytes], tuple[GoldenPrediction, ...]]:
    """The files of a small real model, and what it answers to ``TEXTS``."""
    random = np.random.default_rng(seed)
    weights = safetensors.numpy.save(
        {
            "weight": random.normal(size=(64, len(LABELS))).astype(np.float32),
            "bias": np.zeros(len(LABELS), np.float32),
        }
    )
    files = linear.files(weights, labels=LABELS, buckets=64, ngrams=2, parameters={"seed": seed})
    return files, tuple(golden(load(files), TEXTS))


def manifest_for(number: int, image: str, artifact: Artifact, golden: Any) -> Manifest:
    """The manifest of a model that build ``number`` made."""
    prefix = f"s3://{LAKE}/models/{PIPELINE}/sentiment/{number}"
    quality = Quality(rows=9, metrics={"macro_f1": 0.65})
    return Manifest(
        request=samples.request_for(
            prefix,
            model_id=str(number),
            build=samples.build(number, PIPELINE, "acme", commit="c" * 40, creator="Ada Lovelace"),
            parameters={"seed": number},
            images=Images(default="team/default:1", train_gpu="team/train-gpu:1", serve=image),
        ),
        data=DataSnapshot(
            source="SELECT 1",
            athena_execution_id="0f0c7a3e",
            objects=(SnapshotObject(path=f"{prefix}/data/0.parquet", bytes=1, sha256="6" * 64),),
            rows=9,
            sha256="7" * 64,
        ),
        evaluation=Evaluation(
            dataset_sha256="8" * 64,
            metrics=(Metric(name="macro_f1", title="macro-F1", better="higher"),),
            primary="macro_f1",
            overall=quality,
        ),
        predictions=PredictionsFile(path=f"{prefix}/predictions.parquet", bytes=1, sha256="5" * 64, rows=9),
        wandb=WandbRun(id=f"{PIPELINE}-{number}", url=""),
        artifact=artifact,
        runtime=Runtime(
            image="", python="3.12", packages={}, gpu="", driver="", deterministic=True, threads=1
        ),
        golden=golden,
        timings={"train": 1.0},
        created_at="2026-01-02T03:04:05+00:00",
    )


class Deployer:
    """A data lake with trained models, a production account, and the job of a build that deploys."""

    def __init__(self, accounts: Accounts, agent: JobAgent, monkeypatch: pytest.MonkeyPatch) -> None:
        self.agent = agent
        self.lake = accounts.lake
        self.account = accounts.production
        self.production = Storage(accounts.production)
        self.sagemaker = accounts.sagemaker
        self._monkeypatch = monkeypatch

    def train(self, number: int, image: str = "team/serve:1", **changes: Any) -> Manifest:
        """Have build ``number`` make a model, and make this job one of that build.

        Args:
            number: the number of the build, which is also the seed of its model.
            image: what serves it.
            changes: values in place of those in the manifest.
        """
        files, golden = model_files(number)
        content = archive(files)
        path = f"s3://{LAKE}/models/{PIPELINE}/sentiment/{number}/model.tar.gz"
        digests = {name: hashlib.sha256(part).hexdigest() for name, part in files.items()}
        artifact = Artifact(
            path=path, bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), files=digests
        )
        manifest = manifest_for(number, image, artifact, golden).model_copy(update=changes)
        uri = f"s3://{LAKE}/models/{PIPELINE}/sentiment/{number}/manifest.json"
        self.lake.write(path, content, "application/gzip")
        self.lake.write(uri, manifest.to_json().encode())
        request = manifest.request
        self.lake.write(f"{request.artifacts}/request.json", request.to_json().encode())
        result = TrainingResult(
            status="succeeded",
            model_path=path,
            model_sha256=artifact.sha256,
            manifest=uri,
            env=ServingEnvironment(
                model="sentiment",
                model_id=str(number),
                pipeline=PIPELINE,
                description_sha256=digests["model.json"],
            ).to_env(),
            image=image,
            wandb_run_id=manifest.wandb.id,
        )
        store = ModelStore(self.lake, request.artifacts)
        pins = Handoff(store, result, manifest, manifest.to_json().encode()).pins
        self.join(manifest, {**result.to_fields(), **samples.train_step_meta_data(request), **pins})
        return manifest

    def join(self, manifest: Manifest, meta_data: dict[str, str]) -> None:
        """Make this job one of the build of a manifest, which has these meta-data."""
        self.agent.meta_data = meta_data
        self._monkeypatch.setenv("BUILDKITE_BUILD_NUMBER", str(manifest.request.build.number))
        self._monkeypatch.setenv("BUILDKITE_BUILD_ID", manifest.request.build.id)

    def sweep(self, number: int) -> sweeps.Stored:
        """Have build ``number`` try seeds and offer three candidates, and make this job one of that build."""
        asked = {"method": "grid", "candidates": None, "constraints": (), "space": {"seed": [7, 8, 9, 10]}}
        stored = sweeps.store_sweep(self.lake, self.train(number), self._publish, asked)
        store = ModelStore(self.lake, stored.request.artifacts)
        offered = tuple(
            Handoff(store, stored.result, manifest, manifest.to_json().encode())
            for manifest in stored.manifests
        )
        pins = Candidates(stored.leaderboard, offered).pins
        self.agent.meta_data = {
            **stored.result.to_fields(),
            **samples.train_step_meta_data(stored.request),
            **pins,
        }
        return stored

    def _publish(self, manifest: Manifest) -> Manifest:
        """Write the model of a candidate, whose seed is its parameter."""
        files, golden = model_files(int(str(manifest.request.parameters["seed"])))
        content = archive(files)
        self.lake.write(manifest.artifact.path, content, "application/gzip")
        artifact = Artifact(
            path=manifest.artifact.path,
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            files={name: hashlib.sha256(part).hexdigest() for name, part in files.items()},
        )
        return manifest.model_copy(update={"artifact": artifact, "golden": golden})

    def settings(self, endpoint: str, **options: Any) -> DeploySettings:
        """Options that deploy to the production account."""
        return DeploySettings(
            endpoint=endpoint,
            artifacts=f"s3://{PRODUCTION}/models",
            role=EXECUTION_ROLE,
            aws=CopySettings(destination=AwsSettings(role_arn=DEPLOY_ROLE)),
            **{"timeout": 120, **options},
        )


@pytest.fixture
def deployer(
    accounts: Accounts, on_stand_in: str, agent: JobAgent, monkeypatch: pytest.MonkeyPatch
) -> Deployer:
    """Two accounts on the stand-in, and the variables of a job that a person let through."""
    assert on_stand_in
    monkeypatch.setenv("BUILDKITE_ORGANIZATION_SLUG", "acme")
    monkeypatch.setenv("BUILDKITE_PIPELINE_SLUG", PIPELINE)
    monkeypatch.setenv("BUILDKITE_BUILD_NUMBER", "1")
    monkeypatch.setenv("BUILDKITE_BUILD_ID", "0190-1")
    monkeypatch.setenv("BUILDKITE_BUILD_URL", "https://buildkite.example/acme/comments/builds/1")
    monkeypatch.setenv("BUILDKITE_COMMIT", "c" * 40)
    monkeypatch.setenv("BUILDKITE_BRANCH", "main")
    monkeypatch.setenv("BUILDKITE_UNBLOCKER", "Grace Hopper")
    monkeypatch.setenv("BUILDKITE_UNBLOCKER_EMAIL", "grace@example.org")
    return Deployer(accounts, agent, monkeypatch)
