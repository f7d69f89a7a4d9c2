"""A small repository, and a laptop mode that runs for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelbuild_local import agent
from modelbuild_local.laptop import State, running
from waiting import SECONDS, runs, wait_until

COMMAND_SECONDS = 3 * SECONDS
"""How long a command of laptop mode may take, which may be a whole build."""

PIPELINES = {
    ".buildkite/pipeline.yml": """\
steps:
  - label: ":one: left"
    key: left
    command: |
      echo "+++ Numbers"
      for i in 1 2 3; do echo "left $$i"; done
      echo "in all $$((20 + 22))"
      printf '**Fine** [page](https://example.org)' | buildkite-agent annotate --style success --context note
  - label: ":two: right"
    key: right
    plugins: [{./plugins/strict: {colour: 7}}]
    command: echo "colour is $$COLOUR"; compgen -e | sed 's/^/variable /'
  - block: ":question: deploy?"
    fields:
      - {text: Who, key: who, default: nobody}
  - label: after
    command: echo "it was $$(buildkite-agent meta-data get who)"
""",
    # Its schema refuses the step's configuration; agents do not validate it by default.
    "plugins/strict/plugin.yml": """\
name: Strict
configuration:
  properties: {colour: {type: string}}
  required: [size]
""",
    "plugins/strict/hooks/pre-command": """\
#!/usr/bin/env bash
export STRICT_COLOUR="$BUILDKITE_PLUGIN_STRICT_COLOUR"
""",
    "a folder/one more.yml": """\
steps:
  - command: echo "from the file with spaces"
""",
    "fails.yml": """\
steps:
  - label: breaks
    command: echo before; exit 7
  - wait
  - label: never
    command: echo never
""",
    "api.yml": """\
steps:
  - block: training
    key: training
    fields:
      - {text: Status, key: training/status, required: false}
""",
    "person.yml": """\
steps:
  - block: approve
    key: approve
    fields:
      - {text: Name, key: name}
""",
    "held.yml": """\
steps:
  - label: held
    command: echo begun; until [ -e "$$GO" ]; do sleep 0.1; done; cat README
""",
    "README": "Hello\n",
    "slow.yml": """\
steps:
  - label: slow
    command: "sleep 300 & echo begun $$!; wait"
""",
}


def make_repository(folder: Path, files: dict[str, str]) -> Path:
    """A git repository with one commit that holds the files."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if text.startswith("#!") else 0o644)
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for command in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        [*identity, "commit", "-q", "-m", "All of it"],
    ):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    return folder


class Laptop:
    """Commands of laptop mode in one repository, with a cache of their own."""

    until = staticmethod(wait_until)
    alive = staticmethod(runs)

    def __init__(self, repository: Path) -> None:
        self.repository = repository

    def start(self, *arguments: str, **options: object) -> subprocess.Popen[str]:
        """Start ``modelbuild local`` with these arguments."""
        settings: dict[str, object] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            **options,
        }
        command = [sys.executable, "-m", "modelbuild", "local", *arguments]
        return subprocess.Popen(command, cwd=self.repository, text=True, **settings)  # type: ignore[call-overload, no-any-return]

    def run(self, *arguments: str) -> tuple[int, str]:
        """Exit code and output of ``modelbuild local`` with these arguments."""
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=COMMAND_SECONDS)
        return process.returncode, output

    def up(self, *arguments: str) -> tuple[subprocess.Popen[str], State]:
        """Start the services, and wait until they serve."""
        process = self.start("up", *arguments, stdout=subprocess.DEVNULL)
        wait_until(lambda: running(self.repository) or process.poll() is not None, "modelbuild local up")
        state = running(self.repository)
        assert state is not None, "modelbuild local up ended"
        return process, state


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache for the tests of a file; the agent stays the one of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{agent.find().parent}{os.pathsep}{os.environ['PATH']}")
        cache = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(cache))
        yield cache


@pytest.fixture
def new_laptop(own_cache: Path, tmp_path: Path) -> Laptop:
    """A repository for which nothing runs yet."""
    del own_cache
    return Laptop(make_repository(tmp_path / "tiny", {"README": "Hello\n"}))


@pytest.fixture(scope="module")
def laptop(own_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """A repository with several pipelines, for which laptop mode runs."""
    del own_cache
    found = Laptop(make_repository(tmp_path_factory.mktemp("folder") / "tiny", PIPELINES))
    process, _ = found.up()
    try:
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
