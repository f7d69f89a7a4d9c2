"""A model is found by its id; what a flow has written of a candidate is checked against its sweep."""

from __future__ import annotations

from typing import Any

import pytest

import recorded
from memory import MemoryObjects
from modelbuild.contract import TrainingRequest
from modelbuild.errors import VerificationFailed
from modelbuild.lineage.models import FoundModel, find_model
from modelbuild.store.model import ModelStore
from modelbuild.store.pipeline import PipelineStore


@pytest.fixture
def objects() -> MemoryObjects:
    """S3."""
    return MemoryObjects()


@pytest.fixture
def sweep() -> TrainingRequest:
    """The request of the sweep."""
    return recorded.sweep_request(12)


def found(objects: MemoryObjects, sweep: TrainingRequest) -> FoundModel:
    """Candidate 3 of the sweep."""
    root = sweep.artifacts.rsplit("/", 2)[0]
    return find_model(PipelineStore(objects, root), None, "12.3")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nope": 1}, "a value for nope, which the sweep of build 12 does not set"),
        ({"seed": 2}, "a value for seed, which the sweep of build 12 does not set"),
    ],
)
def test_a_leaderboard_that_is_not_of_the_sweep_is_named(
    values: dict[str, Any], message: str, objects: MemoryObjects, sweep: TrainingRequest
) -> None:
    """Flows may write it: values that the sweep does not set are a sentence."""
    recorded.put_sweep(objects, sweep, [recorded.row("12.3", 2.0, 0.6, rank=1, values=values)])
    with pytest.raises(VerificationFailed, match=rf"^candidate 12\.3 in .*/leaderboard\.json has {message}"):
        found(objects, sweep)


def test_a_sweep_over_no_parameter_is_a_sentence(objects: MemoryObjects, sweep: TrainingRequest) -> None:
    """A sweep whose space is not of its parameters makes no candidates."""
    other = sweep.model_copy(update={"parameters": {"seed": 1}})
    recorded.put_sweep(objects, other, [recorded.row("12.3", 2.0, 0.6, rank=1)])
    with pytest.raises(VerificationFailed, match=r"leaderboard\.json is not of the flow of build 12 \("):
        found(objects, other)


def test_a_build_without_a_sweep_has_no_candidates(objects: MemoryObjects, sweep: TrainingRequest) -> None:
    """A flow may write a leaderboard beside any model."""
    recorded.put_sweep(objects, sweep, [recorded.row("12.3", 2.0, 0.6, rank=1)])
    plain = sweep.model_copy(update={"sweep": None})
    objects.write(ModelStore(objects, sweep.artifacts).request_uri, plain.to_json().encode())
    with pytest.raises(VerificationFailed, match=r"leaderboard\.json has a value for training\."):
        found(objects, sweep)


@pytest.mark.parametrize("has_leaderboard", [True, False])
def test_the_own_request_of_a_candidate_is_the_one_that_its_sweep_makes(
    has_leaderboard: bool, objects: MemoryObjects, sweep: TrainingRequest
) -> None:
    """Flows may write it: one with another commit, or with values of another candidate, is refused."""
    if has_leaderboard:
        recorded.put_sweep(objects, sweep, [recorded.row("12.3", 2.0, 0.6, rank=1, offered=True)])
    else:
        ModelStore(objects, sweep.artifacts).write_request_once(sweep)
    own = ModelStore(objects, f"{sweep.artifacts}.3")
    request = sweep.candidate(3, {"training.learning_rate": 2.0})
    own.write_request_once(request)
    assert found(objects, sweep).request == request
    build = request.build.model_copy(update={"commit": "f" * 40})
    objects.write(own.request_uri, request.model_copy(update={"build": build}).to_json().encode())
    with pytest.raises(VerificationFailed, match=r"/12\.3/candidate\.json is not the request that .*/12/"):
        found(objects, sweep)


def test_values_of_another_candidate_are_refused(objects: MemoryObjects, sweep: TrainingRequest) -> None:
    """The values on the leaderboard are those of the candidate's own request."""
    recorded.put_sweep(objects, sweep, [recorded.row("12.3", 2.0, 0.6, rank=1, offered=True)])
    other = sweep.candidate(3, {"training.learning_rate": 0.1})
    ModelStore(objects, f"{sweep.artifacts}.3").write_request_once(other)
    with pytest.raises(VerificationFailed, match=r"candidate\.json is not the request that"):
        found(objects, sweep)
