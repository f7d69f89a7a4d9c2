"""The Batch resources of an account that trainings use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelbuild.aws.failures import translated

if TYPE_CHECKING:
    import boto3


@dataclass(frozen=True)
class Compute:
    """A compute environment; ``vcpus`` is its maximum, or None if Batch does not manage the environment.

    Attributes:
        instance_types: types, such as m5.large, or families of EC2 instances that it may start.
        spot: whether these are spot instances.
    """

    name: str
    state: str
    status: str
    reason: str
    vcpus: int | None
    instance_types: tuple[str, ...] = ()
    spot: bool = False


@dataclass(frozen=True)
class Queue:
    """A job queue: its state, its status, and its compute environments."""

    state: str
    status: str
    reason: str
    computes: tuple[Compute, ...]


@dataclass(frozen=True)
class JobDefinition:
    """The newest active revision of a job definition; a field that it does not set is empty."""

    arn: str
    job_role: str
    execution_role: str
    environment: Mapping[str, str]
    secrets: Mapping[str, str]
    vcpus: float
    log_group: str


class Account:
    """The Batch resources that one identity can see. Every method raises ``AwsError`` when AWS refuses."""

    def __init__(self, session: boto3.Session) -> None:
        with translated("set up a client for Batch"):
            self._batch: Any = session.client("batch")
        self.region: str = self._batch.meta.region_name

    def queue(self, name: str) -> Queue | None:
        """The job queue of this name, or None."""
        with translated(f"look at queue {name}"):
            found = self._batch.describe_job_queues(jobQueues=[name])["jobQueues"]
        if not found:
            return None
        order = sorted(found[0].get("computeEnvironmentOrder", []), key=lambda entry: entry["order"])
        return Queue(
            found[0]["state"],
            found[0].get("status", ""),
            found[0].get("statusReason", ""),
            self._computes([entry["computeEnvironment"] for entry in order]),
        )

    def _computes(self, names: list[str]) -> tuple[Compute, ...]:
        if not names:
            return ()
        with translated(f"look at compute environment {names[0].rpartition('/')[2]}"):
            found = self._batch.describe_compute_environments(computeEnvironments=names)
        return tuple(
            Compute(
                one["computeEnvironmentName"],
                one.get("state", "ENABLED"),
                one.get("status", ""),
                one.get("statusReason", ""),
                one.get("computeResources", {}).get("maxvCpus"),
                tuple(one.get("computeResources", {}).get("instanceTypes", [])),
                one.get("computeResources", {}).get("type") == "SPOT",
            )
            for one in found["computeEnvironments"]
        )

    def definition(self, name: str) -> JobDefinition | None:
        """The newest active job definition of this name, or None."""
        with translated(f"look for job definition {name}"):
            pages = self._batch.get_paginator("describe_job_definitions").paginate(
                jobDefinitionName=name, status="ACTIVE"
            )
            revisions = [found for page in pages for found in page["jobDefinitions"]]
        if not revisions:
            return None
        newest = max(revisions, key=lambda found: int(found["revision"]))
        container = newest.get("containerProperties", {})
        sizes = {entry["type"]: entry["value"] for entry in container.get("resourceRequirements", [])}
        return JobDefinition(
            arn=newest["jobDefinitionArn"],
            job_role=container.get("jobRoleArn") or "",
            execution_role=container.get("executionRoleArn") or "",
            environment={entry["name"]: entry["value"] for entry in container.get("environment", [])},
            secrets={entry["name"]: entry["valueFrom"] for entry in container.get("secrets", [])},
            vcpus=float(sizes.get("VCPU") or container.get("vcpus") or 1),
            log_group=container.get("logConfiguration", {}).get("options", {}).get("awslogs-group", ""),
        )
