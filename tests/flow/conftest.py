from __future__ import annotations

import uuid

import boto3
import pytest

import samples
import standins
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.contract import ClassScores, Evaluation, Scores, TrainingRequest
from modelbuild.settings import AwsSettings


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
    return f"s3://{standins.BUCKET}/models/{uuid.uuid4().hex}/comments/12"


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
    return Evaluation(
        dataset_sha256="1" * 64,
        overall=Scores(rows=4, accuracy=0.75, macro_f1=0.7),
        by_class={"positive": ClassScores(rows=4, precision=0.5, recall=0.6, f1=0.55)},
        by_domain={"tweets": Scores(rows=4, accuracy=0.75, macro_f1=0.7)},
        baselines={"vader": Scores(rows=4, accuracy=0.5, macro_f1=0.4)},
    )
