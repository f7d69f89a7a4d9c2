"""A stand-in for ``podman``, which starts a process in place of each container."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

# Without site-packages, because it starts often.
_SCRIPT = """#!{python} -IS
import json, os, pathlib, signal, socket, subprocess, sys, time
FOLDER = pathlib.Path({folder!r})
IMAGES = json.loads((FOLDER / "images.json").read_text())

def main(command, *arguments):
    known = {{"info": info, "image": image, "run": run, "supervise": supervise, "port": port, "wait": wait,
             "logs": logs, "kill": kill, "rm": rm}}
    return known[command](*arguments)

def info():
    print("a stand-in")

def image(inspect, name):
    sys.exit(0 if name in IMAGES else 125)

def run(*arguments):
    at, options, flags = 0, {{}}, ("--detach", "--pull=never")
    environment, rest = {{}}, list(arguments)
    while rest[0].startswith("--"):
        option = rest.pop(0)
        if option.startswith("--env="):
            name, _, value = option[len("--env="):].partition("=")
            environment[name] = value
        elif option not in flags:
            options[option] = rest.pop(0)
    mount = dict(part.partition("=")[::2] for part in options["--mount"].split(","))
    program = IMAGES[rest[0]][0]
    if not pathlib.Path(program).exists():
        print("Error: crun: executable file `" + program + "` not found", file=sys.stderr)
        sys.exit(127)
    found = (options["--publish"], mount["target"], "readonly" in mount)
    if found != ("127.0.0.1::8080", "/opt/ml/model", True):
        sys.exit("not as SageMaker runs a container: " + repr(arguments))
    # The supervisor keeps it open: until the container listens there, no other test is given the port. Only
    # Linux lets the container share it.
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    number = holder.getsockname()[1]
    environment = {{**environment, "PATH": os.environ["PATH"], "SM_MODEL_DIR": mount["source"],
                   "SAGEMAKER_BIND_TO_PORT": str(number), "BIND_ADDRESS": "127.0.0.1"}}
    name = options["--name"]
    (FOLDER / "containers" / name).mkdir()
    (FOLDER / "containers" / name / "port").write_text(str(number))
    plan = json.dumps([IMAGES[rest[0]] + rest[1:], environment])
    supervisor = subprocess.Popen([__file__, "supervise", name, plan], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
                                  pass_fds=[holder.fileno()] if sys.platform == "linux" else [])
    supervisor.stdout.read()
    print(name)

def supervise(name, plan):
    command, environment = json.loads(plan)
    folder = FOLDER / "containers" / name
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    (folder / "pid").write_text(str(process.pid))
    os.close(1)
    code = process.wait()
    (FOLDER / "ended").open("a").write(name + "\\n")
    if folder.exists():
        (folder / "code.new").write_text(str(code % 256))
        (folder / "code.new").rename(folder / "code")

def port(name, container_port):
    folder = FOLDER / "containers" / name
    if (folder / "code").exists():
        sys.exit("the container does not run")
    print("127.0.0.1:" + (folder / "port").read_text())

def wait(name):
    code = FOLDER / "containers" / name / "code"
    while not code.exists():
        time.sleep(0.01)
    print(code.read_text())

def logs(name):
    print((FOLDER / "containers" / name / "log").read_text(errors="replace"))

def kill(*arguments):
    number = signal.SIGTERM if arguments[:2] == ("--signal", "TERM") else signal.SIGKILL
    folder = FOLDER / "containers" / arguments[-1]
    try:
        os.kill(int((folder / "pid").read_text()), number)
    except (ProcessLookupError, FileNotFoundError):
        sys.exit(1)

def rm(force, volumes, name):
    folder = FOLDER / "containers" / name
    if folder.exists():
        folder.rename(FOLDER / "removed" / name)

main(*sys.argv[1:])
"""


class EngineStandIn:
    """Images are commands, to which ``serve`` is added; a container is a process of this machine.

    The model's directory and the port are in SM_MODEL_DIR and SAGEMAKER_BIND_TO_PORT, as they are where the
    laptop's SageMaker starts processes.
    """

    def __init__(self, folder: Path, images: Mapping[str, Sequence[str]]) -> None:
        self._folder = folder
        for name in ("bin", "containers", "removed"):
            (folder / name).mkdir(parents=True)
        (folder / "images.json").write_text(json.dumps(images))
        script = folder / "bin" / "podman"
        script.write_text(_SCRIPT.format(python=sys.executable, folder=str(folder)))
        script.chmod(0o755)

    @property
    def path(self) -> str:
        """A PATH with no other engine."""
        return f"{self._folder / 'bin'}{os.pathsep}/nowhere"

    @property
    def running(self) -> list[str]:
        """The containers that were made and not removed."""
        return [path.name for path in (self._folder / "containers").iterdir()]

    @property
    def started(self) -> list[str]:
        """Those of them that have their process."""
        return [name for name in self.running if (self._folder / "containers" / name / "pid").exists()]

    @property
    def removed(self) -> list[str]:
        """The containers that were removed."""
        return [path.name for path in (self._folder / "removed").iterdir()]

    @property
    def ended(self) -> list[str]:
        """The containers whose process has ended."""
        path = self._folder / "ended"
        return path.read_text().split() if path.exists() else []


def first_on_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch, images: Mapping[str, Sequence[str]]
) -> EngineStandIn:
    """The stand-in as the only engine of this process."""
    engine = EngineStandIn(folder, images)
    monkeypatch.setenv("PATH", engine.path)
    return engine
