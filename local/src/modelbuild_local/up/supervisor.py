"""``python -m modelbuild_local.up.supervisor COMMAND…``: runs a command for as long as standard input is
open.

It stops a program that would otherwise outlive its parent. When the parent ends in any way, its end of the
pipe is closed, and the supervisor sends the command two signals, because after one ``buildkite-agent`` first
finishes its job.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time

_GRACE_SECONDS = (3.0, 10.0)
_POLL_SECONDS = 0.1


def main(command: list[str]) -> int:
    """Run ``command``; returns its exit code."""
    # Ctrl-C reaches the whole foreground group, so it is ignored here: the parent decides whether to stop.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    stopping = False

    def stop(_signum: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while process.poll() is None and not stopping:
        readable, _, _ = select.select([sys.stdin], [], [], _POLL_SECONDS)
        stopping = stopping or (bool(readable) and not os.read(sys.stdin.fileno(), 1024))
    for seconds in _GRACE_SECONDS:
        if process.poll() is None:
            process.terminate()
            _wait(process, seconds)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
