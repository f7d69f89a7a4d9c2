"""The process behind a variant, without AWS around it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from moto.logs.models import logs_backends

from modelbuild_local.aws.sagemaker.model_files import StartFailed
from modelbuild_local.aws.sagemaker.server import Plan, Server
from modelbuild_local.aws.settings import Settings

ACCOUNT, REGION = "123456789012", "us-east-1"


def test_a_server_that_never_answers_ping_is_given_up(tmp_path: Path) -> None:
    """When the time for the start is over the reason is SageMaker's, and nothing is left of the process."""
    program = tmp_path / "images" / "deaf" / "serve.py"
    program.parent.mkdir(parents=True)
    program.write_text("import time; print('loading', flush=True); time.sleep(60)")
    (program.parent / "Dockerfile").write_text(f'FROM scratch\nENTRYPOINT ["python", "{program}"]\n')
    settings = Settings(
        "http://127.0.0.1:1", tmp_path, tmp_path / "images", Path(sys.executable).parent, 1, 0
    )
    plan = Plan(
        account=ACCOUNT,
        region=REGION,
        endpoint="deaf",
        config="deaf",
        variant="AllTraffic",
        image="deaf",
        data=None,
        environment={},
        role="",
        isolated=True,
        startup_seconds=1.0,
    )
    server = Server(plan, settings)
    with pytest.raises(StartFailed) as failure:
        server.start()
    assert str(failure.value) == (
        "The primary container for production variant AllTraffic did not pass the ping health check. "
        "Please check CloudWatch logs for this endpoint."
    )
    assert server.exit_code == 128 + 15
    assert not list(tmp_path.rglob("AllTraffic/*"))
    [group] = [
        group
        for name, group in logs_backends[ACCOUNT][REGION].groups.items()
        if name == "/aws/sagemaker/Endpoints/deaf"
    ]
    messages = [event.message for stream in group.streams.values() for event in stream.events]
    assert messages == ["loading"]
