from __future__ import annotations

from pathlib import Path

import pytest

from models import Published, publish


@pytest.fixture
def published(tmp_path: Path) -> Published:
    """A model of 64 buckets with weights of a fixed seed, as model 12.3 of the pipeline "comments"."""
    return publish(tmp_path)
