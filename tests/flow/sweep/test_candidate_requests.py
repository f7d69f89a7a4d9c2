"""What the training of a candidate asks of S3."""

from __future__ import annotations

from pathlib import Path

from metaflow import step  # type: ignore[attr-defined]

from memory import MemoryObjects
from modelbuild.contract import Candidate, CandidateTask, Sweep
from modelbuild.flow.base import ModelFlow
from modelbuild.flow.sweep.candidate import CandidateContext, CandidateTraining
from modelbuild.store.model import ModelStore
from samples import request_for

PREFIX = "s3://bucket/models/demo/mail/7"


class ListedObjects(MemoryObjects):
    """S3 in memory that keeps which prefixes were listed."""

    def __init__(self) -> None:
        super().__init__()
        self.listed: list[str] = []

    def list(self, prefix_uri: str) -> list[tuple[str, int]]:
        """Keep the prefix."""
        self.listed.append(prefix_uri)
        return super().list(prefix_uri)


class PlainFlow(ModelFlow):
    """A flow without checkpoints."""

    @step
    def start(self) -> None:
        """Split the rows."""
        self.begin()
        self.keep_rows([*range(50)], "rows")
        self.search_split([*range(40)], [*range(40, 50)], str)
        self.next(self.end)

    @step
    def end(self) -> None:
        """Publish a model."""
        self.publish_model({"model.json": b"{}"})


class CheckpointFlow(PlainFlow):
    """A flow that writes a checkpoint."""

    @step
    def end(self) -> None:
        """Publish a model after a checkpoint."""
        self.store().checkpoints().write(Path(__file__), step=1, inputs_sha256="", progress={})
        self.publish_model({"model.json": b"{}"})


def trained(flow: type[ModelFlow]) -> ListedObjects:
    """S3 after a candidate was trained for the ranking, with what was asked meanwhile."""
    objects = ListedObjects()
    space = {"epochs": {"minimum": 1, "maximum": 9}}
    sweep = Sweep.model_validate({"method": "random", "candidates": 9, "space": space})
    request = request_for(PREFIX, sweep=sweep)
    context = CandidateContext(sweep=request, request=request, task=None, objects=objects, sizes={})
    CandidateTraining(flow, context).run_steps()
    objects.listed.clear()
    task = CandidateTask(candidate=Candidate(number=2, values={"epochs": 3}), stage="search")
    own = request.candidate(2, task.candidate.values)
    snapshot = ModelStore(objects, PREFIX).snapshot()
    found = CandidateContext(
        sweep=request, request=own, task=task, objects=objects, sizes={}, snapshot=snapshot
    )
    CandidateTraining(flow, found).run_steps()
    return objects


def test_nothing_is_listed_for_a_flow_without_checkpoints() -> None:
    """A list request costs as much as a write, and there are thousands of candidates."""
    assert trained(PlainFlow).listed == []


def test_checkpoints_of_a_candidate_are_deleted() -> None:
    """Where the flow has written some, they are deleted with the end of the training."""
    objects = trained(CheckpointFlow)
    assert objects.listed != []
    assert [uri for uri in objects.objects if "checkpoints" in uri] == []
