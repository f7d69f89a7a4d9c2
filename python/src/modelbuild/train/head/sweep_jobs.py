"""The jobs that train the candidates of a sweep: how large they are, their names and variables."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from modelbuild import log
from modelbuild.contract import (
    ATTEMPT,
    STEP_RESOURCES,
    STEP_VARIABLES,
    WANDB_ENTITY,
    HeadEnvironment,
    TrainingRequest,
    sha256_of,
    shortened,
)
from modelbuild.errors import TrainingFailed
from modelbuild.store.attempts import Run

COMMAND = ("python", "-m", "modelbuild", "sweep-worker")
DEFINITION = "modelbuild-sweep"
"""What the names of the workers' job definitions begin with, for the policy of the head's role."""

# What a child with several candidates asks for at most: what fits on a machine of 4 vCPUs and 16 GiB.
_CHILD_VCPUS, _CHILD_MEMORY = 4, 15_360
_DEFAULT_SIZE = {"cpu": 1, "memory": 2048, "gpu": 0}
_DESCRIBE_SECONDS = 300
# Batch takes names of 128 characters.
_NAME_CHARACTERS, _HASH_CHARACTERS = 60, 16


def run_of(request: TrainingRequest) -> Run:
    """What the names of the workers' jobs begin with, as the names of the jobs of a flow's run do.

    They end with a hash of the prefix of the sweep: without it, the jobs of model ``mail-5`` would also be
    found by the beginning of those of build 5 of model ``mail``.
    """
    name = f"{request.build.pipeline}-{request.model}-{request.model_id}"
    digest = sha256_of(request.artifacts.encode())[:_HASH_CHARACTERS]
    readable = shortened(re.sub(r"[^A-Za-z0-9_-]", "_", name), _NAME_CHARACTERS)
    return Run(flow_name="sweep", run_id=f"{readable}-{digest}")


def sizes(flow: Path, variables: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """What the job of each step of the flow asks for.

    Raises:
        TrainingFailed: the flow cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="modelbuild-") as scratch:
        # A file, because the modules of the flow may print.
        answer = Path(scratch) / "sizes.json"
        try:
            done = subprocess.run(
                [sys.executable, "-m", "modelbuild.flow.sweep.load", flow.name, str(answer)],
                cwd=flow.parent,
                env=dict(variables),
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
                timeout=_DESCRIBE_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise TrainingFailed(
                f"the flow cannot be read: {flow.name} was not imported in {_DESCRIBE_SECONDS:g} seconds; "
                "move slow work into a step"
            ) from error
        if done.returncode != 0:
            log.lines(done.stderr)
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise TrainingFailed(f"the flow cannot be read: {last[:500]}")
        if not answer.exists():
            raise TrainingFailed(
                f"the flow cannot be read: {flow.name}, or a module that it imports, ends Python when it is "
                "imported; do so only if __name__ is '__main__'"
            )
        found: dict[str, dict[str, int]] = json.loads(answer.read_text(encoding="utf-8"))
    return found


def candidate_size(sizes: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """``cpu``, ``memory`` in MiB and ``gpu`` of a candidate, which is as large as its largest step.

    Args:
        sizes: what the job of each step asks for.
    """
    return {
        kind: max((one[kind] for one in sizes.values()), default=default)
        for kind, default in _DEFAULT_SIZE.items()
    }


def share_out(size: Mapping[str, int], most: int) -> tuple[int, int]:
    """How many children an array job has, and how many candidates each trains at the same time.

    Args:
        size: that of a candidate.
        most: how many candidates are trained at the same time at most.
    """
    fitting = 1 if size["gpu"] else min(_CHILD_VCPUS // size["cpu"], _CHILD_MEMORY // size["memory"])
    children = -(-most // max(1, fitting))
    return children, most // children


def environment(
    own: HeadEnvironment, variables: Mapping[str, str], request: TrainingRequest, cpus: int
) -> dict[str, str]:
    """The variables of the workers, beside those of their definition.

    Args:
        own: the head's variables.
        variables: those of the flow's processes.
        request: the request of the sweep.
        cpus: the vCPUs of a candidate.
    """
    found = {
        # By default libraries take all processors of the machine, which several candidates share.
        "OMP_NUM_THREADS": str(cpus),
        "OPENBLAS_NUM_THREADS": str(cpus),
        **{name: variables[name] for name in own.variables.split() if name in variables},
        STEP_VARIABLES: own.variables,
        STEP_RESOURCES: own.resources,
        WANDB_ENTITY: own.wandb_entity,
        ATTEMPT: str(own.attempt),
        "MODEL_ID": request.model_id,
        "ARTIFACTS": request.artifacts,
        "TRAIN_GPU_IMAGE": request.images.train_gpu,
    }
    return {name: value for name, value in found.items() if value}
