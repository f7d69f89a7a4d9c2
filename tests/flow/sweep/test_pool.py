"""Tasks that run in processes of their own."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from modelbuild.flow.sweep import pool
from modelbuild.flow.sweep.pool import run_all
from waiting import SECONDS, runs, wait_until


def test_each_task_runs_in_a_process_and_its_output_is_told_apart(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What a task prints comes as one block with its name, whatever its descriptor."""

    def run(task: int) -> None:
        os.write(1, f"task {task}\n".encode())
        os.write(2, b"on stderr\n")
        (tmp_path / str(task)).write_text(str(os.getpid()))

    deaths: list[tuple[int, str]] = []
    run_all(range(5), 2, run, lambda task: f"t{task}", lambda task, how, _: deaths.append((task, how)))
    assert deaths == []
    pids = {(tmp_path / str(task)).read_text() for task in range(5)}
    assert len(pids - {str(os.getpid())}) == 5
    printed = "".join(capfd.readouterr())
    assert all(f"t{task} | task {task}\nt{task} | on stderr\n" in printed for task in range(5))


def test_a_task_that_dies_takes_no_other_with_it() -> None:
    """A task that is killed, exits or raises is reported; the others run to their ends."""

    def run(task: str) -> None:
        if task == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if task == "exits":
            os._exit(3)
        if task == "exits well":
            os._exit(0)
        if task == "raises":
            raise ValueError("no rows")

    deaths: dict[str, str] = {}
    run_all(
        ["killed", "exits", "exits well", "raises", "good"],
        5,
        run,
        str,
        lambda task, how, _: deaths.update({task: how}),
    )
    assert deaths == {
        "killed": "its process was killed by signal 9, as Linux does when the memory of the job is used up",
        "exits": "its process ended with exit code 3",
        "exits well": "its process ended before its last step did, as if a step called os._exit(0)",
        "raises": "its process ended with exit code 1",
    }


def test_what_a_dead_task_has_started_does_not_outlive_it(tmp_path: Path) -> None:
    """Its own processes keep open what tells that it has ended, and are ended with it; its time is told."""

    def run(_: int) -> None:
        child = os.fork()
        if child == 0:
            time.sleep(600)
        (tmp_path / "child").write_text(str(child))
        os.kill(os.getpid(), signal.SIGKILL)

    deaths: list[float] = []
    began = time.monotonic()
    run_all([1], 1, run, str, lambda *how: deaths.append(how[-1]))
    (seconds,) = deaths
    assert 0 < seconds <= time.monotonic() - began
    child = (tmp_path / "child").read_text()
    wait_until(functools.partial(_is_gone, child), f"the end of process {child}")


def test_a_process_that_does_not_exit_keeps_no_place(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A task has been run to its end, and left a thread that Python waits for: its process is ended, the next
    task runs, and the task counts as run.
    """
    monkeypatch.setattr(pool, "_EXIT_SECONDS", 0.1)

    def run(task: str) -> None:
        if task == "hangs":
            threading.Thread(target=time.sleep, args=(600,)).start()
        os.write(1, f"{task} is done\n".encode())

    run_all(["hangs", "next"], 1, run, str, lambda task, how, _: pytest.fail(f"{task}: {how}"))
    printed = capfd.readouterr().out
    assert "hangs | its process did not exit after its last step, and is ended" in printed
    assert "hangs | hangs is done" in printed
    assert "next | next is done" in printed


def test_what_a_task_prints_is_not_held_in_memory(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It may be more than the memory of the worker, of which Linux would then kill another candidate."""
    output = tmp_path / "log"
    with output.open("w", encoding="utf-8") as file:
        for number in range(2_000):
            file.write(f"{number} {'x' * 10_000}\r")
    tracemalloc.start()
    try:
        pool._print_log(output, "one")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
    printed = capfd.readouterr().out.splitlines()
    assert [line.split()[:3] for line in printed] == [["one", "|", str(number)] for number in range(2_000)]


def test_no_more_tasks_run_at_the_same_time_than_asked_for(tmp_path: Path) -> None:
    """With two processes, no task ever sees three that run."""

    def run(task: int) -> None:
        mark = tmp_path / f"{task}.running"
        mark.touch()
        (tmp_path / f"{task}.seen").write_text(str(len([*tmp_path.glob("*.running")])))
        mark.unlink()

    run_all(range(12), 2, run, str, lambda task, how, _: pytest.fail(f"{task}: {how}"))
    assert {int((tmp_path / f"{task}.seen").read_text()) for task in range(12)} <= {1, 2}


PROGRAM = """
import os, sys, time
from modelbuild.flow.sweep.pool import run_all
def run(task):
    open(f"{task}.pid", "w").write(str(os.getpid()))
    os.rename(f"{task}.pid", f"{task}.started")
    time.sleep(600)
run_all(["one", "two"], 2, run, str, print)
"""


def test_the_tasks_end_with_the_process(tmp_path: Path) -> None:
    """Batch ends a job with SIGTERM: no task outlives it."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=tmp_path)
    marks = [tmp_path / "one.started", tmp_path / "two.started"]
    wait_until(lambda: all(mark.exists() for mark in marks) or process.poll() is not None, "both tasks")
    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS) == 143
    for mark in marks:
        # The parent has not waited for them, so they are gone once their new parent has.
        pid = mark.read_text()
        wait_until(functools.partial(_is_gone, pid), f"the end of task {pid}")


PROGRAM_THAT_IS_STOPPED = """
import multiprocessing.process, os, signal, threading, time
from modelbuild.flow.sweep.pool import run_all
start = multiprocessing.process.BaseProcess.start
came, handled = os.pipe()
os.set_blocking(handled, False)
signal.set_wakeup_fd(handled)
def start_and_stop(self):
    start(self)
    open("pid", "w").write(str(self.pid))
    os.kill(os.getpid(), signal.SIGTERM)
    os.read(came, 1)
multiprocessing.process.BaseProcess.start = start_and_stop
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
run_all(["one"], 1, lambda task: time.sleep(600), str, print)
"""


def test_a_task_that_is_just_being_started_ends_with_the_process(tmp_path: Path) -> None:
    """SIGTERM may come when its process is there and not yet known, and another thread may take it."""
    command = [sys.executable, "-c", PROGRAM_THAT_IS_STOPPED]
    assert subprocess.run(command, cwd=tmp_path, timeout=SECONDS, check=False).returncode == 143
    pid = (tmp_path / "pid").read_text()
    wait_until(functools.partial(_is_gone, pid), f"the end of task {pid}")


def _is_gone(pid: str) -> bool:
    return not runs(pid)
