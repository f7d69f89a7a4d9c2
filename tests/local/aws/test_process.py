"""Processes that stand for containers."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelbuild_local.aws import process
from waiting import SECONDS

LEAVES_HOME = """
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(300)"],
                         start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready", flush=True)
    time.sleep(300)
"""


def start(folder: Path, argument: str) -> Any:
    """A process whose child lives in a session of its own; stdout gives the child's id."""
    folder.mkdir(exist_ok=True)
    return process.start(
        [sys.executable, "-c", LEAVES_HOME, argument], folder, {"PATH": "/usr/bin:/bin"}, folder
    )


def test_sweep_reaches_other_sessions(
    tmp_path: Path, wait: Callable[..., Any], alive: Callable[[int], bool]
) -> None:
    """What a process leaves behind in another session ends with it, as in a container."""
    running = start(tmp_path, "leave")
    child = int(running.stdout.readline())
    running.wait(SECONDS)
    assert alive(child)
    process.sweep(running)
    wait(lambda: not alive(child))


def test_end_insists_after_the_grace(
    tmp_path: Path, wait: Callable[..., Any], alive: Callable[[int], bool]
) -> None:
    """A process that ignores SIGTERM is killed when its time is over, with its child."""
    running = start(tmp_path, "stubborn")
    child = int(running.stdout.readline())
    assert running.stdout.readline() == b"ready\n"
    process.end(running, grace=0.3)
    assert process.exit_code(running) == 137
    wait(lambda: not alive(child))


def test_what_a_killed_stand_in_left_is_found(
    tmp_path: Path, wait: Callable[..., Any], alive: Callable[[int], bool]
) -> None:
    """What a stand-in started is found by its folder alone, in all sessions, and nothing of another one."""
    of_folder = {name: start(tmp_path / name, "stubborn") for name in ("killed", "other")}
    children = {name: int(running.stdout.readline()) for name, running in of_folder.items()}
    try:
        process.kill_left(tmp_path / "killed")
        assert of_folder["killed"].wait(SECONDS) == -signal.SIGKILL
        wait(lambda: not alive(children["killed"]))
        assert alive(children["other"])
        assert of_folder["other"].poll() is None
    finally:
        for running in of_folder.values():
            process.sweep(running)
