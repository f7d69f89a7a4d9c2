"""What is shown of a training while it runs."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild_local.run.terminal import Terminal
from modelbuild_local.run.training import readable

JOB = "[1431ca56-e516-488c-8f2b-5516137d1615]"
LOG = f"""\
Metaflow 2.19 executing SentimentFlow for user:modelbuild
2026-01-01 12:00:00.000 Workflow starting (run-id 1795):
2026-01-01 12:00:01.000 [1795/start/1 (pid 1)] Task is starting.
2026-01-01 12:00:02.000 [1795/start/1 (pid 1)] Task finished successfully.
2026-01-01 12:00:03.000 [1795/prepare/2 (pid 2)] Task is starting.
2026-01-01 12:00:04.000 [1795/prepare/2 (pid 2)] {JOB} Task is starting (status RUNNING)...
2026-01-01 12:00:05.000 [1795/prepare/2 (pid 2)] {JOB} Downloading code package...
2026-01-01 12:00:06.000 [1795/prepare/2 (pid 2)] {JOB} 3 rows [all of them]
2026-01-01 12:00:07.000 [1795/prepare/2 (pid 2)] {JOB}
2026-01-01 12:00:08.000 [1795/train/3 (pid 3)] {JOB} Traceback (most recent call last):
2026-01-01 12:00:08.000 [1795/train/3 (pid 3)] {JOB}   File "train.py", line 1
""".splitlines()


def test_steps_are_groups_of_what_they_print() -> None:
    """Each step is a group; what Metaflow says about itself is left out, what a step prints is not."""
    assert readable(LOG).splitlines() == [
        "--- start",
        "--- prepare",
        "3 rows [all of them]",
        "--- train",
        "Traceback (most recent call last):",
        '  File "train.py", line 1',
    ]


@pytest.mark.parametrize("before", ["", "\x1b[1m", "50%\r"])
@pytest.mark.parametrize("marker", ["---", "+++", "~~~", "^^^ +++"])
def test_no_line_of_a_step_is_a_group(before: str, marker: str) -> None:
    """What a step prints begins and closes no group of the terminal, which would hide the lines below it."""
    prefix = "2026-01-01 12:00:08.000 [1795/train/3 (pid 3)]"
    out = io.StringIO()
    terminal = Terminal(out)
    terminal.started("block", "training", "waits")
    terminal.log("block", readable([f"{prefix} {before}{marker} mine", f"{prefix} 10%\r100%"]), ended=True)
    lines = [line.partition("| ")[2] for line in out.getvalue().splitlines()]
    assert lines == ["waits", "--- train", f"| {marker} mine", "100%"]


@given(st.lists(st.sampled_from(LOG) | st.text(), max_size=20), st.integers(0, 20))
def test_the_text_only_grows(messages: list[str], length: int) -> None:
    """What has been shown stays as it is when more messages come."""
    assert readable(messages).startswith(readable(messages[:length]))
