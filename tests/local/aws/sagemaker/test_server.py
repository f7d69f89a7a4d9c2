"""The process behind a variant, without AWS around it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from moto.logs.models import logs_backends

from modelbuild_local.aws.sagemaker import server as server_module
from modelbuild_local.aws.sagemaker.model_files import StartFailed
from modelbuild_local.aws.sagemaker.server import Plan, Server
from modelbuild_local.aws.settings import Settings

ACCOUNT, REGION = "123456789012", "us-east-1"


def printed() -> list[str]:
    """What the log of the endpoint has."""
    group = logs_backends[ACCOUNT][REGION].groups.get("/aws/sagemaker/Endpoints/deaf")
    streams = [*group.streams.values()] if group else []
    return [event.message for stream in streams for event in stream.events]


def test_a_server_that_never_answers_ping_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the time for the start is over the reason is SageMaker's, and nothing is left of the process."""
    program = tmp_path / "images" / "deaf" / "serve.py"
    program.parent.mkdir(parents=True)
    program.write_text("import time; print('loading', flush=True); time.sleep(60)")
    (program.parent / "Dockerfile").write_text(f'FROM scratch\nENTRYPOINT ["python", "{program}"]\n')
    settings = Settings(
        "http://127.0.0.1:1", tmp_path, (tmp_path / "images",), Path(sys.executable).parent, 1, 0
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
    passed = 0.0

    def sleep(seconds: float) -> None:
        # The start of the program hardly counts: on a busy machine it may take all of the second.
        nonlocal passed
        passed += seconds if printed() else seconds / 600
        time.sleep(0.01)

    monkeypatch.setattr(server_module, "time", SimpleNamespace(monotonic=lambda: passed, sleep=sleep))
    server = Server(plan, settings)
    with pytest.raises(StartFailed) as failure:
        server.start()
    assert str(failure.value) == (
        "The primary container for production variant AllTraffic did not pass the ping health check. "
        "Please check CloudWatch logs for this endpoint."
    )
    assert server.exit_code == 128 + 15
    assert not list(tmp_path.rglob("AllTraffic/*"))
    assert printed() == ["loading"]
