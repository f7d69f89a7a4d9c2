from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import standins
from modelbuild_local import agent

API_TOKEN = "the-rest-token"


@pytest.fixture(scope="session")
def buildkite_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The Buildkite stand-in."""
    secrets = {"api_token": API_TOKEN}
    data = tmp_path_factory.mktemp("buildkite")
    with standins.started("buildkite", "--data", data, secrets=secrets) as running:
        yield running.url


@pytest.fixture
def on_agent(on_stand_in: str, buildkite_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a job of a real agent, with both stand-ins; also that of this process."""
    environment = {
        **standins.variables(on_stand_in),
        "PATH": f"{agent.find().parent}{os.pathsep}{os.environ['PATH']}",
        "BUILDKITE_API_URL": f"{buildkite_url}/v2",
        "DATA_LAKE_ACCOUNT": "123456789012",
        "PRODUCTION_ACCOUNT": "222222222222",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a pipeline file."""

    def written(text: str) -> Path:
        path = tmp_path / "pipeline.yml"
        path.write_text(text, encoding="utf-8")
        return path

    return written
