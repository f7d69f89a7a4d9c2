"""The files of a sweep."""

from __future__ import annotations

import pytest

import recorded
from memory import MemoryObjects
from modelbuild.aws.failures import NotFound
from modelbuild.contract import Candidate, CandidateOutcome, CandidateTask, Work
from modelbuild.store.records import InvalidRecord
from modelbuild.store.sweep import SweepStore

PREFIX = "s3://bucket/models/shop/mail/12"


def task(number: int, rung: int = 0, stage: str = "search", attempt: int = 1) -> CandidateTask:
    """What a worker trains."""
    candidate = Candidate(number=number, values={"rate": number})
    values = {"candidate": candidate, "stage": stage, "rung": rung, "attempt": attempt}
    return CandidateTask.model_validate(values)


@pytest.fixture
def store() -> SweepStore:
    """The files of a sweep, in memory."""
    return SweepStore(MemoryObjects(), PREFIX)


def write(store: SweepStore, outcome: CandidateOutcome, predictions: bytes, metric: float = 0.6) -> bool:
    """Write what a training for the ranking leaves."""
    manifest = recorded.manifest(f"12.{outcome.task.candidate.number}", metric=metric)
    uri = store.predictions_uri(outcome.task, predictions)
    described = manifest.predictions.model_copy(update={"path": uri})
    return store.write_ranked_once(
        outcome, manifest.model_copy(update={"predictions": described}), predictions
    )


def test_the_same_work_is_one_file(store: SweepStore) -> None:
    """A head that submits the same work again finds it."""
    work = Work(workers=2, processes=1, tasks=(task(1), task(2)))
    uri = store.write_work(work)
    assert store.write_work(work) == uri
    assert store.work(uri) == work
    assert store.write_work(work.model_copy(update={"workers": 1})) != uri


def test_the_first_outcome_stays(store: SweepStore) -> None:
    """A worker that is late, or trains what another one trained, does not replace it or its predictions."""
    first = CandidateOutcome(task=task(1), status="succeeded", seconds=1)
    assert write(store, first, b"first")
    assert not write(store, first.model_copy(update={"status": "failed"}), b"second")
    missing, found = store.outcomes([task(2), task(1)])
    assert missing is None
    assert found is not None
    assert found.model_copy(update={"predictions_sha256": None, "manifest_sha256": None}) == first
    assert store.predictions(found) == b"first"
    manifest = store.manifest(1)
    assert manifest is not None
    assert store.objects.read(manifest.predictions.path) == b"first"


def test_predictions_are_those_of_the_outcome(store: SweepStore) -> None:
    """A worker that died between the two writes leaves predictions, which do not belong to the outcome of the
    next training.
    """

    class Died(Exception):
        """Of the worker."""

    class DyingObjects(MemoryObjects):
        def write_once(self, uri: str, body: bytes, content_type: str = "application/json") -> bool:
            if uri.endswith(".json"):
                raise Died
            return super().write_once(uri, body, content_type)

    objects = DyingObjects()
    first = CandidateOutcome(task=task(1), status="succeeded", seconds=1)
    with pytest.raises(Died):
        write(SweepStore(objects, PREFIX), first, b"first")
    for uri, body in objects.objects.items():
        store.objects.write(uri, body)
    assert write(store, first.model_copy(update={"seconds": 2}), b"second")
    [found] = store.outcomes([task(1)])
    assert found is not None
    assert store.predictions(found) == b"second"


def test_an_outcome_without_predictions_is_a_sentence(store: SweepStore) -> None:
    """A candidate that failed answers nothing, and S3 is not asked for it."""
    failed = CandidateOutcome(task=task(1), status="failed", reason="ValueError: it diverged")
    with pytest.raises(NotFound, match=f"^task search-1 of the sweep in {PREFIX} has no predictions"):
        store.predictions(failed)


def test_outcomes_are_listed_by_the_names_of_their_tasks(store: SweepStore) -> None:
    """Each rung and stage has its own, and predictions are none."""
    for one in (task(1), task(1, rung=2), task(1, stage="final"), task(12)):
        assert write(store, CandidateOutcome(task=one, status="succeeded"), b"")
    assert store.outcome_names() == {"search-1", "search-1-rung-2", "final-1", "search-12"}


@pytest.mark.parametrize(
    ("trained", "metric"),
    [
        ([(1, 0.1), (2, 0.2), (10, 0.3)], 0.3),
        ([(1, 0.1), (2, 0.2), (0, 0.3)], 0.3),
        ([(0, 0.3)], 0.3),
        ([], None),
    ],
)
def test_the_manifest_of_a_candidate_is_that_of_its_last_rung(
    store: SweepStore, trained: list[tuple[int, float]], metric: float | None
) -> None:
    """The last rung of all has no number; other candidates and other trainings have no part."""
    for rung, quality in trained:
        write(store, CandidateOutcome(task=task(7, rung=rung), status="succeeded"), b"", quality)
    write(store, CandidateOutcome(task=task(71), status="succeeded"), b"", 0.9)
    store.write_outcome_once(CandidateOutcome(task=task(7, stage="final"), status="succeeded"))
    found = store.manifest(7)
    assert (found and found.evaluation.overall.metrics["macro_f1"]) == metric


def test_a_candidate_that_failed_has_no_manifest(store: SweepStore) -> None:
    """There is no model to describe."""
    store.write_outcome_once(CandidateOutcome(task=task(1), status="failed"))
    assert store.manifest(1) is None


@pytest.mark.parametrize(("trained", "begun"), [(task(2), True), (task(2, rung=1), True), (task(22), False)])
def test_a_round_has_begun_with_the_first_outcome_of_its_candidates(
    store: SweepStore, trained: CandidateTask, begun: bool
) -> None:
    """In any rung; the numbers of candidates are compared whole."""
    store.write_outcome_once(CandidateOutcome(task=trained, status="failed"))
    assert store.has_begun([task(1).candidate, task(2).candidate], 1) is begun
    assert not store.has_begun([task(1).candidate, task(2).candidate], 2)


def test_the_manifest_of_a_candidate_is_that_of_its_last_attempt(store: SweepStore) -> None:
    """What an earlier attempt trained, also in a later rung, is no part of the search that counts."""
    for one, quality in ((task(7, 2), 0.1), (task(7, 1, attempt=10), 0.2), (task(7, attempt=2), 0.3)):
        write(store, CandidateOutcome(task=one, status="succeeded"), b"", quality)
    found = store.manifest(7)
    assert found is not None
    assert found.evaluation.overall.metrics["macro_f1"] == 0.2


@pytest.mark.parametrize(
    ("succeeded", "failed", "attempt"),
    [
        ([task(1)], [task(2)], 1),
        ([task(1, attempt=2)], [task(1)], 2),
        ([], [task(1)], 3),
        ([task(1, rung=1)], [task(1)], 3),
        ([task(1, rung=1)], [task(2, rung=1)], 1),
        ([task(1, rung=1)], [task(1, rung=2)], 3),
        ([], [task(1, rung=1)], 3),
        ([task(1, stage="final")], [], 3),
        ([task(1, attempt=3)], [], 3),
        ([task(1, attempt=4)], [], 3),
    ],
)
def test_a_search_without_a_candidate_to_rank_begins_anew(
    store: SweepStore, succeeded: list[CandidateTask], failed: list[CandidateTask], attempt: int
) -> None:
    """A candidate counts that succeeded in an earlier attempt, in the last rung that its search came to: one
    that was interrupted goes on there, and one that failed there may have lacked what this attempt has.
    """
    for one in succeeded:
        store.write_outcome_once(CandidateOutcome(task=one, status="succeeded"))
    for one in failed:
        store.write_outcome_once(CandidateOutcome(task=one, status="failed"))
    assert store.search_attempt(3) == attempt


def test_a_file_that_is_no_outcome_is_named(store: SweepStore) -> None:
    """The error is one sentence with the place."""
    store.objects.write(f"{PREFIX}/sweep/outcomes/search-1.json", b"{}")
    with pytest.raises(InvalidRecord, match=r"search-1\.json is not a candidate outcome"):
        store.outcomes([task(1)])
