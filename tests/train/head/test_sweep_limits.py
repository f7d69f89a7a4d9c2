"""The requests of the largest sweep to Batch, beside Batch's quotas.

Source: https://docs.aws.amazon.com/batch/latest/userguide/service_limits.html
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from memory import MemoryObjects
from modelbuild.aws.batch.jobs import OVERRIDES_LIMIT, Batch
from modelbuild.contract import Candidate, CandidateTask, HeadEnvironment, Sweep
from modelbuild.contract.sweep import MAXIMUM_CANDIDATES
from modelbuild.errors import ConfigurationError
from modelbuild.settings.train import TrainSettings
from modelbuild.store.model import ModelStore
from modelbuild.sweep.workers import Workers
from modelbuild.train.head.sweep import SweepHead
from modelbuild.train.head.watch import Watch
from modelbuild.train.submit import submission
from samples import request_for

ARRAY_SIZE, PAYLOAD_BYTES, DEFINITION_BYTES, DESCRIBED, TAGS = 10_000, 30 << 10, 24 << 10, 100, 50
IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/" + "image/" * 30 + "default@sha256:" + "0" * 64
HEAD_DEFINITION = {
    "jobDefinitionName": "modelbuild-head",
    "revision": 1,
    "type": "container",
    "containerProperties": {
        "image": "stack",
        "environment": [{"name": f"METAFLOW_{number}", "value": "x" * 100} for number in range(100)],
        "secrets": [{"name": "BUILDKITE_API_TOKEN", "valueFrom": "arn"}],
    },
}


class Enough(Exception):
    """Both jobs were submitted."""


class BatchClient:
    """Batch as botocore's client has it: keeps requests, and each job has failed when it is looked at."""

    meta = SimpleNamespace(region_name="eu-central-1")

    def __init__(self) -> None:
        self.submitted: list[dict[str, Any]] = []
        self.registered: list[dict[str, Any]] = []
        self.described: list[list[str]] = []

    def get_paginator(self, name: str) -> Any:
        """Only the stack's definition is there."""
        assert name == "describe_job_definitions"

        def paginate(**asked: str) -> list[Any]:
            is_head = asked["jobDefinitionName"] == "modelbuild-head"
            return [{"jobDefinitions": [HEAD_DEFINITION] if is_head else []}]

        return SimpleNamespace(paginate=paginate)

    def register_job_definition(self, **definition: Any) -> dict[str, str]:
        """Keep a definition."""
        self.registered.append(definition)
        return {"jobDefinitionArn": f"arn:aws:batch:eu-central-1:123456789012:{'x' * 100}"}

    def submit_job(self, **job: Any) -> dict[str, str]:
        """Keep a job."""
        self.submitted.append(job)
        return {"jobId": "0" * 36}

    def describe_jobs(self, jobs: list[str]) -> dict[str, Any]:
        """Jobs whose children have trained nothing."""
        self.described.append(jobs)
        if len(self.submitted) == 2:
            raise Enough
        return {"jobs": [{"jobId": job_id, "status": "FAILED"} for job_id in jobs]}


@pytest.fixture
def client() -> BatchClient:
    """A client of Batch."""
    return BatchClient()


def largest_workers(client: BatchClient) -> Workers:
    """The workers of a sweep with the longest names, variables and tags that the train step accepts."""
    batch = Batch(cast(Any, SimpleNamespace(client=lambda *_, **__: client)))
    prefix = f"s3://{'b' * 63}/models/{'p' * 90}/{'m' * 60}/999999999"
    images = {"default": IMAGE, "train-gpu": IMAGE, "serve": IMAGE}
    request = request_for(prefix, images=images, sweep=largest_sweep())
    settings = largest_settings()
    variables = submission.variables(request, settings)
    batch.submit(
        "head",
        queue="q",
        definition="d",
        command=submission.COMMAND,
        environment=variables,
        timeout=60,
        tags={},
    )
    client.submitted.clear()
    stack = {"AWS_BATCH_JQ_NAME": "modelbuild-head", "METAFLOW_USER": "modelbuild"}
    own = HeadEnvironment.read({**variables, **stack, "METAFLOW_BATCH_JOB_QUEUE": "modelbuild-default"})
    store = ModelStore(MemoryObjects(), prefix)
    head = SweepHead(own, {**variables, **stack}, store, batch, None, Watch(None, None))
    return head._workers(request, {"train": {"cpu": 4, "memory": 15_360, "gpu": 0}})


def largest_sweep() -> Sweep:
    """A sweep with all candidates that there can be, and as many at the same time as there can be."""
    space = {"training.rate": {"minimum": 0.0, "maximum": 1.0}}
    sweep = {
        "method": "random",
        "candidates": MAXIMUM_CANDIDATES,
        "limit": MAXIMUM_CANDIDATES,
        "space": space,
    }
    return Sweep.model_validate({**sweep, "max-parallel": 1000})


def largest_settings() -> TrainSettings:
    """Options with as long a variable as the train step accepts."""
    images = dict.fromkeys(("default", "train-gpu", "serve"), IMAGE)
    options = {
        "flow": "flows/flow.py",
        "artifacts": "s3://bucket/models",
        "unblock": "training",
        "image": images,
        "timeout": 3600,
    }
    for size in range(OVERRIDES_LIMIT, 0, -50):
        settings = TrainSettings.model_validate({**options, "environment": {"WORDS": "x" * size}})
        try:
            submission.require_fitting_steps(settings)
        except ConfigurationError:
            continue
        return settings
    raise AssertionError("no variable is accepted")


def test_the_largest_sweep_is_within_the_quotas_of_batch(client: BatchClient) -> None:
    """However many candidates there are, Batch takes the jobs, and those that try once more."""
    workers = largest_workers(client)
    candidates = (Candidate(number=number, values={}) for number in range(1, MAXIMUM_CANDIDATES + 1))
    tasks = [CandidateTask(candidate=candidate, stage="search") for candidate in candidates]
    with pytest.raises(Enough):
        workers.train("round-1-rung-1", tasks)
    for job in client.submitted:
        assert 2 <= job["arrayProperties"]["size"] <= ARRAY_SIZE
        assert len(json.dumps(job["containerOverrides"]).encode()) <= OVERRIDES_LIMIT
        assert len(json.dumps(job).encode()) <= PAYLOAD_BYTES
        assert len(job["jobName"]) <= 128
        assert job["jobName"].endswith("-round-1-rung-1")
        assert job["timeout"] == {"attemptDurationSeconds": 3600}
        assert len(job["tags"]) <= TAGS
    assert {len(jobs) for jobs in client.described} <= {*range(1, DESCRIBED + 1)}


def test_the_definition_of_workers_is_within_the_quota(client: BatchClient) -> None:
    """It is the head's without secrets, with the longest image, so nothing of a sweep makes it larger."""
    largest_workers(client)
    (definition,) = client.registered
    assert "secrets" not in definition["containerProperties"]
    assert len(json.dumps(definition).encode()) <= DEFINITION_BYTES
