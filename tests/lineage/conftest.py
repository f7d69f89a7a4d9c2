from __future__ import annotations

import boto3
import pytest

import standins
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.settings import AwsSettings

MODEL = standins.ROOT / "tests" / "data" / "model-12"


@pytest.fixture
def lake(on_stand_in: str) -> Storage:
    """The data lake's S3, where the pipeline "comments" has model 12 and no other."""
    assert on_stand_in
    boto3.resource("s3").Bucket(standins.BUCKET).objects.filter(Prefix="models/comments/").delete()
    storage = Storage(session(AwsSettings()))
    for file in MODEL.iterdir():
        storage.write(f"s3://{standins.BUCKET}/models/comments/12/{file.name}", file.read_bytes())
    return storage
