"""How long the steps of a flow ran, and on what."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from modelbuild.aws.instance import this_instance
from modelbuild.contract import StepInstance, StepRun

# The program of a task imports the flow first, so this is close to its start.
_STARTED = time.monotonic()

_RESOURCES = "batch_resources"


def set_resources(step: Callable[..., None], size: Mapping[str, int]) -> None:
    """Note on a step what its Batch job asks for: ``cpu``, ``memory`` in MiB and ``gpu``."""
    setattr(step, _RESOURCES, {name: size[name] for name in ("cpu", "memory", "gpu")})


def resources(flow: type) -> dict[str, dict[str, int]]:
    """What the Batch job of each step asks for, by the step's name; other steps have none."""
    # A Config of Metaflow answers with something for each attribute.
    found = ((name, getattr(getattr(flow, name), _RESOURCES, None)) for name in dir(flow))
    return {name: size for name, size in found if isinstance(size, dict)}


def run_until_now(flow: type, step: str, task: str) -> StepRun:
    """The task of this process, as if it ended now."""
    size = getattr(getattr(flow, step), _RESOURCES, {})
    seconds = round(time.monotonic() - _STARTED, 3)
    # A step without a size runs in the head's job, whose instance other heads share.
    found = this_instance() if size else None
    instance = StepInstance(**asdict(found)) if found is not None else None
    return StepRun(step=step, task=task, seconds=seconds, instance=instance, **size)


def merged(branches: Iterable[Any]) -> list[dict[str, Any]]:
    """The tasks that the branches of a flow have kept, each once, in the order of the branches."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for branch in branches:
        for run in getattr(branch, "step_runs", []):
            found.setdefault((run["step"], run["task"]), run)
    return [*found.values()]
