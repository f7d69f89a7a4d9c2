"""Real agents that run the jobs of a build."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modelbuild.errors import BuildkiteError
from modelbuild_local import agent
from modelbuild_local.laptop import State
from modelbuild_local.up import plugins
from modelbuild_local.up.environment import process_environment

_STOP_SECONDS = 20.0
_AGENTS = 2


@contextmanager
def agents(state: State) -> Iterator[Callable[[], None]]:
    """Run real agents until the block ends or this process is killed.

    Yields a function that raises a BuildkiteError if the agents have ended by themselves.
    """
    folder = state.data / "agent"
    for name in ("builds", "hooks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    plugins_path = plugins.write_plugins(folder, folder / "hooks")
    executable = agent.find()
    command = [
        *(sys.executable, "-m", "modelbuild_local.up.supervisor"),
        *(str(executable), "start", "--spawn", str(_AGENTS), "--name", "laptop-%spawn"),
        *("--endpoint", f"{state.buildkite_url}/v3", "--ping-mode", "poll-only"),
        *("--build-path", str(folder / "builds"), "--hooks-path", str(folder / "hooks")),
        *("--plugins-path", str(plugins_path)),
    ]
    environment = process_environment(state)
    # The jobs find the agent on PATH.
    environment["PATH"] = f"{environment['PATH']}:{executable.parent}"
    environment["BUILDKITE_AGENT_TOKEN"] = state.agent_token
    log_file = folder / "agent.log"
    with log_file.open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True
        )

    def check() -> None:
        if process.poll() is not None:
            raise BuildkiteError(f"the agents ended with exit code {process.returncode}: see {log_file}")

    try:
        yield check
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
