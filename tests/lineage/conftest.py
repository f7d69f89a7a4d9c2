from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.settings import AwsSettings

BUCKET = "modelbuild-123456789012"
MODEL = Path(__file__).parents[1] / "data" / "model-12"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Where an S3 of this machine answers."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def lake(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """The data lake's S3, which holds the files of model 12 of the pipeline "comments" and no more."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    bucket = boto3.resource("s3").create_bucket(Bucket=BUCKET)
    bucket.objects.delete()
    storage = Storage(session(AwsSettings()))
    for file in MODEL.iterdir():
        storage.write(f"s3://{BUCKET}/models/comments/12/{file.name}", file.read_bytes())
    return storage
