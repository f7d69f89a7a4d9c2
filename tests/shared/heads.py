"""``modelbuild head`` as Batch runs it."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.contract import TrainingRequest, TrainingResult
from modelbuild.settings import AwsSettings
from waiting import SECONDS

HEAD_SECONDS = 3 * SECONDS
"""How long a test waits for the end of a head, which starts a process of Metaflow for each step."""
# ``python -m modelbuild head`` for a Buildkite that takes any number of calls: turns need not be waited for.
QUICK_HEAD = """
import runpy, sys
from modelbuild.buildkite import rate_limiter
rate_limiter.SLICE_SECONDS = 0.05
sys.argv = ["modelbuild", "head"]
runpy.run_module("modelbuild", run_name="__main__")
"""


class Head:
    """A training in S3, and ``modelbuild head`` as Batch would run it."""

    def __init__(
        self, prefix: str, environ: dict[str, str], request_for: Callable[..., TrainingRequest]
    ) -> None:
        self.artifacts = prefix
        self.environ = environ
        self.storage = Storage(session(AwsSettings()))
        self._request_for = request_for

    def write_request(self, archived: bytes, **changes: Any) -> TrainingRequest:
        """Write the archive and a request for it."""
        request = self._request_for(self.artifacts, **changes)
        digest = hashlib.sha256(archived).hexdigest()
        request = request.model_copy(update={"source": request.source.model_copy(update={"sha256": digest})})
        self.storage.write(request.source.path, archived)
        self.storage.write(f"{self.artifacts}/request.json", request.to_json().encode())
        return request

    def start(self, *, held: bool = False) -> subprocess.Popen[str]:
        """Start the head; with ``held``, SIGTERM is blocked from the start."""
        earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM} if held else ())
        try:
            return subprocess.Popen(
                [sys.executable, "-c", QUICK_HEAD],
                env=self.environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, earlier)

    def run(self) -> tuple[int, str]:
        """Run the head to its end: exit code and output."""
        process = self.start()
        output, _ = process.communicate(timeout=HEAD_SECONDS)
        return process.returncode, output

    def result(self) -> TrainingResult:
        """The stored result."""
        return TrainingResult.model_validate_json(self.storage.read(f"{self.artifacts}/result.json"))
