"""A deploy step that is cancelled while SageMaker changes the endpoint."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from modelbuild.deploy import command, smoke
from modelbuild.errors import VerificationFailed
from samples import WRONG


def cancel(*_: object) -> None:
    """What the agent does with the processes of a job."""
    os.kill(os.getpid(), signal.SIGTERM)


def cancelled(
    deployer: Any, monkeypatch: pytest.MonkeyPatch, at: tuple[Any, str], endpoint: str
) -> tuple[Any, str]:
    """Run the step, which is cancelled where it calls a function; its exit code, and what the page says."""
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patched:
        patched.setattr(*at, cancel)
        with pytest.raises(SystemExit) as ended:
            command.run(deployer.settings(endpoint))
    signal.signal(signal.SIGTERM, before)
    return ended.value.code, deployer.agent.annotations[-1].body


def test_a_step_that_is_cancelled_says_what_sagemaker_goes_on_with(
    deployer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its page and log have the command that puts the endpoint back, and its retry does that by itself."""
    deployer.train(391)
    command.run(deployer.settings("interrupted"))
    before = deployer.sagemaker.describe_endpoint(EndpointName="interrupted")["EndpointConfigName"]
    deployer.train(392, golden=(WRONG,))
    code, page = cancelled(deployer, monkeypatch, (smoke, "check"), "interrupted")
    assert code == 143
    assert "this step was cancelled before it had verified the answers of endpoint interrupted" in page
    assert "aws sagemaker update-endpoint --endpoint-name interrupted" in page
    assert f"--endpoint-config-name {before}" in page
    with pytest.raises(VerificationFailed, match=f"was put back to {before}"):
        command.run(deployer.settings("interrupted"))


def test_a_step_that_is_cancelled_early_has_changed_nothing(
    deployer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled before the update, the step says that the endpoint does not change."""
    deployer.train(393)
    code, page = cancelled(deployer, monkeypatch, (command, "ensure_endpoint"), "early")
    assert code == 143
    assert "this step was cancelled, and endpoint early does not change to early-393-" in page
