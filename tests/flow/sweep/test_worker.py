"""How a worker records candidates that fail."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from metaflow import step  # type: ignore[attr-defined]

from memory import MemoryObjects
from modelbuild.contract import Candidate, CandidateOutcome, CandidateTask, Sweep
from modelbuild.flow.base import ModelFlow
from modelbuild.flow.sweep.candidate import CandidateContext
from modelbuild.flow.sweep.worker import Worker, died
from modelbuild.store.sweep import SweepStore
from samples import request_for

PREFIX = "s3://bucket/models/demo/mail/7"
SIZES = {"start": {"cpu": 1, "memory": 8192, "gpu": 0}, "fit": {"cpu": 4, "memory": 2048, "gpu": 1}}
TASK = CandidateTask(candidate=Candidate(number=2, values={"epochs": 3}), stage="search")


class FailingFlow(ModelFlow):
    """A flow whose second step ends by an exception."""

    error: BaseException

    @step
    def start(self) -> None:
        """Begin."""
        self.begin()
        self.next(self.end)

    @step
    def end(self) -> None:
        """Fail."""
        raise self.error


def outcome(store: SweepStore) -> CandidateOutcome:
    """How the candidate ended."""
    (found,) = store.outcomes([TASK])
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no  rows"), r"ValueError: no rows \(test_worker\.py, line \d+\)"),
        (SystemExit(0), r"a step ended Python by sys\.exit \(test_worker\.py, line \d+\): return from .*"),
    ],
)
def test_a_candidate_that_fails_has_a_reason_and_its_steps(
    error: BaseException, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one whose step ends Python, as if all was well; what it took until then has a cost."""
    monkeypatch.chdir(Path(__file__).parent)
    space = {"epochs": {"minimum": 1, "maximum": 9}}
    request = request_for(
        PREFIX, sweep=Sweep.model_validate({"method": "random", "candidates": 9, "space": space})
    )
    store = SweepStore(MemoryObjects(), PREFIX)
    context = CandidateContext(sweep=request, request=request, task=None, objects=store.objects, sizes=SIZES)
    flow = type("Failing", (FailingFlow,), {"error": error, "__module__": __name__})
    Worker(flow, context, store).train(TASK)
    found = outcome(store)
    assert found.status == "failed"
    assert re.fullmatch(reason, found.reason)
    assert [(run.step, run.cpu) for run in found.steps] == [("start", 1), ("end", None)]


def test_a_candidate_that_was_killed_costs_the_time_of_its_process() -> None:
    """Else a limit of money would not end a sweep whose candidates are all killed for memory."""
    store = SweepStore(MemoryObjects(), PREFIX)
    died(store, SIZES, TASK, "its process was killed", 90.0004)
    found = outcome(store)
    assert (found.status, found.reason, found.seconds) == ("failed", "its process was killed", 90.0)
    (run,) = found.steps
    assert (run.seconds, run.cpu, run.memory, run.gpu) == (90.0, 4, 8192, 1)


def test_a_flow_whose_steps_have_no_jobs_has_no_price() -> None:
    """Its candidates are trained in jobs all the same, of a size that the flow does not state."""
    store = SweepStore(MemoryObjects(), PREFIX)
    died(store, {}, TASK, "its process was killed", 1.0)
    assert outcome(store).steps[0].cpu is None
