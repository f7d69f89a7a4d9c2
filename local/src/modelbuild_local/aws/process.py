"""Processes in place of containers: their environment, start and end."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from modelbuild_local.aws.settings import Settings

_PROC = Path("/proc")  # Linux only

_lock = threading.Lock()
_running: dict[subprocess.Popen[bytes], str] = {}
_stopped = threading.Event()


def host_environment(settings: Settings) -> dict[str, str]:
    """The variables that every process starts with: a PATH that begins with ``settings.bin``, the folder of
    its programs.

    It contains no other variable of the developer's shell: a job that works only with such a variable must
    fail here, and not first on AWS.
    """
    tail = os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    return {"PATH": f"{settings.bin}{os.pathsep}{tail}"}


def program(command: Sequence[str], settings: Settings) -> list[str]:
    """A command; a program named by its path in the image becomes the program in ``settings.bin``."""
    named = list(command)
    if named and os.path.isabs(named[0]) and (settings.bin / Path(named[0]).name).is_file():
        named[0] = str(settings.bin / Path(named[0]).name)
    return named


def start(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    scratch: Path,
    output: int | IO[bytes] = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    """Start ``command`` in ``folder`` as the leader of its own process group, with stderr redirected to
    stdout.

    HOSTNAME is unique, as in a container. Descendants inherit it and can be found by it, also outside the
    process group. The caller must finally call ``end`` or ``sweep``, also after the process has exited by
    itself. ``kill_left`` finds what a stand-in with this ``scratch`` left when it was killed itself.

    Raises:
        OSError: the program is not on the PATH of ``environment``, cannot be started, or the stand-in stops.
    """
    name = f"{_host_prefix(scratch)}{uuid.uuid4().hex[:12]}"
    with _lock:  # so that no process starts while stop_all runs
        if _stopped.is_set():
            raise OSError("the stand-in is stopping")
        process = subprocess.Popen(
            list(command),
            cwd=folder,
            env={**environment, "HOSTNAME": name},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        _running[process] = name
    return process


def end(process: subprocess.Popen[bytes], grace: float) -> None:
    """End the process and its group: SIGTERM, and after ``grace`` seconds SIGKILL to the remaining processes.

    A shell may exit at once while the program that it started still cleans up, so this function waits for the
    whole group.
    """
    deadline = time.monotonic() + grace
    _signal(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace)
    while _is_alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    sweep(process)


def sweep(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and all running processes that it started, like the end of a container."""
    with _lock:
        name = _running.get(process)
    if name is None:
        return
    _signal(process.pid, signal.SIGKILL)
    process.wait()
    while left := _member_processes(name):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    with _lock:
        _running.pop(process, None)


def stop_all(grace: float) -> None:
    """End all running processes at the same time, and allow no new ones."""
    with _lock:
        _stopped.set()
        left = list(_running)
    enders = [threading.Thread(target=end, args=(process, grace)) for process in left]
    for ender in enders:
        ender.start()
    for ender in enders:
        ender.join()


def kill_left(scratch: Path) -> None:
    """Kill what a stand-in that no longer runs has started and not ended, with the process groups."""
    while left := _member_processes(_host_prefix(scratch)):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                _signal(os.getpgid(pid), signal.SIGKILL)
                os.kill(pid, signal.SIGKILL)


def exit_code(process: subprocess.Popen[bytes]) -> int:
    """The exit code as a container engine shows it: 128 + the signal's number for a killed process."""
    code = process.wait()
    return 128 - code if code < 0 else code


def _signal(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        return False
    return True


def _is_alive(group: int) -> bool:
    """Whether a process of the group still runs.

    Inside a container, perhaps no process reaps the children that the group's leader left. Such zombies
    accept signals like running processes, but Linux shows their state.
    """
    if not _signal(group, 0) or not _PROC.is_dir():
        return _signal(group, 0)
    for stat in _PROC.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # gone meanwhile
            state, _, member_of = stat.read_text(errors="replace").rpartition(")")[2].split()[:3]
            if int(member_of) == group and state not in "ZX":
                return True
    return False


def _host_prefix(scratch: Path) -> str:
    """The beginning of the HOSTNAME of each process that a stand-in with this folder starts."""
    return f"{hashlib.sha256(os.fsencode(scratch.resolve())).hexdigest()[:16]}-"


def _member_processes(prefix: str) -> list[int]:
    """The processes whose HOSTNAME begins like this; a zombie has no environment."""
    variable = f"HOSTNAME={prefix}"
    found = []
    if _PROC.is_dir():
        for environ in _PROC.glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):  # exited meanwhile, or another user's
                if any(entry.startswith(variable.encode()) for entry in environ.read_bytes().split(b"\0")):
                    found.append(int(environ.parent.name))
        return found
    shown = subprocess.run(
        ["ps", "-axEww", "-o", "pid=,command="],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return [int(line.split()[0]) for line in shown.stdout.splitlines() if f" {variable}" in line]
