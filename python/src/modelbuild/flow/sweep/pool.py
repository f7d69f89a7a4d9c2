"""Runs tasks in processes of their own, so that one that fails, diverges or is killed takes no other with it.

The processes are forked from one that has imported the flow and read the rows: a task then starts within
milliseconds, and all share the memory of the rows.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Generic, TypeVar

from modelbuild import log

Task = TypeVar("Task")

_TERMINATED_EXIT = 128 + signal.SIGTERM
_LOOK_SECONDS = 1.0
"""The time between two checks whether a process has ended: its own processes may keep its sentinel open."""
_EXIT_SECONDS = 60.0
"""How long a process may take to exit after its task; W&B's SDK, which sends its last data then, takes 20."""

_HANGS = "its process did not exit after its last step, and is ended"


@dataclass(frozen=True)
class _Running(Generic[Task]):
    """A task that runs.

    Attributes:
        task: the task.
        process: its process, which leads a process group of its own.
        output: the file with what it prints.
        mark: a file that is there once the task has been run to its end.
        began: when it was started.
    """

    task: Task
    process: BaseProcess
    output: Path
    mark: Path
    began: float

    def hangs(self) -> bool:
        """Whether its process does not exit after the task, for example because of a thread that is left."""
        return self.mark.exists() and time.time() - self.mark.stat().st_mtime > _EXIT_SECONDS

    def kill(self) -> None:
        """End what is left of its process and of those that it has started."""
        assert self.process.pid is not None
        # There is no group before the process has made one.
        self.process.kill()
        # macOS answers EPERM for a group of zombies.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)


def run_all(
    tasks: Iterable[Task],
    processes: int,
    run: Callable[[Task], None],
    name: Callable[[Task], str],
    on_death: Callable[[Task, str, float], None],
) -> None:
    """Run each task in a process, and print its output when it has ended.

    The processes that a task has started, and left behind, are ended with it. When this process gets SIGTERM,
    it ends those that run, and exits.

    Args:
        tasks: the tasks, in the order in which they start.
        processes: how many run at the same time.
        run: runs a task, in its process.
        name: the name of a task, with which its lines in the log begin.
        on_death: called in this process for a task whose process ended before the task did: with the task,
            how the process ended, and after how many seconds.
    """
    context = multiprocessing.get_context("fork")
    running: dict[int, _Running[Task]] = {}

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        for one in running.values():
            one.kill()
        os._exit(_TERMINATED_EXIT)

    before = signal.signal(signal.SIGTERM, stop)
    left = iter(tasks)
    try:
        with tempfile.TemporaryDirectory(prefix="modelbuild-") as scratch:
            while True:
                while len(running) < processes and (task := next(left, None)) is not None:
                    output, mark = (Path(scratch) / f"{name(task)}.{end}" for end in ("log", "ended"))
                    process = context.Process(target=_in_process, args=(run, task, output, mark))
                    with _sigterm_later():
                        process.start()
                        running[process.sentinel] = _Running(task, process, output, mark, time.monotonic())
                if not running:
                    return
                for sentinel in wait([*running], _LOOK_SECONDS):
                    assert isinstance(sentinel, int)
                    running[sentinel].process.join(_LOOK_SECONDS)
                for sentinel, one in [*running.items()]:
                    if one.hangs():
                        log.info(f"{name(one.task)} | {_HANGS}")
                        one.kill()
                        one.process.join()
                    if one.process.exitcode is not None:
                        del running[sentinel]
                        one.kill()
                        _print_log(one.output, name(one.task))
                        if not one.mark.exists():
                            on_death(
                                one.task, _describe_exit(one.process.exitcode), time.monotonic() - one.began
                            )
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _sigterm_later() -> Iterator[None]:
    """Delay the handling of a SIGTERM to the end of the block: the handler knows only processes that have
    started.

    Blocking the signal is not enough: Linux would deliver it to another thread, such as one of arrow's.
    """
    came: list[int] = []
    handler = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        for number in came:
            signal.raise_signal(number)


def _in_process(run: Callable[[Task], None], task: Task, output: Path, mark: Path) -> None:
    """Run a task with its output in a file, and make the file ``mark`` when it has ended."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Where the memory of the container is used up, Linux then kills this process first.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    run(task)
    mark.touch()


def _print_log(output: Path, name: str) -> None:
    """Print what a task has printed, a line at a time: all of it may be more than the memory."""
    if not output.exists() or not output.stat().st_size:
        log.info(f"{name} | (no output)")
        return
    with output.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            log.info(f"{name} | {line}")


def _describe_exit(exit_code: int) -> str:
    """How a process ended, in words."""
    if exit_code == 0:
        return "its process ended before its last step did, as if a step called os._exit(0)"
    if exit_code > 0:
        return f"its process ended with exit code {exit_code}"
    killed = -exit_code == signal.SIGKILL
    hint = ", as Linux does when the memory of the job is used up" if killed else ""
    return f"its process was killed by signal {-exit_code}{hint}"
