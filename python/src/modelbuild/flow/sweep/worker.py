"""Trains candidates of a sweep in one job of Batch: ``python -m modelbuild.flow.sweep.worker flow.py``.

It runs in the folder of the flow. The first job of a sweep has no candidates: it takes the snapshot. Each
other job is a child of an array job, and trains its share of the candidates that have not ended.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from modelbuild import log
from modelbuild.aws.identity import session
from modelbuild.aws.secrets import secret
from modelbuild.aws.storage import Storage
from modelbuild.contract import CandidateOutcome, CandidateTask, StepRun, WorkerEnvironment
from modelbuild.errors import ConfigurationError, ModelbuildError, variable_error
from modelbuild.flow import snapshot
from modelbuild.flow.base import ModelFlow
from modelbuild.flow.process.step_runs import resources
from modelbuild.flow.sweep import step_secrets
from modelbuild.flow.sweep.candidate import CandidateContext, CandidateTraining
from modelbuild.flow.sweep.load import flow_class
from modelbuild.flow.sweep.pool import run_all
from modelbuild.flow.tracking.run import KEY, load_sdk
from modelbuild.settings import AwsSettings
from modelbuild.store.model import ModelStore
from modelbuild.store.sweep import SweepStore

_REASON_CHARACTERS = 500
_SIZE = ("cpu", "memory", "gpu")


@dataclass(frozen=True)
class Worker:
    """What each process of a worker has in its memory.

    Attributes:
        flow: the user's flow.
        context: what all candidates share; its request and task are replaced for each.
        store: where outcomes are written.
    """

    flow: type[ModelFlow]
    context: CandidateContext
    store: SweepStore

    def train(self, task: CandidateTask) -> None:
        """Train a candidate, and write how it ended."""
        began = time.monotonic()
        values = {**task.candidate.values, **task.changes}
        request = self.context.sweep.candidate(task.candidate.number, values)
        training = CandidateTraining(self.flow, replace(self.context, request=request, task=task))
        try:
            training.run_steps()
            outcome = training.outcome(task, time.monotonic() - began)
            if task.stage == "search":
                manifest = training.manifest(self.store.predictions_uri(task, training.predictions))
                self.store.write_ranked_once(outcome, manifest, training.predictions)
            else:
                self.store.write_outcome_once(outcome)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a failed candidate is a result
            log.lines(traceback.format_exc().rstrip())
            self.store.write_outcome_once(training.failure(task, reason(error), time.monotonic() - began))
            return
        assert outcome.evaluation is not None
        log.info(outcome.evaluation.describe(outcome.evaluation.overall))


def record_death(
    store: SweepStore, sizes: Mapping[str, Mapping[str, int]], task: CandidateTask, cause: str, seconds: float
) -> None:
    """Write that a candidate failed because its process ended.

    Args:
        store: where outcomes are written.
        sizes: what the jobs of the flow's steps ask for; the time counts as that of the largest, because it
            is not known which steps took it.
        task: what was trained.
        cause: how its process ended.
        seconds: how long it ran.
    """
    largest = {kind: max(size[kind] for size in sizes.values()) for kind in _SIZE} if sizes else {}
    run = StepRun(step="unknown", task=task.name, seconds=round(seconds, 3), **largest)
    store.write_outcome_once(
        CandidateOutcome(task=task, status="failed", reason=cause, steps=(run,), seconds=run.seconds)
    )


def reason(error: Exception | SystemExit) -> str:
    """Why a candidate failed, with file and line of the user's code, and without secrets; of the error's own
    text it has at most 500 characters.
    """
    text = log.redact(" ".join(str(error).split()))[:_REASON_CHARACTERS]
    if isinstance(error, ModelbuildError):
        return text
    here = str(Path.cwd().resolve())
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(here)]
    place = f" ({Path(frames[-1].filename).relative_to(here)}, line {frames[-1].lineno})" if frames else ""
    if isinstance(error, SystemExit):
        return f"a step ended Python by sys.exit{place}: return from the step in its place"
    return f"{type(error).__name__}: {text}{place}"


def main(file: Path) -> None:
    """Train this worker's share of the candidates.

    Raises:
        ConfigurationError: this is no job of a sweep, or the file has no flow that can be swept.
        AwsError: AWS refused.
    """
    try:
        own = WorkerEnvironment.read(os.environ)
    except ValidationError as error:
        raise variable_error(error, "the head of a sweep starts this program") from error
    aws = session(AwsSettings())
    # The processes of the candidates inherit this client. This process never sends a request with it, so that
    # they do not inherit a connection, which they would have to share.
    inherited, objects = Storage(aws), Storage(aws)
    store = SweepStore(objects, own.artifacts)
    model = ModelStore(objects, own.artifacts)
    request = model.request()
    flow = flow_class(file)
    # No candidate needs the token of Buildkite, and W&B's key is fetched below.
    step_secrets.set_variables(flow, (own.buildkite_secret, own.wandb_secret))
    _fetch_wandb_key(own)
    work = store.work(own.work)
    context = CandidateContext(
        sweep=request, request=request, task=None, objects=inherited, sizes=resources(flow)
    )
    if not work.tasks:
        CandidateTraining(flow, replace(context, objects=objects)).run_steps()
        return
    found = model.snapshot()
    if found is None:
        raise ConfigurationError("the sweep has no snapshot: its first job must take it")
    table = snapshot.read(objects, found) if found.athena_execution_id else None
    worker = Worker(flow, replace(context, snapshot=found, table=table), SweepStore(inherited, own.artifacts))
    ended = store.outcome_names()
    tasks = [task for task in work.share(own.index) if task.name not in ended]
    log.info(f"{len(tasks)} candidates to train, {work.processes} at the same time")
    _import_what_candidates_use()
    run_all(
        tasks,
        work.processes,
        worker.train,
        lambda task: task.name,
        partial(record_death, store, context.sizes),
    )


def _import_what_candidates_use() -> None:
    """Import what evaluation and W&B run import at their first use, so that no candidate has to.

    The processes of the candidates inherit it; to import it takes longer than many a training.
    """
    import pyarrow.compute  # noqa: F401
    import pyarrow.dataset  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    with suppress(ImportError):
        import sklearn.metrics  # noqa: F401
    if os.environ.get(KEY):
        load_sdk()
        import wandb.apis.public  # noqa: F401

        import modelbuild.flow.tracking.media  # noqa: F401


def _fetch_wandb_key(own: WorkerEnvironment) -> None:
    """Set the variable of W&B's key, as Metaflow does for the steps that ask for it; empty without a key."""
    os.environ.setdefault(KEY, "")
    if own.wandb_secret and not os.environ[KEY]:
        try:
            os.environ[KEY] = secret(session(AwsSettings()), own.wandb_secret, KEY)
        except ConfigurationError as error:
            log.info(f"the candidates have no W&B runs: {error}")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except ModelbuildError as error:
        log.warn(str(error))
        sys.exit(error.exit_code)
