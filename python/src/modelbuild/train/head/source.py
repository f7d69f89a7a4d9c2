"""Unpacks the files of the commit for a job on Batch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from modelbuild.contract import TrainingRequest
from modelbuild.errors import ConfigurationError
from modelbuild.store.model import ModelStore
from modelbuild.train.commit import source


def unpack(store: ModelStore, request: TrainingRequest, destination: Path) -> Path:
    """The flow's file among the unpacked files of the commit.

    Raises:
        ConfigurationError: the archive was changed, or has no such flow.
        AwsError: S3 refused.
    """
    archived = store.objects.read(request.source.path)
    digest = hashlib.sha256(archived).hexdigest()
    if digest != request.source.sha256:
        raise ConfigurationError(
            f"{request.source.path} has SHA-256 {digest}, but {request.source.sha256} was asked for: the "
            "archive was changed after the request"
        )
    source.extract(archived, destination)
    flow = destination / request.flow
    if not flow.is_file() or not flow.resolve().is_relative_to(destination.resolve()):
        raise ConfigurationError(f"the commit has no flow {request.flow}: correct option flow")
    return flow
