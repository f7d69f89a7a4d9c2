"""``modelbuild sweep-worker``, the command of the jobs that train the candidates of a sweep."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.contract import WorkerEnvironment
from modelbuild.errors import variable_error
from modelbuild.settings import AwsSettings
from modelbuild.store.model import ModelStore
from modelbuild.train.head.source import unpack

_TERMINATED_EXIT = 128 + signal.SIGTERM


def run(environ: Mapping[str, str] = os.environ) -> int:
    """Unpack the commit, and train this job's share of the candidates; returns the exit code.

    Raises:
        ConfigurationError: this is no job of a sweep, or the request cannot be read.
        AwsError: S3 refused.
    """
    try:
        own = WorkerEnvironment.read(environ)
    except ValidationError as error:
        raise variable_error(error, "the head of a sweep submits the job of this command") from error
    # The candidates must not outlive this process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED_EXIT))
    store = ModelStore(Storage(session(AwsSettings())), own.artifacts)
    request = store.request(any_version=True)
    with tempfile.TemporaryDirectory(prefix="modelbuild-", ignore_cleanup_errors=True) as scratch:
        flow = unpack(store, request, Path(scratch) / "source")
        command = [sys.executable, "-u", "-m", "modelbuild.flow.sweep.worker", flow.name]
        # On macOS a forked process may use libraries of the system only with this; Linux ignores it.
        variables = {**environ, "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES"}
        process = subprocess.Popen(command, cwd=flow.parent, env=variables)
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
