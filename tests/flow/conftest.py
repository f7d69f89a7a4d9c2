from __future__ import annotations

import uuid

import boto3
import pytest

import samples
import standins
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.contract import Evaluation, Quality, TrainingRequest
from modelbuild.flow import classification
from modelbuild.settings import AwsSettings
from modelbuild.store.model import ModelStore


@pytest.fixture
def aws_variables(on_stand_in: str) -> dict[str, str]:
    """The variables of a client of the AWS stand-in, with the lake's bucket, database and workgroup."""
    return standins.variables(on_stand_in)


@pytest.fixture
def aws(on_stand_in: str) -> boto3.Session:
    """A session with the stand-in, as the product makes it from its environment."""
    assert on_stand_in
    return session(AwsSettings())


@pytest.fixture
def storage(aws: boto3.Session) -> Storage:
    """S3 of the stand-in."""
    return Storage(aws)


@pytest.fixture
def artifacts() -> str:
    """A prefix that no other test uses."""
    return f"s3://{standins.BUCKET}/models/{uuid.uuid4().hex}/comments/sentiment/12"


@pytest.fixture
def store(storage: Storage, artifacts: str) -> ModelStore:
    """The files of a model, below that prefix."""
    return ModelStore(storage, artifacts)


@pytest.fixture
def asked(artifacts: str) -> TrainingRequest:
    """A request for model 12 of the pipeline "comments"."""
    parameters = {"seed": 1}
    return samples.request_for(
        artifacts, model_id="12", build=samples.build(12, "comments"), parameters=parameters
    )


@pytest.fixture
def evaluation() -> Evaluation:
    """Some figures."""
    good, bad = ({"macro_f1": value, "accuracy": value} for value in (0.75, 0.5))
    return Evaluation(
        dataset_sha256="1" * 64,
        metrics=classification.METRICS,
        primary="macro_f1",
        overall=Quality(rows=4, metrics=good),
        slices={
            "class": {"positive": Quality(rows=4, metrics={"f1": 0.55})},
            "domain": {"tweets": Quality(rows=4, metrics=good)},
        },
        baselines={"vader": Quality(rows=4, metrics=bad)},
    )
