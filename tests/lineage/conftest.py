from __future__ import annotations

import boto3
import pytest

import standins
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.settings import AwsSettings

PRODUCTION = "s3://modelbuild-222222222222/models"
MODEL = standins.ROOT / "tests" / "data" / "model-12"


@pytest.fixture
def lake(on_stand_in: str) -> Storage:
    """The data lake's S3, where the pipeline "comments" has model 12 and no other. It is production, too."""
    assert on_stand_in
    for folder in ("comments", "production"):
        boto3.resource("s3").Bucket(standins.BUCKET).objects.filter(Prefix=f"models/{folder}/").delete()
    storage = Storage(session(AwsSettings()))
    for file in MODEL.iterdir():
        text = file.read_text().replace(PRODUCTION, f"s3://{standins.BUCKET}/models/production")
        storage.write(f"s3://{standins.BUCKET}/models/comments/sentiment/12/{file.name}", text.encode())
    return storage
