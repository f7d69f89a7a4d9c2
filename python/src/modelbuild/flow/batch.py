"""Runs a step on AWS Batch for a build, and in this process for a flow on its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from metaflow import batch  # type: ignore[attr-defined]
from metaflow import environment as with_variables  # type: ignore[attr-defined]
from metaflow import secrets as with_secrets  # type: ignore[attr-defined]

from modelbuild.contract import ATTEMPT, LOG_GROUP, STEP_RESOURCES, STEP_VARIABLES, WANDB_ENTITY
from modelbuild.errors import ConfigurationError
from modelbuild.flow.process import environment
from modelbuild.flow.process.step_runs import set_resources

Step = TypeVar("Step", bound=Callable[..., None])

GPU_QUEUE = "GPU_JOB_QUEUE"
GPU_IMAGE = "TRAIN_GPU_IMAGE"

# A step's job gets only these variables of the head, and those that STEP_VARIABLES names. Metaflow evaluates
# the decorators again in the job, with the same result, so the variables that they read are among them.
_PASSED_ON = (
    "MODEL_ID",
    "ARTIFACTS",
    "UNBLOCK_STEP",
    "BUILDKITE_API_URL",
    "BUILDKITE_SECRET_ARN",
    "WANDB_BASE_URL",
    "WANDB_SECRET_ARN",
    WANDB_ENTITY,
    "AWS_RETRY_MODE",
    "AWS_MAX_ATTEMPTS",
    GPU_QUEUE,
    GPU_IMAGE,
    STEP_VARIABLES,
    STEP_RESOURCES,
    ATTEMPT,
)


def on_batch(*, cpu: int, memory: int, gpu: int = 0, secrets: Sequence[str] = ()) -> Callable[[Step], Step]:
    """A decorator for Metaflow steps: run this step as a job on AWS Batch when it belongs to a build.

    It belongs to a build if ``MODEL_ID`` is set; in a flow on its own the decorator does nothing. The sizes
    that the build sets in ``STEP_RESOURCES`` override those of the flow.

    Args:
        cpu: vCPUs.
        memory: MiB.
        gpu: GPUs; with one or more, the step runs on the queue ``GPU_JOB_QUEUE`` in ``TRAIN_GPU_IMAGE``.
        secrets: names of environment variables that hold ARNs of secrets in Secrets Manager; the step
            finds the keys of each secret's JSON object as variables.
    """

    def decorate(step: Step) -> Step:
        own = environment.read()
        if own.model_id is None:
            return step
        names = (*_PASSED_ON, *own.variables.split())
        passed = {name: os.environ[name] for name in names if name in os.environ}
        decorated = with_variables(vars=passed)(step)
        if secrets:
            sources = [{"type": "aws-secrets-manager", "id": _required(name)} for name in secrets]
            decorated = with_secrets(sources=sources)(decorated)
        size = {"cpu": cpu, "memory": memory, "gpu": gpu, **own.resources.get(step.__name__, {})}
        log = {"log_driver": "awslogs", "log_options": [f"awslogs-group:{LOG_GROUP}"]}
        set_resources(step, size)
        if size["gpu"]:
            on: Step = batch(**size, **log, image=_required(GPU_IMAGE), queue=_required(GPU_QUEUE))(decorated)
        else:
            on = batch(cpu=size["cpu"], memory=size["memory"], **log)(decorated)
        return on

    return decorate


def check_resources(steps: Collection[str]) -> None:
    """Refuse a size for a step that is not among ``steps``, those of the flow.

    Raises:
        ConfigurationError: there is one.
    """
    for name in sorted(environment.read().resources.keys() - set(steps)):
        raise ConfigurationError(
            f"option resources names step {name}, which the flow does not have: it has {', '.join(steps)}."
        )


def _required(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ConfigurationError(
            f"{name} is not set; the job definition or the build must set it for steps on AWS Batch."
        )
    return value
