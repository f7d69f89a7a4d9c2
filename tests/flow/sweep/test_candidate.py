"""The flow of one candidate: the steps of a user's flow with the candidate's parameters."""

from __future__ import annotations

import hashlib
import io
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import samples
from memory import MemoryObjects
from modelbuild.contract import (
    Candidate,
    CandidateOutcome,
    CandidateTask,
    Constraint,
    Sweep,
    TrainingRequest,
)
from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.flow import publish
from modelbuild.flow.base import ModelFlow
from modelbuild.flow.process.step_runs import resources
from modelbuild.flow.sweep.candidate import CandidateContext, CandidateTraining
from modelbuild.flow.sweep.load import flow_class
from modelbuild.store.model import ModelStore

SMALL = Path(__file__).parents[2] / "e2e" / "flows" / "sentiment"
PREFIX = "s3://bucket/models/shop/sentiment/12"
PARAMETERS = {"training": {"epochs": 3, "learning_rate": 0.2}}


class Sweeping:
    """A sweep of the flow in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects = MemoryObjects()
        space = {"training.epochs": [1, 2]}
        self.request = samples.request_for(
            PREFIX,
            parameters=PARAMETERS,
            build=samples.build(12, "shop"),
            sweep=Sweep.model_validate({"method": "grid", "space": space}),
        )

    def flow(
        self, stage: str | None = "search", **values: Any
    ) -> tuple[CandidateTraining, CandidateTask | None]:
        """The flow of candidate 3; of the first job of the sweep without a stage."""
        flow: type[ModelFlow] = flow_class(self.folder / "flow.py")
        task, request = None, self.request
        if stage is not None:
            candidate = Candidate(number=3, values=values or {"training.epochs": 2})
            task = CandidateTask.model_validate({"candidate": candidate, "stage": stage})
            request = self.request.candidate(3, candidate.values)
        store = ModelStore(self.objects, PREFIX)
        context = CandidateContext(
            sweep=self.request,
            request=request,
            task=task,
            objects=self.objects,
            sizes=resources(flow),
            snapshot=None if stage is None else store.snapshot(),
        )
        return CandidateTraining(flow, context), task

    def run(
        self, stage: str | None = "search", **values: Any
    ) -> tuple[CandidateTraining, CandidateOutcome | None]:
        """Run the steps; the flow, and how it ended."""
        flow, task = self.flow(stage, **values)
        flow.run_steps()
        return flow, None if task is None else flow.outcome(task, 1.0)


@pytest.fixture
def sweeping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sweeping]:
    """A sweep of the small flow that has its snapshot; the flow's modules are gone afterwards."""
    shutil.copytree(SMALL, tmp_path / "flow", ignore=shutil.ignore_patterns(".*", "__pycache__"))
    modules = dict(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path / "flow")
    # Variables of a worker's job, with which the decorators of the steps ask for jobs on Batch.
    for name, value in {"MODEL_ID": "12", "ARTIFACTS": PREFIX, "WANDB_SECRET_ARN": "arn:aws:secret"}.items():
        monkeypatch.setenv(name, value)
    found = Sweeping(tmp_path / "flow")
    found.run(None)
    yield found
    for name in set(sys.modules) - set(modules):
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def ids(predictions: bytes) -> set[str]:
    """The rows of predictions."""
    return set(pq.read_table(io.BytesIO(predictions)).column("id").to_pylist())


def test_the_first_job_takes_the_snapshot_and_trains_nothing(sweeping: Sweeping) -> None:
    """Its rows lie once, beside the request of the sweep."""
    snapshot = ModelStore(sweeping.objects, PREFIX).snapshot()
    assert snapshot is not None
    assert snapshot.rows > 0
    assert {uri for uri, _ in sweeping.objects.list(PREFIX)} == {
        f"{PREFIX}/data/rows.json",
        f"{PREFIX}/data/snapshot.json",
    }


def test_the_search_ranks_by_rows_that_are_no_test_rows(sweeping: Sweeping) -> None:
    """Validation rows are training rows held out; no model is written, and the figures are there."""
    before = sweeping.objects.list(PREFIX)
    searched, outcome = sweeping.run("search")
    final, _ = sweeping.run("final")
    assert outcome is not None
    assert outcome.status == "succeeded"
    assert outcome.evaluation is not None
    assert outcome.evaluation.overall.rows == len(ids(searched.predictions))
    assert ids(searched.predictions).isdisjoint(ids(final.predictions))
    assert outcome.model_bytes
    assert outcome.latency_seconds
    assert [run.step for run in outcome.steps] == ["start", "train", "end"]
    assert [run.cpu for run in outcome.steps] == [None, 1, None]
    assert sweeping.objects.list(f"{PREFIX}/") == before


def test_each_candidate_has_a_manifest(sweeping: Sweeping) -> None:
    """Also one that is not offered: its rows, figures and steps, and the hash of the model that it made."""
    searched, outcome = sweeping.run("search")
    assert outcome is not None
    manifest = searched.manifest("s3://bucket/predictions.parquet")
    assert manifest.request.model_id == "12.3"
    assert manifest.data == ModelStore(sweeping.objects, PREFIX).snapshot()
    assert manifest.evaluation.with_slices([]) == outcome.evaluation
    assert manifest.artifact.bytes == outcome.model_bytes
    assert manifest.predictions.rows == len(ids(searched.predictions))
    assert [run.step for run in manifest.steps] == ["start", "train", "end"]
    again, _ = sweeping.run("search")
    assert again.manifest("s3://bucket/predictions.parquet").artifact == manifest.artifact


def test_an_outcome_has_the_slices_that_are_constrained(sweeping: Sweeping) -> None:
    """The head has the outcomes of all candidates in memory, and needs no other slices."""
    assert sweeping.request.sweep is not None
    constraint = Constraint(metric="f1", slice="class=positive", minimum=0.0)
    constrained = sweeping.request.sweep.model_copy(update={"constraints": (constraint,)})
    sweeping.request = sweeping.request.model_copy(update={"sweep": constrained})
    searched, outcome = sweeping.run("search")
    assert outcome is not None
    assert outcome.evaluation is not None
    all_slices = searched.manifest("s3://bucket/predictions.parquet").evaluation.slices
    assert {*all_slices["class"]} == {"negative", "positive"}
    assert outcome.evaluation.slices == {"class": {"positive": all_slices["class"]["positive"]}}


def test_what_is_offered_lies_as_any_model_does(sweeping: Sweeping) -> None:
    """Request, model, predictions and manifest lie at the candidate's prefix, and name each other."""
    sweeping.run("final")
    store = ModelStore(sweeping.objects, f"{PREFIX}.3")
    manifest = store.manifest()
    assert manifest is not None
    request = TrainingRequest.model_validate(store.request())
    assert manifest.request == request
    assert (request.model_id, request.parameters) == (
        "12.3",
        {"training": {"epochs": 2, "learning_rate": 0.2}},
    )
    assert manifest.artifact.path == store.model_uri
    assert [run.step for run in manifest.steps] == ["start", "train", "end"]
    with tarfile.open(fileobj=io.BytesIO(sweeping.objects.read(store.model_uri))) as archive:
        assert set(archive.getnames()) == set(manifest.artifact.files)
    assert not sweeping.objects.exists(f"{PREFIX}.3/result.json")


def test_what_a_job_that_died_left_of_a_candidate_is_replaced(sweeping: Sweeping) -> None:
    """A model and predictions without a manifest are of a training that did not end."""
    store = ModelStore(sweeping.objects, f"{PREFIX}.3")
    sweeping.objects.write(store.model_uri, b"of the job that died")
    sweeping.objects.write(store.predictions_uri, b"of the job that died")
    sweeping.run("final")
    manifest = store.manifest()
    assert manifest is not None
    for written in (manifest.artifact, manifest.predictions):
        assert hashlib.sha256(sweeping.objects.read(written.path)).hexdigest() == written.sha256


def test_a_candidate_with_a_manifest_has_the_outcome_of_its_model(
    sweeping: Sweeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job may die between manifest and outcome: the next one trains other bytes, and keeps the first."""
    store = ModelStore(sweeping.objects, f"{PREFIX}.3")
    sweeping.run("final")
    manifest, model = store.manifest(), sweeping.objects.read(store.model_uri)
    assert manifest is not None
    of_files = publish.archive
    monkeypatch.setattr(publish, "archive", lambda files: of_files(files) + b"as on another machine")
    _, outcome = sweeping.run("final")
    assert sweeping.objects.read(store.model_uri) == model
    assert store.manifest() == manifest
    assert outcome is not None
    assert outcome.evaluation == manifest.evaluation.with_slices([])
    assert outcome.model_bytes == len(model)


def test_a_manifest_of_a_model_that_was_replaced_is_no_candidate(sweeping: Sweeping) -> None:
    """Another training of the candidate wrote its model a moment before the manifest: it is not offered."""
    sweeping.run("final")
    sweeping.objects.write(ModelStore(sweeping.objects, f"{PREFIX}.3").model_uri, b"of another training")
    with pytest.raises(VerificationFailed, match="another training of the model has replaced the file"):
        sweeping.run("final")


def test_the_same_candidate_is_the_same_model(sweeping: Sweeping) -> None:
    """Trained again, it has the same bytes; with another value it is refused at that place."""
    sweeping.run("final")
    first = ModelStore(sweeping.objects, f"{PREFIX}.3").manifest()
    sweeping.run("final")
    assert ModelStore(sweeping.objects, f"{PREFIX}.3").manifest() == first
    with pytest.raises(VerificationFailed, match="is there with SHA-256"):
        sweeping.run("final", **{"training.epochs": 1})


def test_a_flow_has_names_of_its_own(sweeping: Sweeping) -> None:
    """Whatever a flow calls its attributes and steps, it trains in a sweep as it does alone."""
    _, expected = sweeping.run("search")
    own = ("context", "artifact", "next_step", "is_split", "running", "finished", "flow", "step_runs_of")
    kept = "".join(f"        self.{name} = 'of the flow'\n" for name in own)
    file = sweeping.folder / "flow.py"
    text = file.read_text().replace("        self.begin()\n", f"        self.begin()\n{kept}")
    file.write_text(
        text.replace("self.next(self.train)", "self.next(self.outcome)").replace("def train(", "def outcome(")
    )
    training, outcome = sweeping.run("search")
    assert outcome is not None
    assert expected is not None
    assert [run.step for run in outcome.steps] == ["start", "outcome", "end"]
    assert outcome.evaluation == expected.evaluation
    assert {getattr(training.flow, name) for name in own} == {"of the flow"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("self.search_split(*halves, text)", "halves", r"self\.search_split\(train, held_out, key\)"),
        ("self.keep_rows(found,", "self.keep_rows(found[1:],", "select other rows than the sweep's snapshot"),
        ("self.publish_model(self.files)", "pass", "published no model"),
        ("self.next(self.train)", "self.next(self.train, self.end)", "the flow branches"),
    ],
)
def test_a_flow_that_cannot_be_swept_says_so(sweeping: Sweeping, old: str, new: str, message: str) -> None:
    """What a sweep asks of a flow is one sentence, with what to do."""
    file = sweeping.folder / "flow.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(ConfigurationError, match=message):
        sweeping.run("search")


def test_a_file_with_two_flows_is_refused(sweeping: Sweeping) -> None:
    """A sweep would not know which to train."""
    file = sweeping.folder / "flow.py"
    file.write_text(f"{file.read_text()}\n\nclass Other(SmallFlow):\n    pass\n")
    with pytest.raises(ConfigurationError, match=r"flow\.py has 2 subclasses of ModelFlow"):
        sweeping.flow()
