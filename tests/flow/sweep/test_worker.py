"""How a worker records candidates that fail."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from metaflow import step  # type: ignore[attr-defined]

from memory import MemoryObjects
from modelbuild.contract import Candidate, CandidateOutcome, CandidateTask, Evaluation, Metric, Quality, Sweep
from modelbuild.errors import AwsError, ConfigurationError
from modelbuild.flow.base import ModelFlow
from modelbuild.flow.sweep.candidate import CandidateContext
from modelbuild.flow.sweep.worker import Worker, reason, record_death
from modelbuild.store.sweep import SweepStore
from samples import request_for

PREFIX = "s3://bucket/models/demo/mail/7"
SIZES = {"start": {"cpu": 1, "memory": 8192, "gpu": 0}, "fit": {"cpu": 4, "memory": 2048, "gpu": 1}}
EVALUATION = Evaluation(
    dataset_sha256="d" * 64,
    metrics=(Metric(name="score", title="score", better="higher"),),
    primary="score",
    overall=Quality(rows=1, metrics={"score": 1.0}),
)
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


class RankedFlow(ModelFlow):
    """A flow that answers one row, and evaluates nothing itself."""

    evaluated: Evaluation

    @step
    def start(self) -> None:
        """Keep the only row."""
        self.begin()
        self.search_split([*range(100)], [100], str)
        self.keep_rows([1], "a row")
        self.keep_runtime()
        self.next(self.end)

    @step
    def end(self) -> None:
        """Publish a model."""
        rows = io.BytesIO()
        pq.write_table(pa.table({"id": ["1"], "truth": [1], "prediction": [1]}), rows)
        self.evaluation, self.predictions, self.golden = (
            self.evaluated.model_dump(mode="json"),
            rows.getvalue(),
            [],
        )
        self.publish_model({"model.json": b"{}"})


def outcome(store: SweepStore) -> CandidateOutcome:
    """How the candidate ended."""
    (found,) = store.outcomes([TASK])
    assert found is not None
    return found


def train(flow: type[ModelFlow], store: SweepStore) -> None:
    """Train the candidate."""
    space = {"epochs": {"minimum": 1, "maximum": 9}}
    request = request_for(
        PREFIX, sweep=Sweep.model_validate({"method": "random", "candidates": 9, "space": space})
    )
    context = CandidateContext(sweep=request, request=request, task=None, objects=store.objects, sizes=SIZES)
    Worker(flow, context, store).train(TASK)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("no  rows"), r"ValueError: no rows \(test_worker\.py, line \d+\)"),
        (SystemExit(0), r"a step ended Python by sys\.exit \(test_worker\.py, line \d+\): return from .*"),
    ],
)
def test_a_candidate_that_fails_has_a_reason_and_its_steps(
    error: BaseException, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one whose step ends Python, as if all was well; what it took until then has a cost."""
    monkeypatch.chdir(Path(__file__).parent)
    store = SweepStore(MemoryObjects(), PREFIX)
    train(type("Failing", (FailingFlow,), {"error": error, "__module__": __name__}), store)
    found = outcome(store)
    assert found.status == "failed"
    assert re.fullmatch(expected, found.reason)
    assert [(run.step, run.cpu) for run in found.steps] == [("start", 1), ("end", None)]


@pytest.mark.parametrize("kind", [ValueError, ConfigurationError])
@pytest.mark.parametrize("before", ["no rows for ", "x" * 480])
def test_a_reason_holds_no_part_of_a_secret(
    kind: type[Exception], before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor where the reason is cut within it; only the worker knows the secrets of the flow's steps."""
    monkeypatch.setenv("LAKE_PASSWORD", "0123456789" * 4)
    assert "0123456" not in reason(kind(before + "0123456789" * 4))


def test_what_cannot_be_written_is_the_reason() -> None:
    """S3 may refuse the predictions and take the outcome: the candidate has failed, with S3's sentence."""

    class Refuses(MemoryObjects):
        def write_once(self, uri: str, body: bytes, content_type: str = "application/json") -> bool:
            if uri.endswith(".parquet"):
                raise AwsError(f"could not write {uri} (EntityTooLarge)")
            return super().write_once(uri, body, content_type)

    store = SweepStore(Refuses(), PREFIX)
    train(type("Ranked", (RankedFlow,), {"evaluated": EVALUATION, "__module__": __name__}), store)
    found = outcome(store)
    assert found.status == "failed"
    assert found.reason.startswith(f"could not write {PREFIX}/sweep/outcomes/search-2-")


def test_a_candidate_that_was_killed_costs_the_time_of_its_process() -> None:
    """Else a limit of money would not end a sweep whose candidates are all killed for memory."""
    store = SweepStore(MemoryObjects(), PREFIX)
    record_death(store, SIZES, TASK, "its process was killed", 90.0004)
    found = outcome(store)
    assert (found.status, found.reason, found.seconds) == ("failed", "its process was killed", 90.0)
    (run,) = found.steps
    assert (run.seconds, run.cpu, run.memory, run.gpu) == (90.0, 4, 8192, 1)


def test_a_flow_whose_steps_have_no_jobs_has_no_price() -> None:
    """Its candidates are trained in jobs all the same, of a size that the flow does not state."""
    store = SweepStore(MemoryObjects(), PREFIX)
    record_death(store, {}, TASK, "its process was killed", 1.0)
    assert outcome(store).steps[0].cpu is None
