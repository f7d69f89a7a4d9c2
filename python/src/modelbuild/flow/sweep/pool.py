"""Runs tasks in processes of their own, so that one that fails, diverges or is killed takes no other with it.

The processes are forked from one that has imported the flow and read the rows: a task then starts within
milliseconds, and all share the memory of the rows.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Generic, TypeVar

from modelbuild import log

Task = TypeVar("Task")

_TERMINATED_EXIT = 128 + signal.SIGTERM


@dataclass(frozen=True)
class _Running(Generic[Task]):
    task: Task
    process: BaseProcess
    output: Path


def run_all(
    tasks: Iterable[Task],
    processes: int,
    run: Callable[[Task], None],
    name: Callable[[Task], str],
    on_death: Callable[[Task, str], None],
) -> None:
    """Run each task in a process, and print its output when it has ended.

    When this process gets SIGTERM, it ends those that run, and exits.

    Args:
        tasks: the tasks, in the order in which they start.
        processes: how many run at the same time.
        run: runs a task, in its process.
        name: the name of a task, with which its lines in the log begin.
        on_death: is told, in this process, of a task whose process ended with an error, and how.
    """
    context = multiprocessing.get_context("fork")
    running: dict[int, _Running[Task]] = {}

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        for one in running.values():
            one.process.kill()
        os._exit(_TERMINATED_EXIT)

    before = signal.signal(signal.SIGTERM, stop)
    left = iter(tasks)
    try:
        with tempfile.TemporaryDirectory(prefix="modelbuild-") as scratch:
            while True:
                while len(running) < processes and (task := next(left, None)) is not None:
                    output = Path(scratch) / f"{name(task)}.log"
                    process = context.Process(target=_in_process, args=(run, task, output))
                    process.start()
                    running[process.sentinel] = _Running(task, process, output)
                if not running:
                    return
                for sentinel in wait([*running]):
                    assert isinstance(sentinel, int)
                    ended = running.pop(sentinel)
                    ended.process.join()
                    _print_log(ended.output, name(ended.task))
                    if ended.process.exitcode:
                        on_death(ended.task, _how(ended.process.exitcode))
    finally:
        signal.signal(signal.SIGTERM, before)


def _in_process(run: Callable[[Task], None], task: Task, output: Path) -> None:
    """Run a task with its output in a file."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Of all processes in a container whose memory is used up, Linux then ends this one.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    run(task)


def _print_log(output: Path, name: str) -> None:
    lines = output.read_text(encoding="utf-8", errors="replace").splitlines() if output.exists() else []
    log.lines("\n".join(f"{name} | {line}" for line in lines) or f"{name} | (no output)")


def _how(exit_code: int) -> str:
    """How a process ended, in words."""
    if exit_code >= 0:
        return f"its process ended with exit code {exit_code}"
    killed = -exit_code == signal.SIGKILL
    hint = ", as Linux does when the memory of the job is used up" if killed else ""
    return f"its process was killed by signal {-exit_code}{hint}"
