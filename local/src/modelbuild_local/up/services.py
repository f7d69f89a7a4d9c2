"""The processes of laptop mode: each announces its address, and runs until its standard input is closed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelbuild.errors import ModelbuildError

_STOP_SECONDS = 15.0


@dataclass
class Service:
    """One running service; ``log`` is the file with what it writes to standard error."""

    name: str
    process: subprocess.Popen[str]
    log: Path

    def url(self, seconds: float) -> str:
        """Wait until it serves; returns its address.

        Raises:
            ModelbuildError: it ended, or announced no address within ``seconds``.
        """
        assert self.process.stdout is not None
        timer = threading.Timer(seconds, self.process.kill)
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        try:
            return str(json.loads(line)["url"])
        except (ValueError, KeyError, TypeError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
            last = next((f" ({line})" for line in reversed(lines) if line.strip()), "")
            raise ModelbuildError(f"the local {self.name} did not start{last}: see {self.log}") from None

    def end(self) -> None:
        """Ask it to stop, by closing its input."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def wait(self) -> None:
        """Wait until it has stopped, and kill it if it does not."""
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(name: str, module: str, arguments: list[str], data: Path, secrets: Mapping[str, str]) -> Service:
    """Start ``python -m module arguments``.

    Args:
        name: of the service; its log is ``<name>.log`` in ``data``.
        module: what runs it.
        arguments: its command line, which every user of this machine can read.
        data: folder of the log.
        secrets: the first line of its standard input.
    """
    log = data / f"{name}.log"
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            errors="replace",
            # Its own process group, so that Ctrl-C in the terminal reaches only this process, which then
            # stops it.
            start_new_session=True,
        )
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(dict(secrets)) + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        # The service has ended already; ``url`` raises the error that says why.
        pass
    return Service(name, process, log)
