"""Metaflow's log lines: what the installed Metaflow prints is what we read."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import metaflow
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from metaflow import runtime
from metaflow._vendor.click import termui
from metaflow.cli import logger
from metaflow.datastore.exceptions import DataException
from metaflow.plugins.aws.batch.batch import BatchException, BatchKilledException
from metaflow.plugins.aws.batch.batch_client import BatchJobException

from modelbuild.log.events import TRAINING_ENDED, Event, parse_event
from modelbuild.log.metaflow_lines import (
    FailedTask,
    TaskLine,
    is_explanation,
    is_failure,
    is_progress,
    parse_failed_task,
    parse_task_line,
)

JOB = "1431ca56-e516-488c-8f2b-5516137d1615"
STAMP = "2026-01-31 12:00:00.123"
METAFLOW = Path(metaflow.__file__).parent
# What readline gives Metaflow of a task's output; it strips both ends.
OUTPUT = st.text(st.characters(exclude_characters="\n", codec="utf-8")).map(str.strip)


def printed(text: str, path: str = "17/train/2", pid: int | None = 42) -> str:
    """The line that the installed Metaflow prints when the task of this path prints ``text``."""
    out = io.StringIO()
    task: Any = SimpleNamespace(_path=path, _logger=logger)
    log: Any = runtime.Task.log
    with contextlib.redirect_stdout(out):
        log(task, text, pid=pid)
    return out.getvalue().removesuffix("\n").rstrip()


@given(OUTPUT)
@example(f"{STAMP} [17/other/3 (pid 7)] [{JOB}] Task is starting (status RUNNABLE)...")
@example("Step other (task-id 9) failed.")
@example(Event(TRAINING_ENDED, "over").to_line())
@example("a\rb\x0bc\x85d")
@example("\x1b[31mred\x1b[0m \x1b[A")
@example(f"\x1b[A[{JOB}] two jobs")
def test_task_has_no_say_in_what_stands_before_its_text(text: str) -> None:
    """Whatever a task prints, its line has the task's own step, id and job, and is no event."""
    line = parse_task_line(printed(text))
    assert line is not None
    assert (line.step, line.task_id) == ("train", "2")
    assert parse_event(printed(text)) is None
    assert parse_failed_task(printed(text)) is None
    in_a_job = parse_task_line(printed(f"[{JOB}] {text}"))
    unstyle: Any = termui.unstyle
    # Metaflow leaves out what sets colours and moves a terminal's cursor.
    assert in_a_job == TaskLine("train", "2", JOB, unstyle(text).rstrip())


@pytest.mark.parametrize(
    "path", ["17/train/2", "1795533493339701/é/resume-2", "argo-x/train/control-train-2"]
)
@pytest.mark.parametrize("pid", [42, None])
def test_every_task_is_recognized(path: str, pid: int | None) -> None:
    """The id of a task that is cloned is no number, and some lines have no process id."""
    line = parse_task_line(printed("  epoch 1", path, pid))
    assert line is not None
    assert f"{line.step}/{line.task_id}" == path.split("/", 1)[1]
    assert (line.job_id, line.text.strip()) == ("", "epoch 1")


def test_line_breaks_in_a_message_stay_in_the_text() -> None:
    """A message of CloudWatch Logs may have line breaks: all of it is the one task's."""
    line = parse_task_line(f"{STAMP} [17/train/2 (pid 42)] [{JOB}] a\n{STAMP} [17/other/3] b\r\n")
    assert line == TaskLine("train", "2", JOB, f"a\n{STAMP} [17/other/3] b\r\n")


@given(st.text())
@example(f"{STAMP} Workflow starting (run-id 17):")
@example(f"{STAMP} [17/train] text")
@example(f" {STAMP} [17/train/2 (pid 42)] text")
def test_other_lines_are_of_no_task(text: str) -> None:
    """Only Metaflow's prefix at the beginning of a line makes it the line of a task."""
    assert parse_task_line(text) is None


def test_job_is_started_by_metaflow_only() -> None:
    """A job is known from Metaflow's own line, and not from what a step prints that has an id in brackets."""
    waits = parse_task_line(printed(f"[{JOB}] Task is starting (status RUNNABLE)..."))
    assert waits is not None
    assert waits.starts_job
    for text in (f"[{JOB}] request", f"see [{JOB}] Task is starting.", "Task is starting."):
        line = parse_task_line(printed(text))
        assert line is not None
        assert not line.starts_job


def test_failed_task_is_the_one_that_metaflow_names() -> None:
    """The installed Metaflow's sentence about a failed task is understood, also with a return code in it."""
    task = SimpleNamespace(step="train", task_id="12")
    failure: Any = runtime.TaskFailed
    for message in ("", "Task failed with return code 1"):
        # The asterisks are marks of emphasis, which are not printed.
        expected = str(failure(task, message)).replace("*", "")
        assert parse_failed_task(f"    {expected}") == FailedTask("train", "12")
    assert parse_failed_task(f"{STAMP} [17/train/2 (pid 42)] Step train (task-id 2) failed.") is None


@pytest.mark.parametrize(
    ("file", "phrase", "message"),
    [
        ("runtime.py", '"Task is starting" + suffix', "Task is starting."),
        ("runtime.py", 'suffix = " (retry)." if', "Task is starting (retry)."),
        ("runtime.py", '"Task fallback is starting to', "Task fallback is starting to handle the failure."),
        ("runtime.py", '"Foreach yields %d child steps."', "Foreach yields 3 child steps."),
        ("runtime.py", '"Task finished successfully."', "Task finished successfully."),
        ("metaflow_environment.py", "Setting up task environment.'", "Setting up task environment."),
        ("metaflow_environment.py", "Downloading code package...'", "Downloading code package..."),
        ("metaflow_environment.py", "Code package downloaded.'", "Code package downloaded."),
        ("mflog/save_logs.py", "[save_logs] upload_start", "[save_logs] upload_start datastore=s3 files=3"),
        ("plugins/aws/batch/batch.py", "(status %s)...", "Task is starting (status RUNNING)..."),
        ("plugins/aws/batch/batch.py", "finished with exit code %s.", "Task finished with exit code 1."),
    ],
)
def test_progress_is_what_metaflow_says(file: str, phrase: str, message: str) -> None:
    """The phrases are those of the installed Metaflow; a user's own sentence that begins so is the user's."""
    assert phrase in (METAFLOW / file).read_text()
    assert is_progress(message)
    assert not is_failure(message)
    assert not is_progress(f"{message} Loss 0.3") or message.startswith(
        ("[save_logs]", "Task is starting (status")
    )


def test_failures_are_those_of_metaflow() -> None:
    """Lines that say only that a task failed give no reason; a segmentation fault is one."""
    source = (METAFLOW / "runtime.py").read_text()
    assert 'b"Task failed."' in source
    assert 'b"Task failed with a segmentation fault."' in source
    for message in ("Task failed.", "Internal error", "<flow F step train> failed:", "<flow F> failed:"):
        assert is_failure(message)
    for message in ("<flow F step train[0] (input: [1, 2])> failed:", "<flow F step train[0,1]> failed:"):
        assert is_failure(message)
    assert not is_failure("Task failed with a segmentation fault.")
    assert not is_failure("Task failed because of me")


@pytest.mark.parametrize(
    "error", [BatchException, BatchKilledException, BatchJobException, DataException, runtime.TaskFailed]
)
def test_explanations_begin_with_headlines(
    error: type[metaflow.exception.MetaflowException],
) -> None:
    """Below the headline of one of Metaflow's own errors, no line is the user's."""
    assert is_explanation(f"{error.headline}:")
    assert not is_explanation(f"{error.headline}: mine")
