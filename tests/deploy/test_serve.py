"""What a step says of an endpoint whose answers are not verified, and that it cannot put back."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelbuild.contract import Deployment
from modelbuild.deploy import serve, smoke
from modelbuild.errors import VerificationFailed
from scripted_sagemaker import ARN, PLAN, Cloud, State


def message(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, newest: Deployment | None = None) -> str:
    """The error of a step that finds the plan in service, and wrong answers."""

    def refuse(*_: object) -> None:
        raise VerificationFailed("the answers are wrong")

    monkeypatch.setattr(smoke, "check", refuse)
    manifest = None  # only the check of the answers reads it
    with cloud.stubber, pytest.raises(VerificationFailed) as caught:
        serve.serve_verified(PLAN, manifest, newest, cloud.sagemaker, 600)  # type: ignore[arg-type]
    cloud.stubber.assert_no_pending_responses()
    return str(caught.value)


@pytest.fixture
def cloud() -> Cloud:
    """SageMaker whose endpoint runs the plan, and ran ``old`` before."""
    cloud = Cloud()
    cloud.makes()
    cloud.finds(State("InService", "new"))
    cloud.has_noted("old")
    return cloud


def test_no_command_is_shown_for_an_endpoint_that_is_gone(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint that a person has deleted meanwhile cannot be updated by any command."""
    cloud.finds(None)
    found = message(cloud, monkeypatch)
    gone = "endpoint sentiment was deleted in the meantime: retry this step to create it"
    assert found == f"the answers are wrong; {gone}"


def test_no_command_is_shown_for_a_configuration_that_is_gone(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Configurations that no endpoint uses are often cleaned up; the deploy step of the earlier build makes
    its own again.
    """
    cloud.finds(State("InService", "new"))
    cloud.refuses_to_put_back(f'Could not find endpoint configuration "{ARN}:endpoint-config/old".')
    found = message(cloud, monkeypatch)
    assert "endpoint sentiment was not put back to old (" in found
    assert 'Could not find endpoint configuration "' in found
    assert found.endswith("retry the deploy step of the build whose model it is to serve")


@pytest.mark.parametrize("verified", ["old", "older"])
def test_an_endpoint_that_ran_what_its_history_does_not_have_is_named(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, verified: str
) -> None:
    """A killed step leaves the endpoint on a configuration that it did not verify. A later step that puts the
    endpoint back to it says which model the history ends with.
    """
    record = (Path(__file__).parents[1] / "data" / "model-12" / "deployment.json").read_bytes()
    newest = Deployment.model_validate_json(record).model_copy(
        update={"model_id": "11", "endpoint_config": verified}
    )
    cloud.finds(State("InService", "new"))
    cloud.updates_endpoint("old")
    cloud.finds(State("InService", "old"))
    found = message(cloud, monkeypatch, newest)
    assert "endpoint sentiment was put back to old, which it ran before" in found
    assert ("its history ends with older of model 11: look which" in found) is (verified == "older")


def test_no_command_is_shown_for_a_configuration_that_does_not_start(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the archive or the image of the earlier model is gone, the same command fails again; the deploy
    step of its build copies the archive anew.
    """
    cloud.finds(State("InService", "new"))
    cloud.updates_endpoint("old")
    cloud.finds(State("Updating", "new", pending="old"), State("InService", "new", reason="No archive."))
    found = message(cloud, monkeypatch)
    assert (
        "endpoint sentiment was not put back to old (endpoint sentiment was rolled back to new (No" in found
    )
    assert found.endswith("retry the deploy step of the build whose model it is to serve")
