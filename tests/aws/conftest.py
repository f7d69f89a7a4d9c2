from __future__ import annotations

import itertools

import boto3
import pytest


@pytest.fixture
def cloud(on_stand_in: str) -> str:
    """AWS as the environment has it, with the credentials of account 123456789012; its address."""
    return on_stand_in


_counter = itertools.count()


@pytest.fixture
def bucket(cloud: str) -> str:
    """``s3://`` and the name of an empty bucket."""
    name = f"bucket-{next(_counter)}"
    boto3.client("s3", endpoint_url=cloud).create_bucket(Bucket=name)
    return f"s3://{name}"
