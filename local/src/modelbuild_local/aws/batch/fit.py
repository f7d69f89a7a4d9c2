"""Checks whether a machine of a compute environment is large enough for a job, with Batch's reasons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPES

from modelbuild_local.aws.batch.container import Container

MAX_RESOURCE = (
    "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - CE(s) associated with the job queue cannot meet the "
    "CPU requirement of the job."
)
RESOURCE_REQUIREMENT = (
    "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - The job resource requirement (vCPU/memory/GPU) is higher "
    "than that can be met by the CE(s) attached to the job queue."
)
NO_CAPACITY = (
    "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - Service cannot fulfill the capacity requested for instance "
    "type [m5.xlarge]"
)
_OPTIMAL = ("c4", "m4", "r4")


def unfit_reason(resources: Mapping[str, Any], container: Container) -> str:
    """The reason why a job waits for ever; empty if an instance type of ``resources`` is large enough."""
    if container.vcpus > float(resources.get("maxvCpus") or "inf"):
        return MAX_RESOURCE
    machines = list(_machines(resources.get("instanceTypes") or []))
    return RESOURCE_REQUIREMENT if machines and not any(_fits(one, container) for one in machines) else ""


def _machines(names: list[str]) -> Iterator[Mapping[str, Any]]:
    """The instance types of a compute environment's names, which may be types, families, or ``optimal``."""
    families = {family for name in names for family in (_OPTIMAL if name == "optimal" else (name,))}
    for name, described in INSTANCE_TYPES.items():
        if name in families or name.split(".")[0] in families:
            yield described


def _fits(machine: Mapping[str, Any], container: Container) -> bool:
    gpus = sum(kind["Count"] for kind in machine.get("GpuInfo", {}).get("Gpus", []))
    return bool(
        container.vcpus <= machine["VCpuInfo"]["DefaultVCpus"]
        # The operating system uses some of a machine's memory.
        and int(container.requirements["MEMORY"]) < machine["MemoryInfo"]["SizeInMiB"]
        and container.gpus <= gpus
    )
