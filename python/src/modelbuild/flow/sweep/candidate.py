"""The flow of one candidate: the steps of the user's flow, called one after another in one process.

Metaflow's own run costs seconds and a Batch job for each step, which is more than many a candidate takes. So
a class with the methods below is put before the user's flow. They give the steps the parameters of the
candidate and the snapshot of the sweep, where an ordinary flow reads its request and runs its query.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from modelbuild import log
from modelbuild.aws.athena import Athena
from modelbuild.aws.identity import session
from modelbuild.contract import (
    Artifact,
    CandidateOutcome,
    CandidateTask,
    DataSnapshot,
    Evaluation,
    Manifest,
    StepRun,
    TrainingRequest,
    WandbRun,
)
from modelbuild.errors import ConfigurationError
from modelbuild.flow import publish, rows, snapshot
from modelbuild.flow.base import ModelFlow, Row
from modelbuild.flow.process import environment
from modelbuild.flow.progress import ProgressRecorder
from modelbuild.flow.tracking import description
from modelbuild.flow.tracking.run import Tracker, open_run
from modelbuild.settings import AwsSettings
from modelbuild.store.model import ModelStore
from modelbuild.store.objects import Objects

_VALIDATION_SEED = 2**33
"""Added to the sweep's seed, so that validation rows are not chosen by the hash that chose the test rows."""


@dataclass(frozen=True)
class CandidateContext:
    """What the flow of a candidate works with.

    Attributes:
        sweep: the request of the sweep.
        request: the request of the candidate.
        task: what to train; None to take the snapshot only.
        objects: the objects in S3.
        sizes: the resources of each step that runs on Batch.
        snapshot: the rows of the sweep; None to take them.
        table: the rows that a query selected, read before; None for other rows.
    """

    sweep: TrainingRequest
    request: TrainingRequest
    task: CandidateTask | None
    objects: Objects
    sizes: Mapping[str, Mapping[str, int]]
    snapshot: DataSnapshot | None = None
    table: pa.Table | None = None

    @property
    def searches(self) -> bool:
        """Whether the candidate is trained for the ranking."""
        return self.task is not None and self.task.stage == "search"


class CandidateFlow(ModelFlow):
    """The methods that replace those of :class:`ModelFlow`; not a flow by itself."""

    context: CandidateContext

    def begin(self) -> None:
        """Start with the parameters of the candidate."""
        self.parameters = dict(self.context.request.parameters)
        self.prefix = self.context.request.artifacts
        self.run_name = self.context.request.model_id
        self.seconds = {}
        self.curves = {}
        self.training_rows = None
        self.wandb = WandbRun(id="", url="").model_dump(mode="json")
        self.artifact: Artifact | None = None
        self.is_split = False
        self.may_have_checkpoints = False

    def next(self, *destinations: Any, **how: Any) -> None:
        """Keep which step comes next."""
        if len(destinations) != 1 or how or not callable(destinations[0]):
            raise ConfigurationError(
                "the flow branches: a sweep trains flows whose steps follow one another, so train this one "
                "without option sweep"
            )
        self.next_step: str = destinations[0].__name__

    def find_request(self) -> TrainingRequest | None:
        """The request of the candidate."""
        return self.context.request

    def store(self) -> ModelStore:
        """The files of the candidate, among which the flow may write checkpoints."""
        self.may_have_checkpoints = True
        return self._own_store()

    def take_snapshot(self, query: str) -> None:
        """Use the snapshot of the sweep, which is taken once.

        Raises:
            ConfigurationError: the candidate's parameters select other rows.
        """
        found = self.context.snapshot
        if found is None:
            with self.timed("snapshot"):
                found = snapshot.take(Athena(session(AwsSettings())), self._sweep_store(), query)
        self._use(found, found.source == query)

    def read_snapshot(self) -> pa.Table:
        """The rows of the sweep's snapshot."""
        if self.context.table is not None:
            return self.context.table
        return snapshot.read(self.context.objects, DataSnapshot.model_validate(self.snapshot))

    def keep_rows(self, rows: Sequence[Any], source: str) -> None:
        """Use the rows of the sweep, which are kept once.

        Raises:
            ConfigurationError: the candidate's parameters give other rows.
        """
        kept = snapshot.keep(None if self.context.snapshot else self._sweep_store(), rows, source)
        found = self.context.snapshot or self._sweep_store().write_snapshot_once(kept)
        self._use(found, found.sha256 == kept.sha256)

    def _use(self, found: DataSnapshot, is_same: bool) -> None:
        if not is_same:
            raise ConfigurationError(
                "the parameters of this candidate select other rows than the sweep's snapshot, so it could "
                "not be compared with the others: sweep parameters that do not change the rows"
            )
        self.snapshot = found.model_dump(mode="json")

    def search_split(
        self, train: list[Row], held_out: list[Row], key: Callable[[Row], str]
    ) -> tuple[list[Row], list[Row]]:
        """For the ranking, the training rows without the validation rows, and those."""
        self.is_split = True
        if not self.context.searches:
            return train, held_out
        sweep = self.context.sweep.sweep
        assert sweep is not None
        percent, seed = sweep.validation_percent, sweep.seed + _VALIDATION_SEED
        return rows.split(train, key, test_percent=percent, seed=seed)

    def progress(self) -> ProgressRecorder:
        """A recorder for the curves of the candidate and its W&B run."""
        self.curves = {}
        tracker = self._tracker(self.context.request)
        self.wandb = tracker.recorded.model_dump(mode="json")
        return ProgressRecorder(self.curves, log.say, tracker.log)

    def publish_model(self, files: Mapping[str, bytes]) -> None:
        """Measure the model; write it and its manifest if it is to be offered.

        If an earlier job wrote them and died before it wrote the outcome, the outcome is that of its model.

        Raises:
            ConfigurationError: the flow does not let validation rows be split off.
            VerificationFailed: another training of the candidate writes its model, too.
            AwsError: S3 refused.
        """
        if not self.is_split:
            raise ConfigurationError(
                "the flow would rank candidates by its test rows: where it splits its rows, it must pass "
                "both parts through self.search_split(train, held_out, key)"
            )
        store = self._own_store()
        if self.context.searches:
            _, self.artifact = publish.pack_model(files, store.model_uri)
        else:
            request = self.context.request
            store.write_request_once(request)
            kept = store.manifest()
            if kept is None or kept.request != request:
                kept = self._publish(request, store, files)
            else:
                store.require_files(kept)
            self.artifact = kept.artifact
            self.evaluation = kept.evaluation.model_dump(mode="json", by_alias=True)
            self._track_model(request, kept.artifact)
        if self.may_have_checkpoints:
            publish.clear_checkpoints(store)

    def _publish(self, request: TrainingRequest, store: ModelStore, files: Mapping[str, bytes]) -> Manifest:
        artifact = publish.upload_model(store, files)
        predictions = publish.upload_predictions(store, self.predictions)
        return store.publish_manifest(self._manifest(request, artifact, predictions))

    def manifest(self, predictions_uri: str) -> Manifest:
        """Everything about the training of the candidate for the ranking, after its last step.

        Args:
            predictions_uri: where its predictions for the validation rows are written.
        """
        assert self.artifact is not None
        predictions = publish.describe_predictions(self.predictions, predictions_uri)
        return self._manifest(self.context.request, self.artifact, predictions)

    def outcome(self, task: CandidateTask, seconds: float) -> CandidateOutcome:
        """How the training of the candidate ended, after its last step.

        Its evaluation has only those slices that the sweep has constraints on: the head keeps the outcomes of
        all candidates in memory, and the manifest has all slices.

        Raises:
            ConfigurationError: the flow has published no model.
        """
        if self.artifact is None:
            raise ConfigurationError(
                "the flow ended well but published no model: it must in one of its steps"
            )
        assert self.context.sweep.sweep is not None
        constrained = [one.slice for one in self.context.sweep.sweep.constraints if one.slice]
        latencies = [item["seconds"] for item in self.golden if item["seconds"] is not None]
        return CandidateOutcome(
            task=task,
            status="succeeded",
            evaluation=Evaluation.model_validate(self.evaluation).with_slices(constrained),
            model_bytes=self.artifact.bytes,
            latency_seconds=statistics.median(latencies) if latencies else None,
            wandb=WandbRun.model_validate(self.wandb),
            steps=self._step_runs(),
            seconds=round(seconds, 3),
        )

    def failure(self, task: CandidateTask, reason: str, seconds: float) -> CandidateOutcome:
        """How the training of the candidate ended that failed, with the steps until then."""
        return CandidateOutcome(
            task=task, status="failed", reason=reason, steps=self._step_runs(), seconds=round(seconds, 3)
        )

    def run_steps(self) -> None:
        """Call the steps from ``start`` to ``end``; for the snapshot, only ``start``."""
        self.finished: list[StepRun] = []
        self.next_step = "start"
        while self.next_step:
            self.running: tuple[str, float] | None = (self.next_step, time.monotonic())
            name, self.next_step = self.next_step, ""
            getattr(self, name)()
            self.finished, self.running = [*self._step_runs()], None
            if self.context.task is None:
                return

    def _step_runs(self) -> tuple[StepRun, ...]:
        """The steps that have ended, with the one that runs."""
        if self.running is None:
            return tuple(self.finished)
        name, began = self.running
        seconds, task = round(time.monotonic() - began, 3), self.context.request.model_id
        return (
            *self.finished,
            StepRun(step=name, task=task, seconds=seconds, **self.context.sizes.get(name, {})),
        )

    def _own_store(self) -> ModelStore:
        return ModelStore(self.context.objects, self.context.request.artifacts)

    def _sweep_store(self) -> ModelStore:
        return ModelStore(self.context.objects, self.context.sweep.artifacts)

    def _tracker(self, request: TrainingRequest | None) -> Tracker:
        """The W&B run of the candidate, in the group of the sweep."""
        assert request is not None
        about = {"data_sha256": getattr(self, "snapshot", {}).get("sha256")}
        found = description.of_build(request, about, environment.read().wandb_entity)
        group = f"{request.model}-{self.context.sweep.model_id}"
        if self.context.searches:
            return open_run(replace(found, id=f"{found.id}-search", group=group, job_type="candidate"))
        return open_run(replace(found, group=group))


def candidate_flow(flow: type[ModelFlow], context: CandidateContext) -> CandidateFlow:
    """A flow for one candidate, with the steps of the user's flow.

    Args:
        flow: the user's flow.
        context: the candidate.
    """
    combined = type(flow.__name__, (CandidateFlow, flow), {"__module__": flow.__module__})
    made: CandidateFlow = combined(use_cli=False)
    made.context = context
    return made
