"""What the head of a sweep reads of a flow: how large the jobs of its steps are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelbuild.errors import TrainingFailed
from modelbuild.train.head import sweep_jobs

FLOW = """
from metaflow import step
from modelbuild.flow.base import ModelFlow
from modelbuild.flow.batch import on_batch

class MailFlow(ModelFlow):
    @step
    def start(self):
        self.next(self.train)

    @on_batch(cpu=2, memory=4096)
    @step
    def train(self):
        self.next(self.end)

    @step
    def end(self):
        pass
"""


def sizes(folder: Path, before: str = "") -> dict[str, dict[str, int]]:
    """What the head reads of a flow, whose file begins with other lines."""
    flow = folder / "flow.py"
    flow.write_text(before + FLOW)
    stack = {"MODEL_ID": "12", "ARTIFACTS": "s3://bucket/models/shop/mail/12", "WANDB_SECRET_ARN": ""}
    return sweep_jobs.sizes(flow, {**os.environ, **stack})


@pytest.mark.parametrize(
    "before", ["", "import atexit, sys\nprint('at first')\natexit.register(print, 'at last')\n"]
)
def test_sizes_are_read_whatever_the_flow_prints(tmp_path: Path, before: str) -> None:
    """The flow's modules may print when they are imported, and when Python ends."""
    assert sizes(tmp_path, before)["train"] == {"cpu": 2, "memory": 4096, "gpu": 0}


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("import sys\nsys.exit(0)\n", r"flow\.py, or a module that it imports, ends Python"),
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import time\ntime.sleep(600)\n", r"flow\.py was not imported in 0\.5 seconds"),
    ],
)
def test_a_flow_that_cannot_be_imported_is_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, message: str
) -> None:
    """Each ends the sweep with a sentence about the flow."""
    if "sleep" in before:
        monkeypatch.setattr(sweep_jobs, "_DESCRIBE_SECONDS", 0.5)
    with pytest.raises(TrainingFailed, match=f"the flow cannot be read: {message}"):
        sizes(tmp_path, before)
