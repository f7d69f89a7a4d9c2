"""``python3 -I install.py REQUIREMENTS VENV``: install the hooks' requirements into a virtual environment.

The installation creates the environment in a folder beside VENV, imports its modules once, and then renames
it to VENV, so an environment of that name is complete. Two installations at the same time do no harm, because
only the first rename succeeds. A lock on the folder of VENV saves the second one the work. The kernel
releases the lock when its process ends; on a file system without locks, such as some NFS, both installations
run.

This file imports the standard library of Python 3.10.0 and nothing else.
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

# The settings by which pip reaches an index; only the administrator of the host knows them. Other settings of
# pip, such as user, target, constraint, requirement, no-binary or require-virtualenv, would change what is
# installed or where, so the installation ignores them.
REACH = frozenset(
    {
        *("index-url", "extra-index-url", "find-links", "no-index", "trusted-host"),
        *("cert", "client-cert", "proxy", "keyring-provider", "use-feature", "use-deprecated"),
        *("timeout", "default-timeout", "retries", "resume-retries", "cache-dir", "no-cache-dir"),
    }
)

_SETTING = re.compile(r"(?P<section>global|install)\.(?P<name>[a-z-]+)=(?P<value>['\"].*['\"])")
_OF_PYTHON = ("PYTHON", "PIP_", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
_LOOK_AGAIN_SECONDS = 0.2
# A stopped or frozen installation holds its lock, so others wait only for this long.
_WAIT_SECONDS = 1800.0
# Without a lock, only the age of a folder shows that its installation has ended.
_ABANDONED_SECONDS = 86_400

_IMPORT_ALL = """
import importlib, pkgutil, sysconfig
for module in sorted(found.name for found in pkgutil.iter_modules([sysconfig.get_path("purelib")])):
    if module not in {"pip", "setuptools", "pkg_resources"} and not module.startswith("_"):
        importlib.import_module(module)
"""


class Failure(Exception):
    """The installation failed; the message is one sentence for the user."""


def install(requirements: Path, venv: Path) -> None:
    """Create the virtual environment ``venv`` with ``requirements``, unless it exists.

    Raises:
        Failure: the folder cannot be written, or the installation failed, which leaves nothing behind.
    """
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        version = ".".join(map(str, sys.version_info[:2]))
        raise Failure(
            f"{sys.executable} cannot make virtual environments: install its modules venv and ensurepip "
            f"(on Debian and Ubuntu: apt-get install python{version}-venv)"
        )
    try:
        venv.parent.mkdir(parents=True, exist_ok=True)
        with _lock(venv.parent) as locked:
            if _complete(venv):
                return
            _sweep(venv, locked)
            partial = Path(tempfile.mkdtemp(prefix=f"{venv.name}.partial-", dir=venv.parent))
            # All users of a shared folder may use an environment that one of them has installed.
            partial.chmod(0o755)
            try:
                _build(requirements, partial)
                _rename(partial, venv)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise Failure(
            f"cannot write to {venv.parent} ({error.strerror or error}); set MODELBUILD_CACHE to a folder "
            "that this agent may write to"
        ) from error


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Wait for the folder's lock and hold it; yields False if there is no lock."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield _locked(handle)
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    announced = False
    until = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < until:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if not announced:
                _print("Waiting for another process, which installs modelbuild's helpers")
            announced = True
            time.sleep(_LOOK_AGAIN_SECONDS)
        except OSError:
            break
    return False


def _sweep(venv: Path, locked: bool) -> None:
    """Remove the folders of killed installations; while this process holds the lock, no other one runs."""
    for left in venv.parent.glob(f"{venv.name}.partial-*"):
        with contextlib.suppress(FileNotFoundError):
            if locked or time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _build(requirements: Path, partial: Path) -> None:
    _print("~~~ :python: Installing modelbuild's helpers (once per host and version)")
    environ, python = clean(os.environ), str(partial / "bin" / "python")
    # venv would run ensurepip itself and hide its output.
    for command in (
        [sys.executable, "-I", "-m", "venv", "--without-pip", str(partial)],
        [python, "-I", "-m", "ensurepip", "--default-pip"],
    ):
        done = _run(command, environ, partial)
        if done.returncode != 0:
            raise Failure(f"'{' '.join(command)}' failed: {_reason(done)}")
    _pip_install(requirements, partial)
    _require_imports(partial)


def _pip_install(requirements: Path, venv: Path) -> None:
    pip = [str(venv / "bin" / "python"), "-I", "-m", "pip"]
    environ = clean(os.environ)
    # Only pip knows the paths of its configuration files.
    named = {name: os.environ[name] for name in ("PIP_CONFIG_FILE",) if name in os.environ}
    listed = _run([*pip, "config", "list", "-vvv"], {**environ, **named}, venv)
    if listed.returncode != 0:
        raise Failure(f"pip cannot read its configuration: {_reason(listed)}")
    arguments = ["install", "--no-input", "--disable-pip-version-check", "--require-hashes"]
    done = _run(
        [*pip, *arguments, "-r", str(requirements.resolve())],
        {**environ, **reach(listed.stdout, os.environ), "PIP_CONFIG_FILE": os.devnull},
        venv,
    )
    if done.returncode != 0:
        raise Failure(f"pip could not install {requirements}: {_reason(done)}")


def _require_imports(venv: Path) -> None:
    """Import every installed module once, as the hooks do."""
    done = _run([str(venv / "bin" / "python"), "-I", "-c", _IMPORT_ALL], clean(os.environ), venv)
    if done.returncode != 0:
        raise Failure(
            f"what was installed below {venv.parent} cannot be imported ({_last_line(done)}): where that "
            "folder is mounted noexec, set MODELBUILD_CACHE to one that is not"
        )


def _rename(partial: Path, venv: Path) -> None:
    """Rename the environment, unless another installation was first."""
    if venv.exists() and not _complete(venv):
        # A program that cleans caches may have removed a part of it.
        aside = Path(tempfile.mkdtemp(prefix=f"{venv.name}.partial-", dir=venv.parent))
        venv.rename(aside / "broken")
        shutil.rmtree(aside, ignore_errors=True)
    try:
        partial.rename(venv)
    except OSError:
        if not _complete(venv):
            raise


def _complete(venv: Path) -> bool:
    return os.access(venv / "bin" / "python", os.X_OK)


def clean(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables, without those that change what Python imports or what pip installs and where."""
    return {name: value for name, value in environ.items() if not name.startswith(_OF_PYTHON)}


def reach(listed: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables for pip to reach the index that the administrator of the host has configured.

    Args:
        listed: the output of ``pip config list``; a setting in section ``install`` overrides ``global``.
        environ: the variables of the agent, which override the configuration files.
    """
    settings: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for line in listed.splitlines():
        match = _SETTING.fullmatch(line.strip())
        if match:
            settings[match["section"]][_variable(match["name"])] = ast.literal_eval(match["value"])
    wanted = {_variable(name) for name in REACH}
    found = {**settings["global"], **settings["install"], **environ}
    return {name: value for name, value in found.items() if name in wanted}


def _variable(setting: str) -> str:
    return f"PIP_{setting.upper().replace('-', '_')}"


def _run(command: list[str], environ: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=environ,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """The line of pip's output with the error."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
    return errors[0] if errors else _last_line(done)


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Install; print one sentence and exit with 1 if that fails."""
    # Other users of a shared folder must be able to read the environment, whatever this agent's umask is.
    os.umask(0o022)
    # A cancelled step removes its incomplete folder before it ends.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        install(Path(sys.argv[1]), Path(sys.argv[2]))
    except Failure as error:
        _print(f"^^^ +++\nmodelbuild: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
