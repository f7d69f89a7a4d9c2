"""Running the flow to its end: from its beginning, or from the last good step of an earlier run.

Metaflow's own ``resume`` keeps what finished steps left and runs the rest. A retried training resumes, and
so does a head that Batch starts anew after its host went away, and a head whose steps lost their hosts.
Metaflow's job definitions cannot retry for that reason alone, and its ``@retry`` would also repeat a step
that failed for a reason of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from modelbuild import log
from modelbuild.aws.batch.jobs import Batch
from modelbuild.contract import HeadEnvironment
from modelbuild.errors import AwsError
from modelbuild.store.attempts import Run
from modelbuild.store.model import ModelStore
from modelbuild.train.head import runs

Start = Callable[[Run | None, Callable[[], None]], tuple[int, list[str]]]
"""Runs the flow once, from a run or its beginning, and calls a function at each line; returns its exit code
and last lines.
"""

# As often as Batch may start a head.
_RUNS = 3


@dataclass(frozen=True)
class RunContext:
    """One attempt: where its runs are written down, and the file that Metaflow names its run in."""

    store: ModelStore
    batch: Batch
    head: HeadEnvironment
    attributes: Path


def run_to_end(start: Start, context: RunContext) -> tuple[int, list[str]]:
    """Run the flow, again after a lost host, at most three times; returns its exit code and last lines.

    Raises:
        AwsError: S3 or Batch refused, or what an earlier run left does not end.
    """
    origin = runs.newest_run(context.store, context.head.attempt)
    if origin is not None:
        for job_id in runs.end_steps(context.batch, context.head, origin):
            log.info(f"head: job {job_id} of an earlier run was still there and is terminated")
        log.info(f"head: resuming run {origin.run_id}")
    for left in reversed(range(_RUNS)):
        recorder = _RunRecorder(context)
        code, lines = start(origin, recorder)
        recorder()
        if code == 0 or left == 0 or recorder.run is None:
            break
        if not runs.lost_hosts(context.batch, context.head, recorder.run):
            break
        origin = recorder.run
        log.info(f"head: run {origin.run_id} lost a host, and nothing else failed: resuming it")
    return code, lines


def container_reason(context: RunContext) -> str:
    """Why Batch ended the container of a step of the last run, or could not start it; empty if it did not.

    Metaflow reports about such a step only that it left nothing behind.
    """
    try:
        run = Run.model_validate_json(context.attributes.read_bytes())
        return runs.container_ended(context.batch, context.head, run)
    except (FileNotFoundError, ValidationError, AwsError):
        return ""


class _RunRecorder:
    """Writes a run down once Metaflow has stored what it takes to resume it."""

    def __init__(self, context: RunContext) -> None:
        self.run: Run | None = None
        self._context = context
        context.attributes.unlink(missing_ok=True)

    def __call__(self) -> None:
        if self.run is None:
            try:
                self.run = Run.model_validate_json(self._context.attributes.read_bytes())
            except (FileNotFoundError, ValidationError):  # not there yet, or not all of it
                return
            runs.record_run(self._context.store.attempt(self._context.head.attempt), self.run)
