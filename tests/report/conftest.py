from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

UPDATE = "UPDATE_GOLDEN"


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """``golden(name, text)``: the text is what the file in golden/ holds; UPDATE_GOLDEN=1 writes it there."""

    def check(name: str, text: str) -> None:
        path = Path(__file__).with_name("golden") / name
        if os.environ.get(UPDATE):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"if this is right, run again with {UPDATE}=1"

    return check
