"""What a step says of an endpoint whose answers are not verified, and that it cannot put back."""

from __future__ import annotations

import pytest

from modelbuild.deploy import serve, smoke
from modelbuild.errors import VerificationFailed
from scripted_sagemaker import ARN, PLAN, Cloud, State


def message(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> str:
    """The error of a step that finds the plan in service, and wrong answers."""

    def refuse(*_: object) -> None:
        raise VerificationFailed("the answers are wrong")

    monkeypatch.setattr(smoke, "check", refuse)
    manifest = None  # only the check of the answers reads it
    with cloud.stubber, pytest.raises(VerificationFailed) as caught:
        serve.serve_verified(PLAN, manifest, None, cloud.sagemaker, 600)  # type: ignore[arg-type]
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
