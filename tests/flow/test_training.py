from __future__ import annotations

import pytest

from modelbuild.aws.storage import NotFound, Storage
from modelbuild.contract import TrainingRequest
from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.flow.training import prefix, request

BUILD = {"MODEL_ID": "12"}


def test_a_build_writes_to_its_own_prefix() -> None:
    """The prefix is the request's, to which retries and the head come back."""
    assert prefix({**BUILD, "ARTIFACTS": "s3://bucket/models/p/12"}, "7") == "s3://bucket/models/p/12"


def test_a_flow_on_its_own_starts_afresh() -> None:
    """Each run writes to a folder of its own, so that nothing of an earlier run is taken for its own."""
    assert prefix({"ARTIFACTS": "s3://bucket/scratch/ada/"}, "7") == "s3://bucket/scratch/ada/7"


@pytest.mark.parametrize(("variables", "says"), [({}, "is not set"), ({"ARTIFACTS": "/tmp"}, "is '/tmp'")])
def test_says_where_to_write(variables: dict[str, str], says: str) -> None:
    """A missing or wrong place is one sentence with an example."""
    with pytest.raises(ConfigurationError, match=f"ARTIFACTS {says}.*s3://bucket/scratch/you"):
        prefix(variables, "7")


def test_a_flow_on_its_own_has_no_request(storage: Storage, artifacts: str) -> None:
    """Without MODEL_ID nothing is looked for."""
    assert request(storage, artifacts, {}, {}) is None


def test_reads_what_the_build_asked_for(storage: Storage, asked: TrainingRequest) -> None:
    """The request comes back as it was written."""
    storage.write(f"{asked.artifacts}/request.json", asked.to_json().encode())
    assert request(storage, asked.artifacts, {"seed": 1}, BUILD) == asked


def test_refuses_other_parameters_than_were_asked_for(storage: Storage, asked: TrainingRequest) -> None:
    """A model is never published under parameters that did not make it."""
    storage.write(f"{asked.artifacts}/request.json", asked.to_json().encode())
    with pytest.raises(VerificationFailed, match="The flow runs with parameters"):
        request(storage, asked.artifacts, {"seed": 2}, BUILD)


def test_refuses_what_is_no_request(storage: Storage, artifacts: str) -> None:
    """A missing request and one that cannot be read are told apart."""
    with pytest.raises(NotFound):
        request(storage, artifacts, {}, BUILD)
    storage.write(f"{artifacts}/request.json", b"{}")
    with pytest.raises(ConfigurationError, match="is not a training request"):
        request(storage, artifacts, {}, BUILD)
