"""The variables with which the process of a job runs in place of a container."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from modelbuild_local.aws import images, process
from modelbuild_local.aws.access import control
from modelbuild_local.aws.batch import container
from modelbuild_local.aws.batch.capacity import Share

if TYPE_CHECKING:
    from modelbuild_local.aws.batch.job import Job


def variables(
    job: Job, number: int, compute_environment: str, image: images.Image, share: Share, folder: Path
) -> dict[str, str]:
    """The environment of the process; later values override earlier ones.

    Batch and the ECS agent set no region. In addition to their variables, the process has the stand-in's
    address, and variables in place of a container's own file system, network and devices.

    Args:
        job: the job, or the child of an array job.
        number: the number of the attempt, from 1.
        compute_environment: the name of the compute environment.
        image: the image of its container.
        share: the vCPUs and GPUs that the attempt has.
        folder: the folder of the attempt.
    """
    settings = job.machines.settings
    account, region = job.backend.account_id, job.backend.region_name
    role = job.container.role
    variables = {
        **process.host_environment(settings),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        **image.environment,
        **job.container.environment,
        **container.secrets_of(job.container, account, region),
        "AWS_BATCH_JOB_ID": job.job_id,
        "AWS_BATCH_JOB_ATTEMPT": str(number),
        "AWS_BATCH_CE_NAME": compute_environment,
        "AWS_BATCH_JQ_NAME": job.job_queue.name,
        "AWS_EXECUTION_ENV": "AWS_ECS_EC2",
        "AWS_ENDPOINT_URL": settings.url,
        "CUDA_VISIBLE_DEVICES": ",".join(str(gpu) for gpu in share.gpus),
    }
    if role:
        variables |= control.for_container(role, job.job_id[:32], region, settings.url)
    else:  # a job must not use the keys of a developer's machine in the cloud
        variables["AWS_EC2_METADATA_DISABLED"] = "true"
    if job.parent:
        variables["AWS_BATCH_JOB_ARRAY_INDEX"] = str(job.array_properties["index"])
        variables["AWS_BATCH_JOB_ARRAY_SIZE"] = str(len(job.parent.children))
    if any(name.startswith("METAFLOW_") for name in variables):  # a step, or a head whose steps come later
        job.machines.bytecode.prepare()
    package = variables.get("METAFLOW_CODE_SHA", "")
    if re.fullmatch("[0-9a-f]+", package):
        cache = job.machines.bytecode.cache(package, folder / "work")
        variables.setdefault("PYTHONPYCACHEPREFIX", str(cache))
    return variables
