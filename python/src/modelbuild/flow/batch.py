"""Where a step runs: on AWS Batch for a build, in this process for a flow on its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from metaflow import batch, environment  # type: ignore[attr-defined]
from metaflow import secrets as with_secrets  # type: ignore[attr-defined]

from modelbuild.contract import STEP_VARIABLES
from modelbuild.errors import ConfigurationError

Step = TypeVar("Step", bound=Callable[..., None])

GPU_QUEUE = "GPU_JOB_QUEUE"
GPU_IMAGE = "TRAIN_GPU_IMAGE"

# A step's job gets no variables of the head but these and those that STEP_VARIABLES names. Metaflow reads
# the flow again in the job, and its decorators must come out the same there, so what they read is passed
# on as well.
_PASSED_ON = (
    "MODEL_ID",
    "ARTIFACTS",
    "UNBLOCK_STEP",
    "BUILDKITE_API_URL",
    "BUILDKITE_SECRET_ARN",
    "WANDB_BASE_URL",
    "WANDB_SECRET_ARN",
    GPU_QUEUE,
    GPU_IMAGE,
    STEP_VARIABLES,
)


def on_batch(*, cpu: int, memory: int, gpu: int = 0, secrets: Sequence[str] = ()) -> Callable[[Step], Step]:
    """A decorator for Metaflow steps: run this step as a job on AWS Batch when it belongs to a build.

    It belongs to one when ``MODEL_ID`` is set; a flow on its own keeps the step as it is.

    Args:
        cpu: vCPUs.
        memory: MiB.
        gpu: GPUs; with one or more, the step runs on the queue ``GPU_JOB_QUEUE`` in ``TRAIN_GPU_IMAGE``.
        secrets: names of environment variables that hold ARNs of secrets in Secrets Manager; the step
            finds the keys of each secret's JSON object as variables.
    """

    def decorate(step: Step) -> Step:
        if "MODEL_ID" not in os.environ:
            return step
        names = (*_PASSED_ON, *os.environ.get(STEP_VARIABLES, "").split())
        passed = {name: os.environ[name] for name in names if name in os.environ}
        decorated = environment(vars=passed)(step)
        if secrets:
            sources = [{"type": "aws-secrets-manager", "id": _required(name)} for name in secrets]
            decorated = with_secrets(sources=sources)(decorated)
        place = {"gpu": gpu, "image": _required(GPU_IMAGE), "queue": _required(GPU_QUEUE)} if gpu else {}
        on: Step = batch(cpu=cpu, memory=memory, **place)(decorated)
        return on

    return decorate


def _required(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ConfigurationError(
            f"{name} is not set; the job definition or the build must set it for steps on AWS Batch."
        )
    return value
