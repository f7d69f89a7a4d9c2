"""The record of a deployment."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modelbuild.contract.record import ModelId, ModelName, Record, S3Uri, Sha256, Slug, Text


class Approver(Record):
    """The user who unblocked the deployment, from Buildkite's variables."""

    name: Text
    email: Text


class Deployment(Record):
    """A model behind an endpoint: in the endpoint's history, and beside the copied model and the original."""

    version: Literal[1] = 1
    number: int = Field(default=1, ge=1)
    """The number of the deployment of its endpoint, from 1."""
    model: ModelName
    model_id: ModelId
    pipeline: Slug
    build_url: str
    manifest: S3Uri
    manifest_sha256: Sha256
    model_path: S3Uri
    model_sha256: Sha256
    image: str
    endpoint: str
    endpoint_arn: str
    endpoint_config: str
    model_name: str
    previous_endpoint_config: str
    approver: Approver
    reason: Text = ""
    """The approver's reason, if the block step asked for one."""
    deployed_at: str
