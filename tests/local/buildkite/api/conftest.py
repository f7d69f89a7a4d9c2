"""An agent of a queue of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agent_client import FakeAgent, names


@pytest.fixture
def name() -> str:
    """A name of a pipeline, and of a queue, that no other test uses."""
    return next(names)


@pytest.fixture
def agent(server: Any, name: str) -> Iterator[FakeAgent]:
    """A registered agent of the queue ``name``."""
    agent = FakeAgent(server, name)
    yield agent
    agent.call("POST", "/disconnect")
