"""The history of an endpoint: nothing in it changes, and the newest deployment is two reads away."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import standins
from memory import MemoryObjects
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.contract import Deployment
from modelbuild.errors import VerificationFailed
from modelbuild.settings import AwsSettings
from modelbuild.store.deployments import DeploymentHistory

DEPLOYMENT = Deployment.model_validate_json(
    (Path(__file__).parents[1] / "data" / "model-12" / "deployment.json").read_bytes()
)


def of(model_id: str) -> Deployment:
    """The deployment of a model."""
    return DEPLOYMENT.model_copy(update={"model_id": model_id, "endpoint_config": f"sentiment-{model_id}"})


@pytest.fixture
def storage(on_stand_in: str) -> Storage:
    """S3 of the stand-in."""
    assert on_stand_in
    return Storage(session(AwsSettings()))


@pytest.fixture
def history(storage: Storage) -> DeploymentHistory:
    """The history of an endpoint that was never deployed to."""
    return DeploymentHistory(storage, f"s3://{standins.BUCKET}/models/{uuid.uuid4()}/", "sentiment")


def test_deployments_are_numbered_and_the_newest_is_current(history: DeploymentHistory) -> None:
    """Each has the next number, also that of a model which was served before."""
    assert history.current() is None
    recorded = [history.append(of(model_id), changed=True) for model_id in ("1", "2", "1")]
    assert [(one.number, one.model_id) for one in recorded] == [(1, "1"), (2, "2"), (3, "1")]
    assert [history.read(number) for number in (1, 2, 3, 4)] == [*recorded, None]
    assert history.current() == recorded[-1]


def test_a_step_that_is_retried_adds_nothing(history: DeploymentHistory) -> None:
    """The record keeps who approved the deployment, and when it was made."""
    first = history.append(of("1"), changed=True)
    later = of("1").model_copy(update={"deployed_at": "2026-02-03T04:05:06+00:00"})
    assert history.append(later, changed=False) == first
    assert history.read(2) is None


def test_interrupted_record_of_a_deployment_is_completed(
    storage: Storage, history: DeploymentHistory
) -> None:
    """The retry, or the next deployment, finds what ``current.json`` does not name yet."""
    first = history.append(of("1"), changed=True)
    second = of("2").model_copy(update={"number": 2})
    storage.write_once(f"{history.folder}/2.json", second.to_json().encode())
    assert history.current() == first
    assert history.append(of("2"), changed=False) == second
    assert history.current() == second


def test_a_deployment_whose_answer_is_lost_is_in_the_history_once() -> None:
    """S3 refuses the request that is sent again, because the first one has written the record."""

    class LosesFirst(MemoryObjects):
        lost = False

        def write_once(self, uri: str, body: bytes, content_type: str = "application/json") -> bool:
            if not self.lost:
                self.lost = super().write_once(uri, body, content_type)
            return super().write_once(uri, body, content_type)

    history = DeploymentHistory(LosesFirst(), "s3://production/models", "sentiment")
    assert history.append(of("1"), changed=True).number == 1
    assert history.read(2) is None


def test_deployments_at_the_same_time_lose_none(history: DeploymentHistory) -> None:
    """Whatever the order of their writes, each has a number of its own, and the last number is current."""
    with ThreadPoolExecutor(6) as pool:
        recorded = list(pool.map(lambda n: history.append(of(str(n)), changed=True), range(1, 7)))
    assert sorted(one.number for one in recorded) == [1, 2, 3, 4, 5, 6]
    current = history.current()
    assert current is not None
    assert current.number == 6


def test_a_history_outlives_versions_of_modelbuild() -> None:
    """An old build's deploy step, which brings an earlier model back, reads what a later version has added to
    the history, keeps it, and appends to it.
    """
    objects = MemoryObjects()
    history = DeploymentHistory(objects, "s3://production/models", "sentiment")
    document = json.loads(of("13").to_json())
    document["shadow"] = True
    document["approver"]["team"] = "ml"
    later = json.dumps(document).encode()
    objects.write(f"{history.folder}/1.json", later)
    assert history.append(of("13"), changed=False).model_id == "13"
    assert objects.read(f"{history.folder}/current.json") == later
    assert history.append(of("12"), changed=True).number == 2
    newest = history.current()
    assert newest is not None
    assert newest.model_id == "12"


def test_a_damaged_record_is_refused(storage: Storage, history: DeploymentHistory) -> None:
    """Where the current record cannot be read, nothing is appended."""
    storage.write(f"{history.folder}/current.json", b"{}")
    with pytest.raises(
        VerificationFailed,
        match=r"_endpoints/sentiment/current\.json is not a deployment .*: restore the earlier version of",
    ):
        history.append(of("1"), changed=True)
