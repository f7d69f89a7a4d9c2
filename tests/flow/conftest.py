from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from pydantic import JsonValue

from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.contract import (
    Build,
    ClassScores,
    Evaluation,
    Images,
    Scores,
    Source,
    TrainingRequest,
    sha256_of_json,
)
from modelbuild.settings import AwsSettings

REPOSITORY = Path(__file__).parents[2]
BUCKET = "modelbuild-123456789012"


@pytest.fixture(scope="session")
def aws_variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables of a client of the AWS stand-in, with a lake's bucket, database and workgroup."""
    command = [sys.executable, "-m", "modelbuild.local.aws", "--port", "0"]
    command += ["--scratch", str(tmp_path_factory.mktemp("aws")), "--images", str(REPOSITORY / "docker")]
    command += ["--bin", str(Path(sys.executable).parent)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        variables = {
            "AWS_ENDPOINT_URL": json.loads(server.stdout.readline())["url"],
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            boto3.client("s3").create_bucket(Bucket=BUCKET)
            boto3.client("glue").create_database(DatabaseInput={"Name": "modelbuild"})
            boto3.client("athena").create_work_group(
                Name="modelbuild",
                Configuration={"ResultConfiguration": {"OutputLocation": f"s3://{BUCKET}/athena/"}},
            )
        yield variables
    finally:
        server.stdin.close()
        try:
            server.wait(15)
        finally:
            server.kill()


@pytest.fixture
def aws(aws_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> boto3.Session:
    """A session with the stand-in, as the product makes it from its environment."""
    for name, value in aws_variables.items():
        monkeypatch.setenv(name, value)
    return session(AwsSettings())


@pytest.fixture
def storage(aws: boto3.Session) -> Storage:
    """S3 of the stand-in."""
    return Storage(aws)


@pytest.fixture
def artifacts(request: pytest.FixtureRequest) -> str:
    """A prefix that no other test uses."""
    return f"s3://{BUCKET}/models/comments/{abs(hash(request.node.nodeid))}"


@pytest.fixture
def asked(artifacts: str) -> TrainingRequest:
    """A request for model 12 of the pipeline "comments"."""
    parameters: dict[str, JsonValue] = {"seed": 1}
    return TrainingRequest(
        model_id="12",
        build=Build(
            organization="local",
            pipeline="comments",
            number=12,
            id="0198",
            url="https://buildkite.example/local/comments/builds/12",
            commit="c" * 40,
            branch="main",
            message="Another seed",
            creator="Ada",
        ),
        source=Source(path=f"{artifacts}/source.tar.gz", sha256="0" * 64),
        flow="flows/sentiment/flow.py",
        parameters=parameters,
        parameters_sha256=sha256_of_json(parameters),
        artifacts=artifacts,
        unblock="training_finished",
        images=Images(default="default:1", train_gpu="train-gpu:1", serve="serve:1"),
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
