"""Real agents that run the jobs of builds."""

from __future__ import annotations

import fcntl
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from modelbuild.errors import BuildkiteError
from modelbuild_local import agent
from modelbuild_local.laptop import State
from modelbuild_local.run.client import Client
from modelbuild_local.up import plugins
from modelbuild_local.up.environment import process_environment

_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.3
_AGENTS = 2


@dataclass(frozen=True)
class Agents:
    """Agents that run.

    Attributes:
        process: their supervisor.
        prefix: what their names begin with.
        log_file: what they log.
    """

    process: subprocess.Popen[bytes]
    prefix: str
    log_file: Path

    def require_running(self) -> None:
        """Raises: BuildkiteError: the agents have ended by themselves."""
        if self.process.poll() is not None:
            raise BuildkiteError(
                f"the agents ended with exit code {self.process.returncode}: see {self.log_file}"
            )

    def wait_until_idle(self, client: Client, print_line: Callable[[str], None]) -> None:
        """Wait until they have ended their jobs of other builds, which people may have started on the page.

        Args:
            client: of the Buildkite that they work for.
            print_line: prints, once, what this method waits for.
        """
        waits = False
        while builds := self._builds(client):
            if not waits:
                print_line(f"The agents also run jobs of {', '.join(builds)}; Ctrl-C stops them")
            waits = True
            self.require_running()
            time.sleep(_POLL_SECONDS)

    def _builds(self, client: Client) -> list[str]:
        """The addresses of the builds whose jobs they run."""
        jobs = [one["job"] for one in client.get_all("agents") if one["name"].startswith(self.prefix)]
        return sorted({str(job["web_url"]).partition("#")[0] for job in jobs if job is not None})


@contextmanager
def agents(state: State) -> Iterator[Agents]:
    """Run real agents until the block ends or this process is killed.

    Agents of several runs have different names, and so different checkouts.
    """
    folder = state.data / "agent"
    for name in ("builds", "hooks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    plugins_path = plugins.write_plugins(folder, folder / "hooks")
    # Without it, agents read the file of an agent that is installed on this machine.
    configuration = folder / "buildkite-agent.cfg"
    configuration.touch()
    executable = agent.find()
    number, lock = _free_number(folder)
    prefix = f"laptop-{number}-"
    command = [
        *(sys.executable, "-m", "modelbuild_local.up.supervisor"),
        *(str(executable), "start", "--config", str(configuration)),
        *("--spawn", str(_AGENTS), "--name", f"{prefix}%spawn"),
        *("--endpoint", f"{state.buildkite_url}/v3", "--ping-mode", "poll-only"),
        *("--build-path", str(folder / "builds"), "--hooks-path", str(folder / "hooks")),
        *("--plugins-path", str(plugins_path)),
    ]
    environment = process_environment(state)
    # The jobs find the agent on PATH.
    environment["PATH"] = f"{environment['PATH']}:{executable.parent}"
    environment["BUILDKITE_AGENT_TOKEN"] = state.agent_token
    log_file = folder / "agent.log"
    with lock, log_file.open("a", encoding="utf-8") as log:
        # The supervisor holds the number, too: it lives until the agents have ended.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )
    try:
        yield Agents(process, prefix, log_file)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()


def _free_number(folder: Path) -> tuple[int, TextIO]:
    """The first number that no running agents have, with the locked file that keeps it."""
    for number in itertools.count(1):
        lock = (folder / f"agents-{number}.lock").open("w", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return number, lock
    raise AssertionError("unreachable")
