"""Has W&B tell people that a training failed, while the head delivers the result."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from modelbuild import log
from modelbuild.contract import TrainingResult

_PROGRAM = "modelbuild.flow.tracking.failure"
_SECRET = "WANDB_SECRET_ARN"
# More than W&B may take to begin and to end a run.
_SECONDS = 60.0


@contextmanager
def of_failure(result: TrainingResult, variables: Mapping[str, str]) -> Iterator[None]:
    """Send an alert during the block if the training failed; the end of the block waits for it a minute.

    Args:
        result: how the training ended.
        variables: of the head's job; without ``WANDB_SECRET_ARN`` nothing is sent.
    """
    if result.status != "failed" or not variables.get(_SECRET):
        yield
        return
    command = [sys.executable, "-m", _PROGRAM, result.reason]
    with subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL) as process:
        try:
            yield
            process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            log.info(f"head: W&B took no alert within {_SECONDS:.0f} seconds")
        finally:
            process.kill()
