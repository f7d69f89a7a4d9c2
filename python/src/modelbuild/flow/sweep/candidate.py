"""The training of one candidate: the steps of the user's flow, called one after another in one process.

Metaflow's own run costs seconds and a Batch job for each step, which is more than many a candidate takes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

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
from modelbuild.flow import publish
from modelbuild.flow.base import ModelFlow
from modelbuild.flow.sweep.candidate_flow import CandidateFlow
from modelbuild.store.model import ModelStore
from modelbuild.store.objects import Objects


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


class CandidateTraining:
    """The training of one candidate.

    Args:
        flow: the user's flow.
        context: the candidate.

    Attributes:
        context: the candidate.
        flow: the user's flow, behind the methods of :class:`CandidateFlow`.
        next_step: the step that comes next; empty after the last one.
        artifact: the model; None before the flow has published it.
        is_split: whether the flow lets validation rows be split off.
        may_have_checkpoints: whether the flow may have written some.
    """

    def __init__(self, flow: type[ModelFlow], context: CandidateContext) -> None:
        combined = type(flow.__name__, (CandidateFlow, flow), {"__module__": flow.__module__})
        self.context = context
        self.flow: CandidateFlow = combined(use_cli=False)
        self.flow._modelbuild_candidate = self
        self.next_step = ""
        self.artifact: Artifact | None = None
        self.is_split = False
        self.may_have_checkpoints = False
        self._finished: tuple[StepRun, ...] = ()
        self._running: tuple[str, float] | None = None

    def run_steps(self) -> None:
        """Call the steps from ``start`` to ``end``; for the snapshot, only ``start``."""
        self.next_step = "start"
        while self.next_step:
            self._running = (self.next_step, time.monotonic())
            name, self.next_step = self.next_step, ""
            getattr(self.flow, name)()
            self._finished, self._running = self.step_runs(), None
            if self.context.task is None:
                return

    def step_runs(self) -> tuple[StepRun, ...]:
        """The steps that have ended, with the one that runs."""
        if self._running is None:
            return self._finished
        name, began = self._running
        seconds, task = round(time.monotonic() - began, 3), self.context.request.model_id
        return (
            *self._finished,
            StepRun(step=name, task=task, seconds=seconds, **self.context.sizes.get(name, {})),
        )

    @property
    def predictions(self) -> bytes:
        """What the candidate answers for the rows that it was evaluated on."""
        return self.flow.predictions

    def manifest(self, predictions_uri: str) -> Manifest:
        """Everything about the training of the candidate for the ranking, after its last step.

        Args:
            predictions_uri: where its predictions for the validation rows are written.
        """
        assert self.artifact is not None
        described = publish.describe_predictions(self.predictions, predictions_uri)
        return self.flow._manifest(self.context.request, self.artifact, described)

    def outcome(self, task: CandidateTask, seconds: float) -> CandidateOutcome:
        """How the training of the candidate ended, after its last step.

        Its evaluation has only those slices that the sweep has constraints on: the head keeps the outcomes of
        all candidates in memory, and the manifest has all slices.

        Raises:
            ConfigurationError: the flow has published no model.
        """
        if self.artifact is None:
            raise ConfigurationError(
                "the flow ended well but published no model: call publish_model in one of its steps"
            )
        assert self.context.sweep.sweep is not None
        constrained = [one.slice for one in self.context.sweep.sweep.constraints if one.slice]
        latencies = [item["seconds"] for item in self.flow.golden if item["seconds"] is not None]
        return CandidateOutcome(
            task=task,
            status="succeeded",
            evaluation=Evaluation.model_validate(self.flow.evaluation).with_slices(constrained),
            model_bytes=self.artifact.bytes,
            latency_seconds=statistics.median(latencies) if latencies else None,
            wandb=WandbRun.model_validate(self.flow.wandb),
            steps=self.step_runs(),
            seconds=round(seconds, 3),
        )

    def failure(self, task: CandidateTask, reason: str, seconds: float) -> CandidateOutcome:
        """The outcome of a training that failed, with the steps until then."""
        return CandidateOutcome(
            task=task, status="failed", reason=reason, steps=self.step_runs(), seconds=round(seconds, 3)
        )

    def store(self) -> ModelStore:
        """The files of the candidate."""
        return ModelStore(self.context.objects, self.context.request.artifacts)

    def sweep_store(self) -> ModelStore:
        """The files of the sweep."""
        return ModelStore(self.context.objects, self.context.sweep.artifacts)
