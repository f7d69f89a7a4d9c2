"""A deploy step that is cancelled while SageMaker changes the endpoint."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from modelbuild.aws.sagemaker import SageMaker
from modelbuild.aws.storage import Storage
from modelbuild.deploy import command, serve, smoke
from modelbuild.errors import VerificationFailed
from samples import WRONG


def cancel(*_: object) -> None:
    """What the agent does with the processes of a job."""
    os.kill(os.getpid(), signal.SIGTERM)


def end(*_: object) -> None:
    """What SIGTERM does where nothing handles it."""
    raise SystemExit(128 + signal.SIGTERM)


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
    code, page = cancelled(deployer, monkeypatch, (serve, "ensure_endpoint"), "early")
    assert code == 143
    assert "this step was cancelled, and endpoint early does not change to early-393-" in page


def test_a_step_that_is_cancelled_while_it_copies_leaves_no_copy_behind(
    deployer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An archive on the agent's disk is as large as the model, and each cancelled step would leave one."""
    deployer.train(398)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr(Storage, "upload", cancel)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        command.run(deployer.settings("half-copied"))
    signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 143
    assert list(scratch.iterdir()) == []


def test_the_way_back_from_a_verified_model_is_not_shown(
    deployer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that is retried after its endpoint was verified, and cancelled then, has no command that would
    take the endpoint from the model that its history says it serves.
    """
    deployer.train(394)
    command.run(deployer.settings("verified-before"))
    code, page = cancelled(deployer, monkeypatch, (smoke, "check"), "verified-before")
    assert code == 143
    assert "were verified at 2" in page
    assert "aws sagemaker" not in page


def test_why_an_endpoint_is_put_back_is_said_before(
    deployer: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step that is cancelled while it puts the endpoint back has no error any more that says it."""
    deployer.train(395)
    command.run(deployer.settings("back"))
    deployer.train(396, golden=(WRONG,))
    capsys.readouterr()
    code, _ = cancelled(deployer, monkeypatch, (serve, "rollback"), "back")
    assert code == 143
    assert "but the model that was approved answered" in capsys.readouterr().out


def test_a_verified_model_is_recorded_before_the_step_ends(
    deployer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled after the answers were verified, the step leaves no model that the history does not have."""
    deployer.train(397)
    before = signal.signal(signal.SIGTERM, end)
    tag = SageMaker.tag

    def tag_and_cancel(self: SageMaker, arn: str, tags: Mapping[str, str]) -> None:
        tag(self, arn, tags)
        if "MODEL_ID" in tags:
            cancel()

    monkeypatch.setattr(SageMaker, "tag", tag_and_cancel)
    try:
        command.run(deployer.settings("recorded"))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert deployer.agent.annotations[-1].style == "success"
    assert deployer.agent.meta_data["deploy/recorded/deployment"] == "1"
