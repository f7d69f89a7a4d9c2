"""A train step in a checkout of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from train_step import PYTHON, Build, build_numbers


@pytest.fixture
def build(aws: Any, agent: Any, repository: Any, monkeypatch: pytest.MonkeyPatch) -> Build:
    """A build with a number of its own, in its checkout."""
    assert agent.calls == []
    script = Path(aws.bin) / "python"
    script.write_text(PYTHON)
    script.chmod(0o755)
    made = Build(repository, next(build_numbers), script.parent)
    monkeypatch.chdir(repository.folder)
    return made
