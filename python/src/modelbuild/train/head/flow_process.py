"""The process of the flow, which the head starts and stops."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from modelbuild import log
from modelbuild.log import events

# Batch kills the job 30 seconds after SIGTERM, and the delivery of the result needs some of them. Metaflow
# needs 5 to end its own jobs.
STOP_SECONDS = 10.0

_LAST_LINES = 500


def run(
    command: list[str], folder: Path, variables: Mapping[str, str], on_line: Callable[[str], None]
) -> tuple[int, list[str]]:
    """Run the flow in its own process group, pass on what it prints, and keep the last of it."""
    lines: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(
        command,
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                log.relay(line)
                text = line.decode(errors="replace").rstrip()
                lines.append(events.shown(text))
                on_line(text)
            exit_code = process.wait()
        except BaseException:
            _stop(process)
            raise
    return exit_code, list(lines)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the flow's process group to end, so that Metaflow ends its Batch jobs; insist after a while.

    Metaflow ends its jobs on SIGINT; SIGTERM ends only Metaflow.
    """
    _signal(process, signal.SIGINT)
    try:
        # The output is read meanwhile, because the process could not end while the pipe is full.
        rest, _ = process.communicate(timeout=STOP_SECONDS)
        log.relay(rest or b"")
    except subprocess.TimeoutExpired:
        pass
    finally:
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
